"""Bucket keys as in S3: asked for by a bucket or by a request, one call to the HSM for a thousand objects."""

import concurrent.futures

import pytest

import audit
from disk import files, keyring, orphans, rows
from painted import painted
from refusal import body, refused
from server import poll
from test_keys import keys, run, version

ON = {"BucketKeyEnabled": True}


def encryption(bucket_key: bool) -> dict:
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": bucket_key}
    return {"Rules": [rule]}


def turn_on(s3, bucket: str) -> None:
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption(True))


def put_many(s3, bucket: str, count: int) -> None:
    put = lambda number: s3.put_object(Bucket=bucket, Key=f"k{number}", Body=painted(100, seed=number))  # noqa: E731
    with concurrent.futures.ThreadPoolExecutor(16) as workers:
        list(workers.map(put, range(count)))


def bucket_keys(server) -> list:
    return rows(keyring(server), "SELECT id, parent FROM wrapped_key WHERE kind = 3")


@pytest.fixture
def filled(own_server):
    """Twenty objects under a bucket key."""
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    turn_on(s3, "bbb")
    put_many(s3, "bbb", 20)
    return own_server


def check_all_read(server, count: int = 20) -> None:
    s3 = server.s3()
    for number in range(count):
        assert body(s3, "bbb", f"k{number}") == painted(100, seed=number)


# As S3 says it


def test_a_buckets_rule_is_answered_as_it_was_given(s3, bucket):
    for on in (True, False):
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption(on))
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule == {**encryption(on)["Rules"][0], "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}


def test_every_answer_about_an_object_says_whether_it_has_a_bucket_key(s3, bucket):
    def said(**asked) -> set:
        answers = [
            s3.put_object(Bucket=bucket, Key="k", Body=b"x", **asked),
            s3.get_object(Bucket=bucket, Key="k"),
            s3.head_object(Bucket=bucket, Key="k"),
            s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", **asked),
            s3.head_object(Bucket=bucket, Key="copy"),
        ]
        started = s3.create_multipart_upload(Bucket=bucket, Key="parts", **asked)
        upload = {"Bucket": bucket, "Key": "parts", "UploadId": started["UploadId"]}
        part = s3.upload_part(**upload, PartNumber=1, Body=b"part")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        answers += [started, part, s3.upload_part_copy(**upload, PartNumber=2, CopySource=f"{bucket}/k")]
        answers += [s3.complete_multipart_upload(**upload, MultipartUpload=parts)]
        answers += [s3.get_object(Bucket=bucket, Key="parts")]
        assert {answer["ServerSideEncryption"] for answer in answers} == {"AES256"}
        return {answer.get("BucketKeyEnabled", False) for answer in answers}

    assert said() == {False}
    assert said(BucketKeyEnabled=True) == {True}
    turn_on(s3, bucket)
    assert said() == {True}
    assert said(ServerSideEncryption="AES256") == {True}
    assert said(BucketKeyEnabled=False) == {False}


def test_a_copy_onto_itself_moves_an_object_under_a_bucket_key(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k", **ON)
    assert s3.get_object(Bucket=bucket, Key="k")["BucketKeyEnabled"]
    assert body(s3, bucket, "k") == b"x"


# What it spares


def test_a_thousand_puts_cost_at_most_five_wraps_with_bucket_keys_and_a_thousand_without(own_server):
    s3 = own_server.s3()
    for name, on in (("with", True), ("without", False)):
        s3.create_bucket(Bucket=name)
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=encryption(on))
        put_many(s3, name, 1_000)
    own_server.terminate()
    wraps = {name: audit.uses(own_server, operation="wrap", bucket=name) for name in ("with", "without")}
    assert len(wraps["with"]) <= 5, "its catalog key, a bucket key, and its successor"
    assert {event["key_kind"] for event in wraps["with"]} == {"catalog", "bucket"}
    assert len([event for event in wraps["without"] if event["key_kind"] == "data"]) == 1_000


def test_a_thousand_gets_cost_one_unwrap(filled):
    filled.restart()
    check_all_read(filled)
    filled.terminate()
    last_start = audit.uses(filled, operation="unwrap", key_kind="bucket")
    assert len(last_start) == 1 and not audit.uses(filled, operation="unwrap", key_kind="data")


def test_no_bucket_key_serves_more_than_its_number(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    turn_on(s3, "bbb")
    put_many(s3, "bbb", 1_100)
    served = rows(keyring(own_server), "SELECT parent, count(*) AS served FROM wrapped_key WHERE kind = 2 GROUP BY 1")
    assert len(served) == 2 and max(row["served"] for row in served) == 1_000
    assert {row["parent"] for row in served} <= {row["id"] for row in bucket_keys(own_server)}


# What happens to the keys


def test_objects_read_after_a_restart_and_leave_no_orphans(filled):
    check_all_read(filled.restart())
    assert orphans(filled) == set()


def test_a_rewrap_moves_bucket_keys_and_not_the_data_keys_under_them(filled):
    data_keys = "SELECT id, parent, wrapped FROM wrapped_key WHERE kind = 2 ORDER BY id"
    before = [tuple(row) for row in rows(keyring(filled), data_keys)]
    keys(filled, "rotate", "default")
    moved = keys(filled, "rewrap", "default")
    held = len(rows(keyring(filled), "SELECT id FROM wrapped_key"))
    assert (moved["moved"], moved["skipped"], moved["failed"]) == (held - 20, 20, 0)
    assert [tuple(row) for row in rows(keyring(filled), data_keys)] == before
    assert (version(filled, 1)["wrapped"], version(filled, 2)["wrapped"]) == (0, held)
    check_all_read(filled)
    check_all_read(filled.restart())
    run(filled, "schedule-destruction", "default/1", "--days", "0")
    run(filled, "destroy", "default/1", "--yes")
    check_all_read(filled.restart())


def test_what_lies_under_a_bucket_key_is_verified_and_counted(filled):
    held = len(rows(keyring(filled), "SELECT id FROM wrapped_key"))
    assert keys(filled, "verify") == {"readable": held, "skipped": 0, "unreadable": [], "missing": 0}
    impact = keys(filled, "impact", "default")
    assert (impact["object_count"], impact["buckets"]) == (20, ["bbb"])
    assert version(filled, 1)["wrapped"] == held


def test_a_data_key_of_another_object_or_bucket_key_is_refused(filled):
    filled.terminate()
    one, two = rows(keyring(filled), "SELECT id, wrapped FROM wrapped_key WHERE kind = 2 LIMIT 2")
    rows(keyring(filled), "UPDATE wrapped_key SET wrapped = ? WHERE id = ?", two["wrapped"], one["id"])
    found = keys(filled, "verify", code=1)
    assert [unreadable["key_id"] for unreadable in found["unreadable"]] == [one["id"].hex()]


def test_a_disabled_version_takes_effect_below_its_bucket_keys_too(filled):
    s3 = filled.s3()
    check_all_read(filled)
    run(filled, "disable", "default/1")
    with refused("KMS.DisabledException", status=400):
        s3.get_object(Bucket="bbb", Key="k0")
    with refused("KMS.DisabledException", status=400):
        s3.put_object(Bucket="bbb", Key="new", Body=b"x")
    run(filled, "enable", "default/1")
    check_all_read(filled)


def test_a_bucket_key_stays_while_an_object_lies_under_it_and_goes_after(filled):
    s3 = filled.s3()
    for number in range(1, 20):
        s3.delete_object(Bucket="bbb", Key=f"k{number}")
    filled.restart().restart()
    assert body(s3, "bbb", "k0") == painted(100, seed=0)
    (kept,) = rows(keyring(filled), "SELECT parent FROM wrapped_key WHERE kind = 2")
    assert kept["parent"] in {row["id"] for row in bucket_keys(filled)}
    keys(filled, "invalidate", "bbb", "--yes")
    assert bucket_keys(filled) == []


def test_an_invalidated_object_is_gone_and_its_neighbours_under_the_bucket_key_are_not(filled):
    s3 = filled.s3()
    (data_key,) = rows(filled.data / "catalog.sqlite", "SELECT data_key FROM version WHERE key = ?", b"k3")
    (kept,) = rows(keyring(filled), "SELECT wrapped FROM wrapped_key WHERE id = ?", data_key["data_key"])
    run(filled, "invalidate", "bbb", "k3", "--yes")
    with refused("InvalidObjectState", status=403):
        s3.get_object(Bucket="bbb", Key="k3")
    assert [path for path in files(filled) if kept["wrapped"][-32:] in path.read_bytes()] == []
    assert body(s3, "bbb", "k4") == painted(100, seed=4)


def test_a_restored_keyring_has_its_bucket_keys(filled, tmp_path):
    run(filled, "backup", str(tmp_path / "copy"))
    filled.s3().delete_object(Bucket="bbb", Key="k19")
    filled.terminate()
    (filled.data / "keyring.sqlite").unlink()
    keys(filled, "restore", str(tmp_path / "copy"))
    check_all_read(filled.start(), 19)
    poll("what was erased is erased again", lambda: orphans(filled) == set())
    assert len(bucket_keys(filled)) >= 1


def test_writes_go_on_during_rotations_and_rewraps(filled):
    s3 = filled.s3()
    for turn in range(3):
        keys(filled, "rotate", "default")
        s3.put_object(Bucket="bbb", Key="turn", Body=bytes([turn]))
        assert keys(filled, "rewrap", "default")["failed"] == 0
        assert body(s3, "bbb", "turn") == bytes([turn])
    check_all_read(filled)
    poll("nothing lies under old versions", lambda: version(filled, 1)["wrapped"] == 0)
