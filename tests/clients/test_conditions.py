"""Conditional requests: S3's precedence at GET and HEAD, and writes that happen once or not at all."""

import concurrent.futures
import datetime

import pytest
from botocore.exceptions import ClientError

from painted import md5_hex
from refusal import body, refused

HOUR = datetime.timedelta(hours=1)
OTHER = '"0123456789abcdef0123456789abcdef"'
ETAG = f'"{md5_hex(b"there")}"'


@pytest.fixture
def modified(s3, bucket) -> datetime.datetime:
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    return s3.head_object(Bucket=bucket, Key="k")["LastModified"]


# 200, 304 or 412 for one object of ETag ETAG, by RFC 9110 13.2.2 and S3's GetObject page.
CASES = {
    "if-match holds": (200, lambda at: {"IfMatch": ETAG}),
    "if-match without quotes": (200, lambda at: {"IfMatch": ETAG.strip('"')}),
    "if-match fails": (412, lambda at: {"IfMatch": OTHER}),
    "if-none-match holds": (200, lambda at: {"IfNoneMatch": OTHER}),
    "if-none-match fails": (304, lambda at: {"IfNoneMatch": ETAG}),
    "modified since": (200, lambda at: {"IfModifiedSince": at - HOUR}),
    "not modified since": (304, lambda at: {"IfModifiedSince": at}),
    "unmodified since": (200, lambda at: {"IfUnmodifiedSince": at}),
    "modified after all": (412, lambda at: {"IfUnmodifiedSince": at - HOUR}),
    "if-match outweighs unmodified-since": (200, lambda at: {"IfMatch": ETAG, "IfUnmodifiedSince": at - HOUR}),
    "if-match still fails": (412, lambda at: {"IfMatch": OTHER, "IfUnmodifiedSince": at}),
    "if-none-match outweighs modified-since": (304, lambda at: {"IfNoneMatch": ETAG, "IfModifiedSince": at - HOUR}),
    "if-none-match holds, modified-since is not asked": (200, lambda at: {"IfNoneMatch": OTHER, "IfModifiedSince": at}),
}


@pytest.mark.parametrize("operation", ["get_object", "head_object"])
@pytest.mark.parametrize("status, conditions", CASES.values(), ids=CASES)
def test_a_read_obeys_its_conditions(s3, bucket, modified, operation, status, conditions):
    call = getattr(s3, operation)
    if status == 200:
        assert call(Bucket=bucket, Key="k", **conditions(modified))["ETag"] == ETAG
    else:
        with refused(status=status):
            call(Bucket=bucket, Key="k", **conditions(modified))


def test_not_modified_tells_the_etag(s3, bucket, modified):
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=ETAG)
    assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["etag"] == ETAG


def test_a_failed_condition_has_its_code(s3, bucket, modified):
    with refused("PreconditionFailed", status=412):
        s3.get_object(Bucket=bucket, Key="k", IfMatch=OTHER)


def test_a_condition_on_nothing_is_about_nothing(s3, bucket):
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=bucket, Key="never", IfNoneMatch=OTHER)


# Writes


def test_a_put_if_none_match_makes_only_what_is_new(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"first", IfNoneMatch="*")
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"second", IfNoneMatch="*")
    assert body(s3, bucket, "k") == b"first"
    s3.delete_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"third", IfNoneMatch="*")
    assert body(s3, bucket, "k") == b"third"


def test_a_put_if_match_replaces_only_what_it_names(s3, bucket, modified):
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"new", IfMatch=OTHER)
    assert body(s3, bucket, "k") == b"there"
    s3.put_object(Bucket=bucket, Key="k", Body=b"new", IfMatch=ETAG)
    assert body(s3, bucket, "k") == b"new"


def test_a_put_if_match_on_nothing_is_refused(s3, bucket):
    with refused("NoSuchKey", status=404):
        s3.put_object(Bucket=bucket, Key="never", Body=b"new", IfMatch=ETAG)


def test_a_put_if_none_match_of_an_etag_is_not_implemented(s3, bucket, modified):
    with refused("NotImplemented", status=501):
        s3.put_object(Bucket=bucket, Key="k", Body=b"new", IfNoneMatch=ETAG)
    assert body(s3, bucket, "k") == b"there"


def test_a_delete_whose_condition_fails_deletes_nothing(s3, bucket, modified):
    with refused("PreconditionFailed", "NotImplemented"):
        s3.delete_object(Bucket=bucket, Key="k", IfMatch=OTHER)
    assert body(s3, bucket, "k") == b"there"


def outcome(call) -> int:
    try:
        return call()["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def test_of_many_puts_if_none_match_exactly_one_wins(s3, bucket):
    bodies = [f"writer {n}".encode() for n in range(16)]
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        statuses = list(
            threads.map(
                lambda data: outcome(lambda: s3.put_object(Bucket=bucket, Key="k", Body=data, IfNoneMatch="*")), bodies
            )
        )
    assert statuses.count(200) == 1 and set(statuses) <= {200, 409, 412}
    assert body(s3, bucket, "k") == bodies[statuses.index(200)]


def test_of_many_puts_if_match_exactly_one_wins(s3, bucket, modified):
    bodies = [f"writer {n}".encode() for n in range(16)]
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        statuses = list(
            threads.map(
                lambda data: outcome(lambda: s3.put_object(Bucket=bucket, Key="k", Body=data, IfMatch=ETAG)), bodies
            )
        )
    assert statuses.count(200) == 1 and set(statuses) <= {200, 409, 412}
    assert body(s3, bucket, "k") == bodies[statuses.index(200)]
