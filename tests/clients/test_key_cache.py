"""Data keys are held a while: a repeated GET asks no HSM, and what was done to a key takes effect at once."""

import contextlib

import pytest

import audit
from disk import keyring, rows
from painted import painted
from refusal import body, refused
from server import poll
from test_keys import keys, run


def filled(server):
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    for number in range(5):
        s3.put_object(Bucket="bbb", Key=f"k{number}", Body=painted(1000, seed=number))
    return server


@pytest.fixture
def own(own_server):
    return filled(own_server)


def unwraps(server) -> list[dict]:
    return audit.uses(server, operation="unwrap", key_kind="data")


def cache(server) -> dict:
    return keys(server, "cache")


@contextlib.contextmanager
def token_away(server):
    """The token's folder is elsewhere for a while; until the server has noticed, and after until it is back."""
    token = server.data / "token"
    away = server.data.parent / f"{server.data.name}-token-away"
    token.rename(away)
    try:
        poll("the server notices", lambda: refuses_to_write(server))
        yield
    finally:
        away.rename(token)
    poll("the server works again", lambda: server.health("ready") == 200)


def refuses_to_write(server) -> bool:
    try:
        server.s3().put_object(Bucket="bbb", Key="probe", Body=b"x")
    except Exception as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    return False


def test_a_repeated_get_costs_no_unwrap(own):
    s3 = own.s3()
    for _ in range(10):
        assert body(s3, "bbb", "k0") == painted(1000, seed=0)
    audit.settled(own, 1, operation="unwrap", key_kind="data")
    found = cache(own)
    assert (found["hits"], found["misses"], found["entries"]) == (9, 1, 1)
    own.terminate()
    assert len(unwraps(own)) == 1


def test_an_overwrite_a_copy_and_a_part_are_read_with_their_own_keys(own):
    s3 = own.s3()
    assert body(s3, "bbb", "k0") == painted(1000, seed=0)
    s3.put_object(Bucket="bbb", Key="k0", Body=b"new")
    assert body(s3, "bbb", "k0") == b"new"
    s3.copy_object(Bucket="bbb", Key="k0", CopySource="bbb/k1")
    assert body(s3, "bbb", "k0") == painted(1000, seed=1)
    upload = s3.create_multipart_upload(Bucket="bbb", Key="k0")["UploadId"]
    part = {"Bucket": "bbb", "Key": "k0", "UploadId": upload}
    etags = [s3.upload_part(**part, PartNumber=n, Body=painted(5 << 20, seed=n))["ETag"] for n in (1, 2, 3)]
    parts = [{"PartNumber": n + 1, "ETag": etag} for n, etag in enumerate(etags)]
    s3.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    assert body(s3, "bbb", "k0", PartNumber=2) == painted(5 << 20, seed=2)
    last = unwraps(own)[-1]
    assert [event["key_id"] for event in unwraps(own)].count(last["key_id"]) == 1, "three parts and a GET, one unwrap"


def test_a_deleted_or_invalidated_object_is_not_read_with_a_key_that_is_held(own):
    s3 = own.s3()
    for key in ("k0", "k1"):
        body(s3, "bbb", key)
    s3.delete_object(Bucket="bbb", Key="k0")
    run(own, "invalidate", "bbb", "k1", "--yes")
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket="bbb", Key="k0")
    with refused("InvalidObjectState", status=403):
        s3.get_object(Bucket="bbb", Key="k1")
    assert cache(own)["entries"] <= 1, "whoever asks for an erased key makes the server forget it"


def test_a_disabled_version_takes_effect_on_keys_that_are_held(own):
    s3 = own.s3()
    assert body(s3, "bbb", "k0") == painted(1000, seed=0)
    run(own, "disable", "default/1")
    with refused("KMS.DisabledException", status=400):
        s3.get_object(Bucket="bbb", Key="k0")
    run(own, "enable", "default/1")
    assert body(s3, "bbb", "k0") == painted(1000, seed=0)


def test_a_version_that_another_node_disabled_takes_effect_without_being_told(own):
    s3 = own.s3()
    assert body(s3, "bbb", "k0") == painted(1000, seed=0)
    rows(keyring(own), "UPDATE master_key SET state = 1")
    with refused("KMS.DisabledException", status=400):
        s3.get_object(Bucket="bbb", Key="k0")


def test_a_key_that_was_moved_is_unwrapped_anew(own):
    s3 = own.s3()
    body(s3, "bbb", "k0")
    keys(own, "rotate", "default")
    keys(own, "rewrap", "default")
    before = len(unwraps(own))
    assert body(s3, "bbb", "k0") == painted(1000, seed=0)
    assert body(s3, "bbb", "k0") == painted(1000, seed=0)
    poll("the unwrap under the new version", lambda: len(unwraps(own)) > before)
    assert [event["version"] for event in unwraps(own)[before:]] == [2]


def test_one_setting_turns_it_off(make_server):
    server = filled(make_server(arguments=("--key-cache-entries", "0")).start())
    for _ in range(3):
        body(server.s3(), "bbb", "k0")
    audit.settled(server, 3, operation="unwrap", key_kind="data")
    assert set(cache(server).values()) == {0}


def test_it_is_bounded_in_entries_and_uses(make_server):
    server = filled(make_server(arguments=("--key-cache-entries", "2", "--key-cache-uses", "3")).start())
    s3 = server.s3()
    for number in (0, 1, 2):
        body(s3, "bbb", f"k{number}")
    found = cache(server)
    assert (found["entries"], found["entries_max"], found["evictions"]) == (2, 2, 1)
    for _ in range(4):
        body(s3, "bbb", "k4")
    server.terminate()
    assert len([event for event in unwraps(server) if event["object"] == "k4"]) == 2


def test_it_is_bounded_in_time(make_server):
    server = filled(make_server(arguments=("--key-cache-seconds", "0")).start())
    for _ in range(3):
        body(server.s3(), "bbb", "k0")
    audit.settled(server, 3, operation="unwrap", key_kind="data")
    poll("keys out of use are forgotten", lambda: cache(server)["entries"] == 0)


def test_reads_of_held_keys_go_on_while_the_hsm_is_away(make_server):
    # Spent at once, so that only the HSM's absence lets them be used.
    server = filled(make_server(arguments=("--key-cache-uses", "1")).start())
    s3 = server.s3()
    assert body(s3, "bbb", "k0") == painted(1000, seed=0)
    with token_away(server):
        for _ in range(3):
            assert body(s3, "bbb", "k0") == painted(1000, seed=0)
        with refused(status=503):
            s3.get_object(Bucket="bbb", Key="k1")
    assert cache(server)["offline_hits"] == 3
    poll("an object whose key was not held", lambda: reads(s3, "k1"))


def test_offline_seconds_end_reads_of_held_keys(make_server):
    server = filled(make_server(arguments=("--key-cache-seconds", "0", "--offline-seconds", "0")).start())
    s3 = server.s3()
    body(s3, "bbb", "k0")
    with token_away(server), refused(status=503):
        s3.get_object(Bucket="bbb", Key="k0")


def reads(s3, key: str) -> bool:
    try:
        return len(body(s3, "bbb", key)) == 1000
    except Exception:
        return False
