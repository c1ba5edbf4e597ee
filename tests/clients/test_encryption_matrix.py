"""Every write path, every mode, every default of a bucket; every copy from each mode to each mode."""

import pytest

from modes import (
    ALIAS,
    DSSE,
    NAMED,
    PLAINTEXT,
    SSE_C,
    SSE_KMS,
    SSE_S3,
    Mode,
    customer_headers,
    expected,
    make_aliases,
    said,
    set_plaintext,
)
from painted import checksum, md5_hex, painted
from wire import exchange, presign

SMALL = painted(20_000)
PART = painted(5 << 20, seed=1)
WHOLE = PART + SMALL
UNASKED = Mode("unasked", {}, None)


def rule(algorithm: str, **more) -> dict:
    by_default = {"SSEAlgorithm": algorithm} | ({"KMSMasterKeyID": more.pop("key")} if "key" in more else {})
    blocked = {"EncryptionType": ["NONE"]}
    return {"ApplyServerSideEncryptionByDefault": by_default, "BlockedEncryptionTypes": blocked, **more}


# What a write that asks for nothing gets, and the rule that makes it so; None: set by an administrator.
DEFAULTS = {
    "AES256": (SSE_S3, rule("AES256")),
    "AES256-bucket-key": (Mode("", {}, "AES256", bucket_key=True), rule("AES256", BucketKeyEnabled=True)),
    "kms": (SSE_KMS, rule("aws:kms", key=ALIAS)),
    "kms-bucket-key": (
        Mode("", {}, "aws:kms", ALIAS, bucket_key=True),
        rule("aws:kms", key=ALIAS, BucketKeyEnabled=True),
    ),
    "dsse": (DSSE, rule("aws:kms:dsse", key=ALIAS, BucketKeyEnabled=True)),
    "none": (PLAINTEXT, None),
}


@pytest.fixture(scope="module", autouse=True)
def aliases(server):
    make_aliases(server)


def set_to(server, s3, bucket: str, default: str) -> None:
    chosen = DEFAULTS[default][1]
    first = chosen or rule("AES256")
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [first]})
    if chosen is None:
        set_plaintext(server, bucket)


def effective(mode: Mode, default: str) -> Mode:
    """What a write gets: what it asks for, else the default; a rule's bucket key is for SSE-KMS too."""
    if mode is UNASKED:
        return DEFAULTS[default][0]
    if mode is SSE_KMS and (DEFAULTS[default][1] or {}).get("BucketKeyEnabled"):
        return Mode("", mode.write, mode.algorithm, mode.key_id, bucket_key=True)
    if mode is SSE_S3 and default == "AES256-bucket-key":
        return DEFAULTS[default][0]
    return mode


def check_read(s3, bucket: str, key: str, data: bytes, mode: Mode) -> None:
    """Whole, by ranges across segments and parts, and by HEAD; the ETag tells nothing where it must not."""
    whole = s3.get_object(Bucket=bucket, Key=key, **mode.read)
    assert whole["Body"].read() == data
    middle = len(data) // 2
    for first, last in [(0, 0), (middle - 9_000, middle + 9_000), (len(data) - 1, len(data) - 1)]:
        ranged = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}", **mode.read)
        assert ranged["Body"].read() == data[first : last + 1]
        assert said(ranged) == expected(mode)
    tail = s3.get_object(Bucket=bucket, Key=key, Range="bytes=-5000", **mode.read)
    assert tail["Body"].read() == data[-5000:]
    head = s3.head_object(Bucket=bucket, Key=key, **mode.read)
    assert said(whole) == said(head) == expected(mode)
    assert whole["ETag"] == head["ETag"]
    if "-" not in head["ETag"]:
        assert (head["ETag"].strip('"') == md5_hex(data)) == mode.has_md5_etag


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("mode", [UNASKED, *NAMED], ids=lambda mode: mode.name)
def test_every_write_path_encrypts_as_asked_or_as_the_bucket_says(server, s3, bucket, mode, default):
    set_to(server, s3, bucket, default)
    gets = effective(mode, default)
    put = s3.put_object(Bucket=bucket, Key="put", Body=SMALL, **mode.write)
    empty = s3.put_object(Bucket=bucket, Key="empty", Body=b"", **mode.write)
    copy = s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/put", **gets.source, **mode.write)
    started = s3.create_multipart_upload(Bucket=bucket, Key="parts", **mode.write)
    upload = {"Bucket": bucket, "Key": "parts", "UploadId": started["UploadId"]}
    first = s3.upload_part(**upload, PartNumber=1, Body=PART, **gets.read)
    second = s3.upload_part_copy(
        **upload, PartNumber=2, CopySource=f"{bucket}/put", **gets.source, **gets.read
    )
    tags = [first["ETag"], second["CopyPartResult"]["ETag"]]
    done = s3.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]}
    )
    answers = {"put": put, "empty": empty, "copy": copy, "create": started, "part": first, "part copy": second}
    assert {name: said(answer) for name, answer in answers.items()} == dict.fromkeys(answers, expected(gets))
    assert said(done)[:3] == expected(gets)[:3]

    check_read(s3, bucket, "put", SMALL, gets)
    check_read(s3, bucket, "copy", SMALL, gets)
    check_read(s3, bucket, "parts", WHOLE, gets)
    assert s3.get_object(Bucket=bucket, Key="empty", **gets.read)["Body"].read() == b""
    by_part = s3.get_object(Bucket=bucket, Key="parts", PartNumber=2, **gets.read)
    assert by_part["Body"].read() == SMALL
    listed = {entry["Key"]: entry["ETag"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed["put"] == put["ETag"] and listed["parts"] == done["ETag"]
    assert done["ETag"].strip('"').endswith("-2")


SOURCES = [*NAMED, PLAINTEXT]


@pytest.mark.parametrize("source", SOURCES, ids=lambda mode: mode.name)
def test_every_mode_is_copied_to_every_mode(server, s3, bucket, source):
    set_to(server, s3, bucket, "none")
    s3.put_object(Bucket=bucket, Key="source", Body=SMALL, **source.write)
    for target in SOURCES:
        copied = s3.copy_object(
            Bucket=bucket, Key=target.name, CopySource=f"{bucket}/source", **source.source, **target.write
        )
        assert said(copied) == expected(target)
        check_read(s3, bucket, target.name, SMALL, target)
    check_read(s3, bucket, "source", SMALL, source)


@pytest.mark.parametrize("source", SOURCES, ids=lambda mode: mode.name)
def test_a_copy_onto_itself_changes_the_mode(server, s3, bucket, source):
    set_to(server, s3, bucket, "none")
    for target in NAMED:
        s3.put_object(Bucket=bucket, Key="k", Body=SMALL, Metadata={"a": "b"}, **source.write)
        s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k", **source.source, **target.write)
        check_read(s3, bucket, "k", SMALL, target)
        assert s3.head_object(Bucket=bucket, Key="k", **target.read)["Metadata"] == {"a": "b"}


@pytest.mark.parametrize("mode", NAMED, ids=lambda mode: mode.name)
def test_presigned_urls_carry_every_mode(server, s3, bucket, mode):
    set_to(server, s3, bucket, "AES256")
    names = {
        "ServerSideEncryption": "x-amz-server-side-encryption",
        "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
        "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
    }
    asked = {name: "true" if value is True else value for name, value in mode.write.items()}
    headers = {names[name]: value for name, value in asked.items() if name in names}
    if mode is SSE_C:
        headers = customer_headers()
    put = exchange(server, presign(server, "PUT", f"/{bucket}/k", headers=headers, body=SMALL))
    assert put.status == 200, put.body
    got = exchange(server, presign(server, "GET", f"/{bucket}/k", headers=headers if mode is SSE_C else {}))
    assert (got.status, got.body) == (200, SMALL)
    check_read(s3, bucket, "k", SMALL, mode)


@pytest.mark.parametrize("mode", NAMED, ids=lambda mode: mode.name)
def test_conditions_compare_with_the_etag_that_clients_saw(server, s3, bucket, mode):
    set_to(server, s3, bucket, "AES256")
    tag = s3.put_object(Bucket=bucket, Key="k", Body=SMALL, **mode.write)["ETag"]
    assert s3.get_object(Bucket=bucket, Key="k", IfMatch=tag, **mode.read)["Body"].read() == SMALL
    again = s3.put_object(Bucket=bucket, Key="k", Body=SMALL, IfMatch=tag, **mode.write)["ETag"]
    assert (again == tag) == mode.has_md5_etag


@pytest.mark.parametrize("mode", [*NAMED, PLAINTEXT], ids=lambda mode: mode.name)
def test_checksums_are_over_the_plaintext_in_every_mode(server, s3, bucket, mode):
    set_to(server, s3, bucket, "none")
    s3.put_object(Bucket=bucket, Key="k", Body=SMALL, ChecksumAlgorithm="SHA256", **mode.write)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", **mode.read)
    assert head["ChecksumSHA256"] == checksum("SHA256", SMALL)
