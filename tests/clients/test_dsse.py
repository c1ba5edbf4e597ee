"""DSSE-KMS: two layers, two data keys, and neither alone opens anything."""

import dataclasses
import subprocess
import sys

import pytest

from disk import HEADER_LEN, MAGIC, blobs, database, keyring, rows, catalog
from keys import DATA_KEY, OPENER, STREAM, place_of, unwrapped
from modes import ALIAS, DSSE, make_aliases, said, expected
from painted import painted
from refusal import body, refused
from test_keys import keys

DATA = painted(70_000)


@pytest.fixture
def filled(own_server):
    make_aliases(own_server)
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, **DSSE.write)
    return own_server


def data_keys(server) -> list:
    return rows(keyring(server), "SELECT id, parent, wrapped, context FROM wrapped_key WHERE kind = 2 ORDER BY id")


def test_an_object_has_two_data_keys_each_wrapped_by_itself_for_its_own_layer(filled):
    first, second = data_keys(filled)
    (master,) = [key["id"] for key in keys(filled, "list") if key["alias"] == ALIAS]
    assert first["parent"] == second["parent"] == bytes.fromhex(master)
    assert first["context"] != second["context"]
    (version,) = rows(catalog(filled), "SELECT data_key, second_key FROM version")
    assert {version["data_key"], version["second_key"]} == {first["id"], second["id"]}
    (blob,) = blobs(filled)
    sealed = blob.read_bytes()
    assert sealed[:4] == MAGIC and sealed[16:32] == version["second_key"], "the outer layer's header names its key"
    assert MAGIC not in sealed[HEADER_LEN:], "the inner layer is not to be seen"


def test_two_keys_and_the_format_alone_open_it_layer_by_layer(filled, tmp_path):
    place = place_of(filled, "k")
    found = {bytes(row["id"]): row for row in data_keys(filled)}
    (version,) = rows(catalog(filled), "SELECT data_key, second_key FROM version")
    (sealed,) = blobs(filled)
    for layer, which in ((1, "second_key"), (0, "data_key")):
        kept = found[version[which]]
        assert kept["context"] == place.context(DATA_KEY, layer=layer)
        own = dataclasses.replace(place, wrapped=kept["wrapped"], kept_context=kept["context"])
        (key,) = unwrapped(filled, [(own.wrapped, own.kept_context)])
        opened = tmp_path / which
        wanted = place.context(STREAM, layer=layer).hex()
        command = [sys.executable, OPENER, sealed, "--out", opened, "--context-sha256", wanted]
        done = subprocess.run([str(word) for word in command], input=key, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        sealed = opened
    assert sealed.read_bytes() == DATA


@pytest.mark.parametrize("which", ["data_key", "second_key"])
def test_without_either_key_nothing_is_read(filled, which):
    rows(keyring(filled), "DELETE FROM wrapped_key WHERE id = ?", rows(catalog(filled), f"SELECT {which} AS k FROM version")[0]["k"])
    with refused("InternalError", status=500):
        filled.s3().get_object(Bucket="bbb", Key="k")


def test_the_two_keys_cannot_trade_places_nor_one_be_left_out(filled):
    (version,) = rows(catalog(filled), "SELECT data_key, second_key FROM version")
    for first, second in [(version["second_key"], version["data_key"]), (version["data_key"], None)]:
        with database(catalog(filled)) as connection:
            connection.execute("UPDATE version SET data_key = NULL, second_key = NULL")
            connection.execute("UPDATE version SET data_key = ?, second_key = ?", (first, second))
        with refused("InternalError", status=500):
            filled.s3().get_object(Bucket="bbb", Key="k")


def test_every_altered_byte_is_noticed_in_whichever_layer(filled):
    (blob,) = blobs(filled)
    whole = blob.read_bytes()
    for at in [0, 20, 40, 70, HEADER_LEN, HEADER_LEN + 100, len(whole) // 2, len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= 1
        blob.chmod(0o600)
        blob.write_bytes(damaged)
        try:
            read = body(filled.s3(), "bbb", "k")
        except Exception:
            continue
        raise AssertionError(f"byte {at}: {read == DATA}")
    blob.write_bytes(whole)
    assert body(filled.s3(), "bbb", "k") == DATA


def test_ranges_read_few_bytes_of_the_right_places(filled):
    s3 = filled.s3()
    for first, last in [(0, 0), (16_383, 16_384), (16_300, 33_000), (69_999, 69_999), (1, 69_998)]:
        assert body(s3, "bbb", "k", Range=f"bytes={first}-{last}") == DATA[first : last + 1]


def test_a_bucket_key_flag_is_accepted_and_not_applied(filled):
    s3 = filled.s3()
    put = s3.put_object(Bucket="bbb", Key="k", Body=DATA, BucketKeyEnabled=True, **DSSE.write)
    assert said(put) == expected(DSSE)
    assert rows(keyring(filled), "SELECT id FROM wrapped_key WHERE kind = 3") == []
    assert len(data_keys(filled)) == 2, "those of the first were erased"


def test_an_aborted_upload_leaves_neither_key(filled):
    s3 = filled.s3()
    started = s3.create_multipart_upload(Bucket="bbb", Key="m", **DSSE.write)
    upload = {"Bucket": "bbb", "Key": "m", "UploadId": started["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=DATA)
    assert len(data_keys(filled)) == 4
    s3.abort_multipart_upload(**upload)
    assert len(data_keys(filled)) == 2


def test_what_a_dead_process_left_is_swept_and_what_rows_name_stays(filled):
    filled.kill9()
    filled.start()
    assert body(filled.s3(), "bbb", "k") == DATA
    assert len(data_keys(filled)) == 2


@pytest.mark.parametrize("length", [0, 1, 1023, 1024, 16_384, 1 << 20])
def test_every_length_comes_back(filled, length):
    s3 = filled.s3()
    s3.put_object(Bucket="bbb", Key="k", Body=painted(length), **DSSE.write)
    assert body(s3, "bbb", "k") == painted(length)
