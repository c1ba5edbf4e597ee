"""COPY: the same bytes under a new name and always under a fresh data key; metadata kept or replaced as asked."""

import datetime
from urllib.parse import quote

import pytest

from disk import blobs, stream_key_id
from painted import md5_hex, painted
from refusal import absent, body, refused
from wire import exchange, sign

HOUR = datetime.timedelta(hours=1)
DATA = painted(20_000)
OTHER_ETAG = '"0123456789abcdef0123456789abcdef"'


@pytest.fixture
def source(s3, bucket) -> dict:
    s3.put_object(
        Bucket=bucket,
        Key="source",
        Body=DATA,
        Metadata={"colour": "blue"},
        ContentType="text/x-source",
        CacheControl="max-age=60",
        ContentDisposition="inline",
        ContentLanguage="de",
    )
    return {"Bucket": bucket, "Key": "source"}


def copy(s3, source, key="target", **options):
    return s3.copy_object(Bucket=source["Bucket"], Key=key, **{"CopySource": source, **options})


def test_a_copy_has_the_bytes_and_the_etag_of_its_source(s3, source):
    answer = copy(s3, source)
    assert answer["CopyObjectResult"]["ETag"] == f'"{md5_hex(DATA)}"'
    assert "LastModified" in answer["CopyObjectResult"]
    assert body(s3, source["Bucket"], "target") == DATA


def test_a_copy_into_another_bucket_survives_its_source(s3, source):
    other = source["Bucket"] + "-other"
    s3.create_bucket(Bucket=other)
    s3.copy_object(Bucket=other, Key="target", CopySource=source)
    s3.delete_object(**source)
    assert body(s3, other, "target") == DATA


def test_an_empty_object_can_be_copied(s3, bucket):
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    copy(s3, {"Bucket": bucket, "Key": "empty"})
    assert body(s3, bucket, "target") == b""


def test_a_copy_of_a_multipart_object_is_one_object(s3, bucket):
    parts, entries = [painted(5 << 20, 1), painted(99, 2)], []
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="source")["UploadId"]
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=bucket, Key="source", UploadId=upload_id, PartNumber=number, Body=part)
        entries.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key="source", UploadId=upload_id, MultipartUpload={"Parts": entries})
    answer = copy(s3, {"Bucket": bucket, "Key": "source"})
    assert body(s3, bucket, "target") == b"".join(parts)
    assert answer["CopyObjectResult"]["ETag"] == f'"{md5_hex(b"".join(parts))}"'


def test_a_copy_is_sealed_under_a_fresh_key(server, s3, bucket):
    """Same plaintext, nothing in common on disk: other key id, other salt, other ciphertext."""
    before = blobs(server)
    s3.put_object(Bucket=bucket, Key="source", Body=DATA)
    of_source = blobs(server) - before
    copy(s3, {"Bucket": bucket, "Key": "source"})
    of_copy = blobs(server) - before - of_source
    assert len(of_source) == len(of_copy) == 1
    one, two = of_source.pop().read_bytes(), of_copy.pop().read_bytes()
    assert len(one) == len(two)
    assert stream_key_id(one) != stream_key_id(two)
    shared = sum(one[at : at + 16] == two[at : at + 16] for at in range(16, len(one) - 15))
    assert shared == 0


# Metadata

KEPT = {
    "Metadata": {"colour": "blue"},
    "ContentType": "text/x-source",
    "CacheControl": "max-age=60",
    "ContentDisposition": "inline",
    "ContentLanguage": "de",
}


@pytest.mark.parametrize("directive", [{}, {"MetadataDirective": "COPY"}], ids=["unsaid", "COPY"])
def test_metadata_is_kept_even_where_new_metadata_is_sent(s3, source, directive):
    copy(s3, source, Metadata={"colour": "red"}, ContentType="text/x-new", **directive)
    head = s3.head_object(Bucket=source["Bucket"], Key="target")
    assert {name: head[name] for name in KEPT} == KEPT


def test_replace_takes_only_the_new_metadata(s3, source):
    copy(s3, source, MetadataDirective="REPLACE", Metadata={"shape": "round"}, ContentType="text/x-new")
    head = s3.head_object(Bucket=source["Bucket"], Key="target")
    assert (head["Metadata"], head["ContentType"]) == ({"shape": "round"}, "text/x-new")
    assert "CacheControl" not in head and "ContentDisposition" not in head


def test_replace_with_nothing_takes_all_metadata_away(s3, source):
    copy(s3, source, MetadataDirective="REPLACE")
    head = s3.head_object(Bucket=source["Bucket"], Key="target")
    assert (head["Metadata"], head["ContentType"]) == ({}, "binary/octet-stream")


def test_an_unknown_directive_is_refused(s3, source):
    with refused("InvalidArgument", status=400):
        copy(s3, source, MetadataDirective="MERGE")
    assert absent(s3, source["Bucket"], "target")


# Onto itself


def test_a_copy_onto_itself_that_changes_nothing_is_refused(s3, source):
    with refused("InvalidRequest", status=400):
        copy(s3, source, key="source")
    assert body(s3, source["Bucket"], "source") == DATA


def test_a_copy_onto_itself_replaces_metadata_and_keeps_the_bytes(s3, source):
    copy(s3, source, key="source", MetadataDirective="REPLACE", Metadata={"shape": "round"})
    got = s3.get_object(**source)
    assert (got["Body"].read(), got["Metadata"]) == (DATA, {"shape": "round"})


def test_a_copy_onto_itself_that_asks_for_encryption_is_a_change(s3, source):
    copy(s3, source, key="source", ServerSideEncryption="AES256")
    got = s3.get_object(**source)
    assert (got["Body"].read(), got["Metadata"]) == (DATA, {"colour": "blue"})


# Conditions on the source


@pytest.mark.parametrize(
    "condition",
    [
        lambda head: {"CopySourceIfMatch": OTHER_ETAG},
        lambda head: {"CopySourceIfNoneMatch": head["ETag"]},
        lambda head: {"CopySourceIfModifiedSince": head["LastModified"]},
        lambda head: {"CopySourceIfUnmodifiedSince": head["LastModified"] - HOUR},
        lambda head: {"CopySourceIfNoneMatch": head["ETag"], "CopySourceIfModifiedSince": head["LastModified"] - HOUR},
    ],
    ids=["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "none-match before modified"],
)
def test_a_copy_whose_condition_fails_makes_nothing(s3, source, condition):
    with refused("PreconditionFailed", status=412):
        copy(s3, source, **condition(s3.head_object(**source)))
    assert absent(s3, source["Bucket"], "target")


@pytest.mark.parametrize(
    "condition",
    [
        lambda head: {"CopySourceIfMatch": head["ETag"]},
        lambda head: {"CopySourceIfNoneMatch": OTHER_ETAG},
        lambda head: {"CopySourceIfModifiedSince": head["LastModified"] - HOUR},
        lambda head: {"CopySourceIfUnmodifiedSince": head["LastModified"]},
        lambda head: {"CopySourceIfMatch": head["ETag"], "CopySourceIfUnmodifiedSince": head["LastModified"] - HOUR},
    ],
    ids=["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "match before unmodified"],
)
def test_a_copy_whose_condition_holds_is_made(s3, source, condition):
    copy(s3, source, **condition(s3.head_object(**source)))
    assert body(s3, source["Bucket"], "target") == DATA


# Naming the source, on the wire: boto3 would encode it once more


def copy_named(server, bucket, source: str):
    return exchange(server, sign(server, "PUT", f"/{bucket}/target", headers={"x-amz-copy-source": source}))


@pytest.mark.parametrize("key", ["a b", "a+b", "a%20b", "c&d=e", "f?g#h", "ü/日本語", "x//y", "x/../up", "quote\"'"])
@pytest.mark.parametrize("lead", ["", "/"], ids=["bucket/key", "/bucket/key"])
@pytest.mark.parametrize("safe", ["/", ""], ids=["slashes plain", "slashes encoded"])
def test_a_source_of_any_name_is_found_url_encoded(server, s3, bucket, key, lead, safe):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert copy_named(server, bucket, f"{lead}{bucket}/{quote(key, safe=safe)}").status == 200
    assert body(s3, bucket, "target") == key.encode()


def test_a_plain_source_need_not_be_encoded(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="folder/plain", Body=b"x")
    assert copy_named(server, bucket, f"{bucket}/folder/plain").status == 200
    assert body(s3, bucket, "target") == b"x"


@pytest.mark.parametrize("text", ["", "/", "only-a-bucket", "/only-a-bucket/", "%ff%fe/key", "%zz"])
def test_a_source_that_names_no_object_is_refused(server, s3, bucket, text):
    answer = copy_named(server, bucket, text)
    assert answer.status in (400, 404), answer
    assert absent(s3, bucket, "target")


def test_a_source_that_is_not_there_is_refused(s3, source):
    with refused("NoSuchKey", status=404):
        copy(s3, {**source, "Key": "never"})
    with refused("NoSuchBucket", status=404):
        s3.copy_object(Bucket=source["Bucket"], Key="target", CopySource="no-such-bucket-here/k")
    with refused("NoSuchBucket", status=404):
        s3.copy_object(Bucket="no-such-bucket-here", Key="target", CopySource=source)
    assert absent(s3, source["Bucket"], "target")


def test_a_copy_keeps_the_checksum_of_its_source(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="source", Body=DATA, ChecksumAlgorithm="SHA256")
    answer = copy(s3, {"Bucket": bucket, "Key": "source"})
    assert answer["CopyObjectResult"]["ChecksumSHA256"] == put["ChecksumSHA256"]
    head = s3.head_object(Bucket=bucket, Key="target", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == put["ChecksumSHA256"]


def test_a_copy_that_asks_for_a_checksum_gets_it(s3, source):
    answer = copy(s3, source, ChecksumAlgorithm="SHA1")
    assert "ChecksumSHA1" in answer["CopyObjectResult"]
    assert "ChecksumSHA1" in s3.head_object(Bucket=source["Bucket"], Key="target", ChecksumMode="ENABLED")
