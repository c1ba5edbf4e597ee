"""Buckets: made, found, listed, emptied, removed; and encrypted by default, whatever was configured."""

import uuid

import pytest

from painted import painted
from refusal import body, refused
from wire import exchange, sign

AES256_RULE = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}


def fresh_name() -> str:
    return f"b-{uuid.uuid4().hex[:20]}"


def names(s3, **options) -> list[str]:
    return [entry["Name"] for entry in s3.list_buckets(**options)["Buckets"]]


def test_a_bucket_is_made_found_and_removed(s3):
    name = fresh_name()
    assert s3.create_bucket(Bucket=name)["Location"] == f"/{name}"
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == "us-east-1"
    assert name in names(s3)
    assert s3.delete_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert name not in names(s3)
    with refused(status=404):
        s3.head_bucket(Bucket=name)


def test_the_list_of_buckets_is_in_order_and_tells_the_owner(s3, bucket):
    answer = s3.list_buckets()
    listed = [entry["Name"] for entry in answer["Buckets"]]
    assert listed == sorted(listed) and bucket in listed
    assert answer["Owner"]["ID"]
    assert all(entry["CreationDate"] for entry in answer["Buckets"])


def test_buckets_are_listed_by_prefix_and_pages(s3):
    prefix = fresh_name()[:12]
    made = sorted(f"{prefix}-{n}" for n in range(5))
    for name in made:
        s3.create_bucket(Bucket=name)
    seen, options = [], {}
    while True:
        page = s3.list_buckets(Prefix=prefix, MaxBuckets=2, **options)
        seen += [entry["Name"] for entry in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        options = {"ContinuationToken": page["ContinuationToken"]}
    assert seen == made


def test_making_one_s_own_bucket_again_changes_nothing(s3, bucket):
    """As S3 does in us-east-1: 200, and what is in it stays."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.create_bucket(Bucket=bucket)
    assert body(s3, bucket, "k") == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "a" * 64,
        "Upper",
        "under_score",
        "-lead",
        "trail-",
        "two..dots",
        "192.168.5.4",
        "dot.-dash",
        "xn--puny",
        "name-s3alias",
        ".lead",
    ],
)
def test_an_invalid_name_is_refused(server, s3, name):
    answer = exchange(server, sign(server, "PUT", f"/{name}"))
    assert (answer.status, answer.code) == (400, "InvalidBucketName")
    assert name not in names(s3)


@pytest.mark.parametrize("shape", ["{}", "a.{}", "{}.com", "1{}", "{}1"])
def test_a_valid_name_is_taken(s3, shape):
    name = shape.format(fresh_name())
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    assert body(s3, name, "k") == b"x"


def test_a_bucket_with_an_object_is_not_removed(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused("BucketNotEmpty", status=409):
        s3.delete_bucket(Bucket=bucket)
    assert body(s3, bucket, "k") == b"x"
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)


def test_a_bucket_made_again_is_another_bucket(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=painted(100))
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    s3.abort_multipart_upload(Bucket=bucket, Key="m", UploadId=upload_id)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"again")
    assert body(s3, bucket, "k") == b"again"


def test_what_needs_a_bucket_says_that_it_is_missing(s3):
    for call in (s3.delete_bucket, s3.get_bucket_location, s3.get_bucket_encryption, s3.delete_bucket_encryption):
        with refused("NoSuchBucket", status=404):
            call(Bucket="no-such-bucket-here")


def test_the_location_is_us_east_1(s3, bucket):
    """Which S3 spells as an empty constraint."""
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None


def test_a_bucket_elsewhere_is_refused(s3):
    name = fresh_name()
    with refused("IllegalLocationConstraintException", "InvalidLocationConstraint", status=400):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert name not in names(s3)


# Default encryption


def rules(s3, bucket) -> list[dict]:
    return s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]


def algorithm(s3, bucket) -> str:
    (rule,) = rules(s3, bucket)
    return rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]


def put_rules(s3, bucket, *chosen):
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": list(chosen)})


def test_a_bucket_is_encrypted_by_default_without_being_asked(s3, bucket):
    assert algorithm(s3, bucket) == "AES256"
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ServerSideEncryption"] == "AES256"


def test_default_encryption_can_be_put_and_read(s3, bucket):
    put_rules(s3, bucket, AES256_RULE)
    assert algorithm(s3, bucket) == "AES256"


def test_deleting_default_encryption_leaves_aes256(s3, bucket):
    put_rules(s3, bucket, AES256_RULE)
    s3.delete_bucket_encryption(Bucket=bucket)
    assert algorithm(s3, bucket) == "AES256"
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize("mode", ["aws:kms", "aws:kms:dsse"])
def test_a_default_with_its_key_id_is_answered_as_it_was_put(s3, bucket, mode):
    by_default = {"SSEAlgorithm": mode, "KMSMasterKeyID": "alias/nobody-looks-here"}
    put_rules(s3, bucket, {"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True})
    (rule,) = rules(s3, bucket)
    assert (rule["ApplyServerSideEncryptionByDefault"], rule["BucketKeyEnabled"]) == (by_default, True)
    s3.delete_bucket_encryption(Bucket=bucket)
    (rule,) = rules(s3, bucket)
    assert (rule["ApplyServerSideEncryptionByDefault"], rule["BucketKeyEnabled"]) == ({"SSEAlgorithm": "AES256"}, False)


def test_blocked_types_are_answered_and_stay_where_a_rule_does_not_name_them(s3, bucket):
    def blocked():
        return rules(s3, bucket)[0]["BlockedEncryptionTypes"]["EncryptionType"]

    assert blocked() == ["SSE-C"], "as S3 does for new buckets"
    put_rules(s3, bucket, AES256_RULE)
    assert blocked() == ["SSE-C"]
    put_rules(s3, bucket, {**AES256_RULE, "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]}})
    assert blocked() == ["NONE"]
    put_rules(s3, bucket, AES256_RULE)
    assert blocked() == ["NONE"]
    with refused("MalformedXML", status=400):
        put_rules(s3, bucket, {**AES256_RULE, "BlockedEncryptionTypes": {"EncryptionType": ["NONE", "SSE-C"]}})
    assert blocked() == ["NONE"]


def test_an_unknown_default_is_refused(s3, bucket):
    with refused("MalformedXML", "InvalidArgument", "InvalidEncryptionAlgorithmError", status=400):
        put_rules(s3, bucket, {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "ROT13"}})
    assert algorithm(s3, bucket) == "AES256"


def test_a_key_id_with_aes256_is_refused(s3, bucket):
    with refused("InvalidArgument", status=400):
        put_rules(s3, bucket, {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256", "KMSMasterKeyID": "k"}})


@pytest.mark.parametrize("count", [0, 2])
def test_a_configuration_has_exactly_one_rule(s3, bucket, count):
    with refused("MalformedXML", "InvalidRequest", status=400):
        put_rules(s3, bucket, *[AES256_RULE] * count)


def test_the_aws_cli_makes_and_removes_a_bucket(server, s3):
    name = fresh_name()
    server.aws("s3", "mb", f"s3://{name}")
    assert name in server.aws("s3", "ls").stdout
    server.aws("s3", "rb", f"s3://{name}")
    assert name not in names(s3)
