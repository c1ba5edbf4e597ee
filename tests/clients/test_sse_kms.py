"""SSE-KMS: a master key by its name, the encryption context, bucket keys; and what administrators do to that key."""

import base64
import json

import pytest

from disk import keyring, rows
from keys import DATA_KEY, place_of
from modes import ALIAS, OTHER_ALIAS, make_aliases
from painted import painted
from refusal import absent, body, refused
from server import poll
from test_keys import keys, run
from wire import exchange, sign

DATA = painted(30_000)
KMS = {"ServerSideEncryption": "aws:kms"}
ARN = "arn:aws:kms:us-east-1:000000000000"


@pytest.fixture(scope="module", autouse=True)
def aliases(server):
    make_aliases(server)


def master_key(server, alias: str, number: int = 1) -> dict:
    (found,) = [key for key in keys(server, "list") if (key["alias"], key["version"]) == (alias, number)]
    return found


def encoded(context: dict) -> str:
    return base64.b64encode(json.dumps(context).encode()).decode()


def parents(server) -> dict[bytes, int]:
    """How many data keys lie under each master key."""
    counted = rows(keyring(server), "SELECT parent, count(*) AS n FROM wrapped_key WHERE kind = 2 GROUP BY parent")
    return {row["parent"]: row["n"] for row in counted}


# Names


def test_every_form_of_a_key_id_is_taken_and_answered_as_it_was_sent(server, s3, bucket):
    master = master_key(server, ALIAS)["id"]
    forms = [ALIAS, f"alias/{ALIAS}", master, f"{ARN}:alias/{ALIAS}", f"{ARN}:key/{master}"]
    before = parents(server).get(bytes.fromhex(master), 0)
    for form in forms:
        put = s3.put_object(Bucket=bucket, Key="k", Body=DATA, SSEKMSKeyId=form, **KMS)
        got = s3.get_object(Bucket=bucket, Key="k")
        assert (put["SSEKMSKeyId"], got["SSEKMSKeyId"], got["Body"].read()) == (form, form, DATA)
        assert parents(server)[bytes.fromhex(master)] == before + 1, "and it is the one that wraps"


def test_without_a_key_id_the_default_alias_is_used_and_named(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="k", Body=DATA, **KMS)
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", f"{ARN}:alias/default")


@pytest.mark.parametrize(
    "key_id",
    [
        "nobody",
        "alias/nobody",
        "00" * 16,
        f"{ARN}:alias/nobody",
        f"{ARN}:key/{'00' * 16}",
        f"arn:aws:kms:us-east-1:111122223333:alias/{ALIAS}",
        f"arn:aws:kms:eu-west-1:000000000000:alias/{ALIAS}",
        "arn:aws:kms",
        "12345678-1234-1234-1234-123456789abc",
    ],
)
@pytest.mark.parametrize("mode", ["aws:kms", "aws:kms:dsse"])
def test_an_unknown_key_stores_nothing_on_any_path(s3, bucket, key_id, mode):
    s3.put_object(Bucket=bucket, Key="source", Body=DATA)
    asked = {"ServerSideEncryption": mode, "SSEKMSKeyId": key_id}
    with refused("KMS.NotFoundException", status=400):
        s3.put_object(Bucket=bucket, Key="k", Body=DATA, **asked)
    with refused("KMS.NotFoundException", status=400):
        s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/source", **asked)
    with refused("KMS.NotFoundException", status=400):
        s3.create_multipart_upload(Bucket=bucket, Key="k", **asked)
    assert absent(s3, bucket, "k")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_a_default_of_the_bucket_that_names_no_key_stores_nothing(s3, bucket):
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "nobody"}
    rule = {"ApplyServerSideEncryptionByDefault": by_default}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    with refused("KMS.NotFoundException", status=400):
        s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    assert absent(s3, bucket, "k")
    assert s3.put_object(Bucket=bucket, Key="k", Body=DATA, ServerSideEncryption="AES256")["ServerSideEncryption"]


# Encryption context


def test_an_encryption_context_is_answered_by_writes_and_bound_to_the_key(s3, bucket):
    context = encoded({"b": "2", "a": "ä"})
    put = s3.put_object(Bucket=bucket, Key="k", Body=DATA, SSEKMSEncryptionContext=context, **KMS)
    assert json.loads(base64.b64decode(put["SSEKMSEncryptionContext"])) == {"a": "ä", "b": "2"}
    assert body(s3, bucket, "k") == DATA
    copy = s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k", SSEKMSEncryptionContext=context, **KMS)
    started = s3.create_multipart_upload(Bucket=bucket, Key="m", SSEKMSEncryptionContext=context, **KMS)
    assert copy["SSEKMSEncryptionContext"] == started["SSEKMSEncryptionContext"] == put["SSEKMSEncryptionContext"]
    upload = {"Bucket": bucket, "Key": "m", "UploadId": started["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=DATA)["ETag"]}
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    assert body(s3, bucket, "m") == body(s3, bucket, "c") == DATA
    again = s3.put_object(Bucket=bucket, Key="e", Body=DATA, SSEKMSEncryptionContext=encoded({}), **KMS)
    assert "SSEKMSEncryptionContext" not in again
    assert body(s3, bucket, "e") == DATA


def test_the_encryption_context_is_part_of_what_the_data_key_is_wrapped_for(filled):
    place = place_of(filled, "plain")
    assert place.kept_context == place.context(DATA_KEY, encryption_context=b'{"a":"b"}')
    without = place_of(filled, "default")
    assert without.kept_context == without.context(DATA_KEY)


@pytest.mark.parametrize("context", ["", "!", "e30", encoded([]), encoded({"a": 1}), base64.b64encode(b"\xff").decode()])
def test_a_context_that_is_none_stores_nothing(server, s3, bucket, context):
    headers = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-context": context}
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/k", headers=headers, body=DATA))
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert absent(s3, bucket, "k")


# Bucket keys


def test_a_bucket_has_a_bucket_key_for_each_master_key(own_server):
    make_aliases(own_server)
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    for number in range(6):
        alias = [ALIAS, OTHER_ALIAS][number % 2]
        s3.put_object(Bucket="bbb", Key=f"k{number}", Body=DATA, SSEKMSKeyId=alias, BucketKeyEnabled=True, **KMS)
    found = rows(keyring(own_server), "SELECT parent FROM wrapped_key WHERE kind = 3")
    masters = {bytes.fromhex(master_key(own_server, alias)["id"]) for alias in (ALIAS, OTHER_ALIAS)}
    assert sorted(row["parent"] for row in found) == sorted(masters), "one each, and three objects under each"
    assert all(body(s3, "bbb", f"k{number}") == DATA for number in range(6))


# Life of the master key


@pytest.fixture
def filled(own_server):
    """Objects under the alias, with and without a bucket key, one multipart, and one under the default."""
    make_aliases(own_server)
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    context = encoded({"a": "b"})
    named = {"SSEKMSKeyId": ALIAS, **KMS}
    s3.put_object(Bucket="bbb", Key="plain", Body=DATA, SSEKMSEncryptionContext=context, **named)
    s3.put_object(Bucket="bbb", Key="bucket-key", Body=DATA, BucketKeyEnabled=True, **named)
    s3.put_object(Bucket="bbb", Key="dsse", Body=DATA, ServerSideEncryption="aws:kms:dsse", SSEKMSKeyId=ALIAS)
    s3.put_object(Bucket="bbb", Key="default", Body=DATA)
    return own_server


NAMED = ["plain", "bucket-key", "dsse"]


def check_all_read(server) -> None:
    for name in [*NAMED, "default"]:
        assert body(server.s3(), "bbb", name) == DATA


def test_rotation_and_rewrap_move_what_lies_under_the_alias_and_nothing_else(filled):
    keys(filled, "rotate", ALIAS)
    check_all_read(filled)
    moved = keys(filled, "rewrap", ALIAS)
    assert (moved["moved"], moved["failed"]) == (4, 0), "one key, one bucket key, two of DSSE"
    assert master_key(filled, ALIAS)["wrapped"] == 0
    check_all_read(filled)
    filled.restart()
    check_all_read(filled)
    verified = keys(filled, "verify")
    assert verified["unreadable"] == []


def test_a_disabled_key_is_a_400_of_kms_on_reads_and_writes_and_nothing_is_stored(filled):
    s3 = filled.s3()
    run(filled, "disable", ALIAS)
    for name in NAMED:
        with refused("KMS.DisabledException", status=400):
            s3.get_object(Bucket="bbb", Key=name)
    for asked in ({}, {"BucketKeyEnabled": True}):
        with refused("KMS.DisabledException", status=400):
            s3.put_object(Bucket="bbb", Key="new", Body=DATA, SSEKMSKeyId=ALIAS, **asked, **KMS)
    with refused("KMS.DisabledException", status=400):
        s3.create_multipart_upload(Bucket="bbb", Key="new", SSEKMSKeyId=ALIAS, **KMS)
    assert absent(s3, "bbb", "new")
    assert body(s3, "bbb", "default") == DATA, "other keys are not touched"
    run(filled, "enable", ALIAS)
    check_all_read(filled)


def test_a_version_that_is_pending_destruction_may_not_be_named(filled):
    s3 = filled.s3()
    old = master_key(filled, ALIAS)["id"]
    keys(filled, "rotate", ALIAS)
    keys(filled, "rewrap", ALIAS)
    keys(filled, "schedule-destruction", f"{ALIAS}/1", "--days", "0")
    with refused("KMS.KMSInvalidStateException", status=400):
        s3.put_object(Bucket="bbb", Key="new", Body=DATA, SSEKMSKeyId=old, **KMS)
    assert absent(s3, "bbb", "new")
    assert s3.put_object(Bucket="bbb", Key="new", Body=DATA, SSEKMSKeyId=ALIAS, **KMS)["SSEKMSKeyId"] == ALIAS
    keys(filled, "destroy", f"{ALIAS}/1", "--yes")
    with refused("KMS.NotFoundException", status=400):
        s3.put_object(Bucket="bbb", Key="newer", Body=DATA, SSEKMSKeyId=old, **KMS)
    check_all_read(filled)


def test_impact_names_what_lies_under_the_alias(filled):
    impact = keys(filled, "impact", ALIAS)
    assert sorted(found["key"] for found in impact["objects"]) == sorted(NAMED)
    assert (impact["object_count"], impact["unnamed_count"], impact["store"]) == (3, 0, False)


def test_deleting_and_overwriting_erases_every_key_of_an_object(filled):
    s3 = filled.s3()
    data_keys = "SELECT count(*) AS n FROM wrapped_key WHERE kind = 2"
    assert rows(keyring(filled), data_keys)[0]["n"] == 5
    s3.put_object(Bucket="bbb", Key="dsse", Body=DATA)
    assert rows(keyring(filled), data_keys)[0]["n"] == 4
    for name in [*NAMED, "default"]:
        s3.delete_object(Bucket="bbb", Key=name)
    assert rows(keyring(filled), data_keys)[0]["n"] == 0


def test_invalidating_destroys_every_key_of_an_object(filled):
    s3 = filled.s3()
    for name in NAMED:
        keys(filled, "invalidate", "bbb", name, "--yes")
        with refused("InvalidObjectState", status=403):
            s3.get_object(Bucket="bbb", Key=name)
    assert body(s3, "bbb", "default") == DATA
    assert rows(keyring(filled), "SELECT count(*) AS n FROM wrapped_key WHERE kind = 2")[0]["n"] == 1


def test_the_aws_cli_names_a_key(server, s3, bucket, tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    server.aws("s3", "cp", tmp_path / "source", f"s3://{bucket}/k", "--sse", "aws:kms", "--sse-kms-key-id", ALIAS)
    head = json.loads(server.aws("s3api", "head-object", "--bucket", bucket, "--key", "k").stdout)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", ALIAS)
    server.aws("s3", "cp", f"s3://{bucket}/k", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == DATA


def test_while_the_hsm_is_away_nothing_is_stored_and_it_is_a_503(filled):
    s3 = filled.s3()
    assert body(s3, "bbb", "default") == DATA, "the keys of the bucket are at hand"
    token = filled.data / "token"
    away = token.rename(filled.data.parent / "token-away")
    try:
        poll("the HSM is missed", lambda: filled.trouble())
        for mode in ("aws:kms", "aws:kms:dsse"):
            with refused("ServiceUnavailable", status=503):
                s3.put_object(Bucket="bbb", Key="new", Body=DATA, ServerSideEncryption=mode, SSEKMSKeyId=ALIAS)
            with refused("ServiceUnavailable", status=503):
                s3.create_multipart_upload(Bucket="bbb", Key="new", ServerSideEncryption=mode, SSEKMSKeyId=ALIAS)
    finally:
        away.rename(token)
    poll("the HSM is back", lambda: filled.trouble() is None)
    assert absent(s3, "bbb", "new")
    check_all_read(filled)
