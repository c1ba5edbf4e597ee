"""Ranged reads: exact at every edge where a segment or a part begins or ends, and S3's answer to nonsense."""

import pytest

from painted import painted
from refusal import refused

# Lengths with the segment that the sealed format takes for them, and one that ends exactly on an edge.
SHAPES = {1: 1024, 16: 1024, 1024: 1024, 5000: 1024, 65536: 4096, 100_000: 8192, 262_144: 16384, 300_001: 16384}


def edges(length: int, segment: int) -> set[int]:
    marks = {0, segment, 2 * segment, length // 2, (length - 1) // segment * segment, length - 1}
    return {at for mark in marks for at in (mark - 1, mark, mark + 1) if 0 <= at < length}


def check_range(s3, bucket, data: bytes, asked: str, first: int, last: int):
    """`asked` must answer bytes `first` to `last`, both included."""
    got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {first}-{last}/{len(data)}", asked
    assert got["ContentLength"] == last - first + 1
    assert got["Body"].read() == data[first : last + 1], asked


@pytest.mark.parametrize("length, segment", SHAPES.items())
def test_ranges_between_any_two_edges_are_exact(s3, bucket, length, segment):
    data = painted(length)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    marks = sorted(edges(length, segment))
    for first in marks:
        check_range(s3, bucket, data, f"bytes={first}-", first, length - 1)
        for last in marks:
            if first <= last:
                check_range(s3, bucket, data, f"bytes={first}-{last}", first, last)


@pytest.mark.parametrize("length, segment", SHAPES.items())
def test_a_suffix_is_counted_from_the_end(s3, bucket, length, segment):
    data = painted(length)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    for count in sorted(edges(length, segment) | {length, length + 1, 10 * length}):
        if count:
            check_range(s3, bucket, data, f"bytes=-{count}", max(0, length - count), length - 1)


def test_a_range_that_ends_beyond_the_object_ends_with_it(s3, bucket):
    data = painted(5000)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    for last in (5000, 5001, 2**31, 2**63 - 1):
        check_range(s3, bucket, data, f"bytes=4000-{last}", 4000, 4999)


@pytest.mark.parametrize("asked", ["bytes=5000-", "bytes=5000-6000", "bytes=9999-", "bytes=-0"])
def test_a_range_with_no_byte_in_the_object_is_refused(s3, bucket, asked):
    s3.put_object(Bucket=bucket, Key="k", Body=painted(5000))
    with refused("InvalidRange", status=416):
        s3.get_object(Bucket=bucket, Key="k", Range=asked)
    with refused(status=416):
        s3.head_object(Bucket=bucket, Key="k", Range=asked)


def test_any_first_byte_of_an_empty_object_is_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    with refused("InvalidRange", status=416):
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,4-5",
        "bytes=5-3",
        "bytes=a-b",
        "bytes=",
        "bytes=-",
        "bytes",
        "octets=0-1",
        "0-1",
        "bytes=0-1-2",
        "bytes=--1",
    ],
)
def test_nonsense_and_several_ranges_answer_the_whole_object(s3, bucket, asked):
    data = painted(5000)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert "ContentRange" not in got
    assert got["Body"].read() == data


def test_head_answers_a_range_without_a_body(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=painted(5000))
    head = s3.head_object(Bucket=bucket, Key="k", Range="bytes=10-19")
    assert head["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert (head["ContentLength"], head["ContentRange"]) == (10, "bytes 10-19/5000")


def test_ranges_across_the_edges_of_parts_are_exact(s3, bucket):
    parts = [painted((5 << 20) + 3, 1), painted(5 << 20, 2), painted(1, 3)]
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    entries = []
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=part)
        entries.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": entries})

    data = b"".join(parts)
    starts = [0, len(parts[0]), len(parts[0]) + len(parts[1]), len(data)]
    marks = sorted(
        {at for mark in starts for at in (mark - 16385, mark - 1, mark, mark + 1, mark + 16384) if 0 <= at < len(data)}
    )
    for first in marks:
        for last in [mark for mark in marks if first <= mark < first + 40_000]:
            check_range(s3, bucket, data, f"bytes={first}-{last}", first, last)
    check_range(s3, bucket, data, f"bytes={starts[1] - 1}-{starts[2]}", starts[1] - 1, starts[2])
    check_range(s3, bucket, data, "bytes=-1", len(data) - 1, len(data) - 1)
    check_range(s3, bucket, data, "bytes=-2", len(data) - 2, len(data) - 1)


def test_boto3_downloads_a_large_object_in_ranges(s3, bucket, tmp_path):
    data = painted(20 << 20)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    s3.download_file(bucket, "k", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_a_range_and_a_failed_condition_answer_the_condition(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=painted(5000))
    with refused("PreconditionFailed", status=412):
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-1", IfMatch='"0123456789abcdef0123456789abcdef"')
