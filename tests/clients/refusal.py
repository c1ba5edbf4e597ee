"""What a refusal looks like: S3's code and status, by boto3 or on the wire."""

import contextlib

import pytest
from botocore.exceptions import ClientError


@contextlib.contextmanager
def refused(*codes: str, status: int | None = None):
    """The block must end in one of `codes` (a HEAD has no body, so there only the status can be told)."""
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response
    found_code, found_status = error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]
    if codes:
        assert found_code in codes, f"{found_code} ({found_status}): {error['Error'].get('Message')}"
    if status is not None:
        assert found_status == status, f"{found_code} ({found_status}): {error['Error'].get('Message')}"


def not_implemented():
    return refused("NotImplemented", status=501)


def absent(s3, bucket: str, key: str) -> bool:
    """No object of that name: neither by HEAD nor in a listing."""
    with refused(status=404):
        s3.head_object(Bucket=bucket, Key=key)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=key)
    return key not in [entry["Key"] for entry in listed.get("Contents", [])]


def body(s3, bucket: str, key: str, **options) -> bytes:
    return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()
