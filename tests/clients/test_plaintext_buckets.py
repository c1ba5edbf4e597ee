"""Plaintext: only where an administrator has set a bucket to it, and only what asks for nothing."""

import json

import pytest

from disk import blobs, catalog, keyring, rows
from modes import PLAINTEXT, SSE_S3, allow_customer_keys, customer, expected, said, set_plaintext
from painted import md5_hex, painted
from refusal import body, refused
from wire import exchange, sign

DATA = painted(300_000)


@pytest.fixture
def plain(own_server):
    """A server with a bucket of plaintext, `bbb`, and one without, `sealed`."""
    s3 = own_server.s3()
    for name in ("bbb", "sealed"):
        s3.create_bucket(Bucket=name)
    set_plaintext(own_server, "bbb")
    return own_server


def data_keys(server) -> list:
    return rows(keyring(server), "SELECT id FROM wrapped_key WHERE kind = 2")


def test_what_asks_for_nothing_is_stored_as_it_came_and_answered_without_a_word(plain):
    s3 = plain.s3()
    put = s3.put_object(Bucket="bbb", Key="k", Body=DATA)
    assert said(put) == said(s3.head_object(Bucket="bbb", Key="k")) == expected(PLAINTEXT)
    assert put["ETag"].strip('"') == md5_hex(DATA)
    assert [blob.read_bytes() for blob in blobs(plain)] == [DATA]
    assert data_keys(plain) == []
    (version,) = rows(catalog(plain), "SELECT record FROM version")
    assert bytes.fromhex(md5_hex(DATA)) not in version["record"], "the record is sealed all the same"


def test_what_names_an_encryption_gets_it(plain):
    s3 = plain.s3()
    assert said(s3.put_object(Bucket="bbb", Key="k", Body=DATA, ServerSideEncryption="AES256")) == expected(SSE_S3)
    (blob,) = blobs(plain)
    assert DATA[:64] not in blob.read_bytes()
    assert len(data_keys(plain)) == 1


def test_other_buckets_are_not_touched(plain):
    s3 = plain.s3()
    assert said(s3.put_object(Bucket="sealed", Key="k", Body=DATA)) == expected(SSE_S3)
    copy = s3.copy_object(Bucket="bbb", Key="k", CopySource="sealed/k")
    assert said(copy) == expected(PLAINTEXT), "the target's default, as for every copy"
    back = s3.copy_object(Bucket="sealed", Key="back", CopySource="bbb/k")
    assert said(back) == expected(SSE_S3)


def test_s3_has_no_word_for_it_and_can_only_end_it(plain):
    s3 = plain.s3()
    with refused("ServerSideEncryptionConfigurationNotFoundError", status=404):
        s3.get_bucket_encryption(Bucket="bbb")
    for algorithm in ("none", "NONE", ""):
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}}
        with refused("MalformedXML", status=400):
            s3.put_bucket_encryption(Bucket="sealed", ServerSideEncryptionConfiguration={"Rules": [rule]})
    for bucket in ("sealed", "bbb"):
        s3.delete_bucket_encryption(Bucket=bucket)
        assert said(s3.put_object(Bucket=bucket, Key="k", Body=DATA)) == expected(SSE_S3)


def test_the_administrator_ends_it_too_and_what_is_stored_stays_readable(plain):
    s3 = plain.s3()
    s3.put_object(Bucket="bbb", Key="old", Body=DATA)
    assert json.loads(set_plaintext(plain, "bbb", "AES256")) == {"bucket": "bbb", "encryption": "AES256"}
    assert said(s3.put_object(Bucket="bbb", Key="new", Body=DATA)) == expected(SSE_S3)
    assert body(s3, "bbb", "old") == body(s3, "bbb", "new") == DATA


def test_the_command_works_without_a_server_and_names_what_is_wrong(plain):
    assert "no such bucket" in set_plaintext(plain, "nobody", code=1)
    plain.terminate()
    assert json.loads(set_plaintext(plain, "sealed")) == {"bucket": "sealed", "encryption": "none"}
    set_plaintext(plain, "sealed", "maybe", code=2)
    plain.start()
    assert said(plain.s3().put_object(Bucket="sealed", Key="k", Body=DATA)) == expected(PLAINTEXT)


def test_the_setting_leaves_an_event(plain):
    events = [json.loads(line) for line in (plain.data / "audit.log").read_text().splitlines()]
    assert any(json.dumps(event).find("set-bucket-plaintext") >= 0 for event in events)


def test_damage_is_noticed_where_all_is_read(plain):
    s3 = plain.s3()
    for data, length in ((DATA[:1_000], 1_000), (DATA, len(DATA))):
        s3.put_object(Bucket="bbb", Key="k", Body=data)
        blob = next(path for path in blobs(plain) if path.stat().st_size == length)
        blob.chmod(0o600)
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        answer = exchange(plain, sign(plain, "GET", "/bbb/k"))
        assert answer.status == 500 if length == 1_000 else answer.broken, "nothing of the last batch leaves"
    blob.write_bytes(DATA[:-1])
    with refused("InternalError", status=500):
        s3.get_object(Bucket="bbb", Key="k")


def test_a_row_that_loses_its_key_is_damage_and_never_plaintext(plain):
    s3 = plain.s3()
    s3.put_object(Bucket="sealed", Key="k", Body=DATA)
    rows(catalog(plain), "UPDATE version SET data_key = NULL")
    with refused("InternalError", status=500):
        s3.get_object(Bucket="sealed", Key="k")


def test_it_goes_on_while_nothing_else_does(plain):
    """No data key is needed; the record's is."""
    s3 = plain.s3()
    s3.put_object(Bucket="bbb", Key="empty", Body=b"")
    assert body(s3, "bbb", "empty") == b""
    for first, last in [(0, 0), (262_143, 262_144), (299_999, 299_999)]:
        s3.put_object(Bucket="bbb", Key="k", Body=DATA)
        assert body(s3, "bbb", "k", Range=f"bytes={first}-{last}") == DATA[first : last + 1]


def test_customer_keys_are_taken_beside_it(plain):
    s3 = plain.s3()
    allow_customer_keys(s3, "bbb")
    set_plaintext(plain, "bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, **customer())
    assert body(s3, "bbb", "k", **customer()) == DATA
    assert said(s3.put_object(Bucket="bbb", Key="p", Body=DATA)) == expected(PLAINTEXT)
