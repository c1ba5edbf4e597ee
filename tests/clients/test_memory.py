"""The memory of a running server: keys are in it while they are in use, and not after; the PIN never.

A dump must be allowed (root, or a parent under Yama's usual rule), else there is nothing to look at.
"""

import importlib.util

import pytest

import memory
from disk import blob_of, keyring, pins, rows
from keys import DATA_KEY, OPENER, STREAM, place_of, unwrapped
from painted import painted
from refusal import body
from server import poll

LEN = 300_000


def allowed(server) -> None:
    try:
        memory.dump(server.serve_pid())
    except PermissionError:
        pytest.skip("this user may not read the memory of another process of theirs")


def keys_of(server, key: str) -> dict[str, bytes]:
    """The data key of an object, and what is derived from it: got through the token and by the format alone."""
    spec = importlib.util.spec_from_file_location("opener", OPENER)
    opener = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(opener)
    place = place_of(server, key)
    (data_key,) = unwrapped(server, [(place.wrapped, place.context(DATA_KEY))])
    header = blob_of(server, key).read_bytes()[:64]
    derived = opener.expand(data_key, b"strongroom/1" + header + place.context(STREAM), 128)
    return {"data key": data_key, "enc": derived[:32], "iv": derived[32:64], "mac": derived[64:96]}


def fill(server):
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=painted(LEN))
    upload = {"Bucket": "bbb", "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=painted(LEN, seed=2))
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    return server


def test_a_data_key_leaves_memory_when_its_time_is_over(make_server):
    server = fill(make_server(arguments=("--key-cache-seconds", "0")).start())
    allowed(server)
    s3 = server.s3()
    for _ in range(3):
        assert body(s3, "bbb", "k") == painted(LEN)
        assert body(s3, "bbb", "k", Range="bytes=5000-6000") == painted(LEN)[5000:6001]
        s3.copy_object(Bucket="bbb", Key="copy", CopySource="bbb/k")
    for key in ("k", "copy"):
        wanted = keys_of(server, key)
        poll(f"no key of {key} is in memory", lambda: not memory.holds(server.serve_pid(), wanted))  # noqa: B023


def test_a_data_key_that_is_held_is_found_so_the_search_is_a_search(make_server):
    server = fill(make_server().start())
    allowed(server)
    assert body(server.s3(), "bbb", "k") == painted(LEN)
    assert "data key" in memory.holds(server.serve_pid(), keys_of(server, "k"))


def test_keys_of_what_was_only_written_are_not_kept(make_server):
    server = fill(make_server(arguments=("--key-cache-seconds", "0")).start())
    allowed(server)
    written = {row["id"]: row for row in rows(keyring(server), "SELECT * FROM wrapped_key WHERE kind = 2")}
    found = unwrapped(server, [(row["wrapped"], row["context"]) for row in written.values()])
    wanted = {id.hex(): key for id, key in zip(written, found, strict=True)}
    wanted |= keys_of(server, "k")
    assert len(wanted) == 6
    poll("no key is in memory", lambda: not memory.holds(server.serve_pid(), wanted))


def test_the_pin_is_never_in_the_servers_memory(own_server):
    fill(own_server)
    allowed(own_server)
    wanted = {str(number): pin.encode() for number, pin in enumerate(pins(own_server))}
    assert wanted
    assert not memory.holds(own_server.serve_pid(), wanted)
