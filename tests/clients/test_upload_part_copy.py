"""UploadPartCopy: a part made from an object, or from a range of one."""

import pytest

from painted import md5_hex, painted
from refusal import body, refused

SOURCE = painted(6 << 20, 9)


@pytest.fixture
def upload_id(s3, bucket) -> str:
    s3.put_object(Bucket=bucket, Key="source", Body=SOURCE)
    return s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]


def copy_part(s3, bucket, upload_id, number, **options) -> dict:
    result = s3.upload_part_copy(
        Bucket=bucket,
        Key="k",
        UploadId=upload_id,
        PartNumber=number,
        **{"CopySource": {"Bucket": bucket, "Key": "source"}, **options},
    )
    return {"PartNumber": number, "ETag": result["CopyPartResult"]["ETag"]}


def complete(s3, bucket, upload_id, entries):
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": entries})


def test_a_whole_object_and_ranges_of_it_become_parts(s3, bucket, upload_id):
    edges = [(0, (5 << 20) + 3), (16383, 16385 + (5 << 20)), (len(SOURCE) - 1, len(SOURCE) - 1)]
    entries = [copy_part(s3, bucket, upload_id, 1)]
    for number, (first, last) in enumerate(edges, 2):
        entries.append(copy_part(s3, bucket, upload_id, number, CopySourceRange=f"bytes={first}-{last}"))
        assert entries[-1]["ETag"] == f'"{md5_hex(SOURCE[first : last + 1])}"'
    complete(s3, bucket, upload_id, entries)
    assert body(s3, bucket, "k") == SOURCE + b"".join(SOURCE[first : last + 1] for first, last in edges)


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=-5", "bytes=5-1", "0-5", "bytes=0-1,3-4", "nonsense"])
def test_a_range_of_another_form_is_refused(s3, bucket, upload_id, text):
    with refused("InvalidArgument", status=400):
        copy_part(s3, bucket, upload_id, 1, CopySourceRange=text)


def test_a_range_beyond_the_source_is_refused(s3, bucket, upload_id):
    with refused("InvalidRange", "InvalidArgument", "InvalidRequest"):
        copy_part(s3, bucket, upload_id, 1, CopySourceRange=f"bytes=0-{len(SOURCE)}")


def test_a_part_copied_from_nothing_is_refused(s3, bucket, upload_id):
    with refused("NoSuchKey", status=404):
        copy_part(s3, bucket, upload_id, 1, CopySource={"Bucket": bucket, "Key": "never"})
    with refused("NoSuchBucket", status=404):
        copy_part(s3, bucket, upload_id, 1, CopySource={"Bucket": "no-such-bucket-here", "Key": "k"})


def test_a_part_copied_into_no_upload_is_refused(s3, bucket, upload_id):
    with refused("NoSuchUpload", status=404):
        copy_part(s3, bucket, "nonsense", 1)


def test_a_conditional_copy_of_a_part_obeys_its_condition(s3, bucket, upload_id):
    with refused("PreconditionFailed", status=412):
        copy_part(s3, bucket, upload_id, 1, CopySourceIfMatch='"0123456789abcdef0123456789abcdef"')
    copy_part(s3, bucket, upload_id, 1, CopySourceIfMatch=f'"{md5_hex(SOURCE)}"')


@pytest.mark.parametrize("number", [0, 10001])
def test_a_copied_part_has_a_number_from_1_to_10000(s3, bucket, upload_id, number):
    with refused("InvalidArgument", status=400):
        copy_part(s3, bucket, upload_id, number)


def test_a_part_can_be_copied_from_the_object_it_will_replace(s3, bucket, upload_id):
    s3.put_object(Bucket=bucket, Key="k", Body=SOURCE)
    entry = copy_part(s3, bucket, upload_id, 1, CopySource={"Bucket": bucket, "Key": "k"})
    complete(s3, bucket, upload_id, [entry])
    assert body(s3, bucket, "k") == SOURCE
