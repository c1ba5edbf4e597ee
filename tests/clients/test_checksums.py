"""Checksums of a PUT: kept and told when right, and nothing is stored when wrong."""

import pytest

from painted import ALGORITHMS, checksum, md5_base64, painted
from refusal import absent, refused
from wire import exchange, sign

DATA = painted(70_001)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [b"", b"123456789", DATA], ids=["empty", "check value", "long"])
def test_a_right_checksum_is_kept_and_told_on_demand(s3, bucket, algorithm, data):
    field, value = f"Checksum{algorithm}", checksum(algorithm, data)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data, **{field: value})
    assert put[field] == value
    assert field not in s3.head_object(Bucket=bucket, Key="k")
    for answer in (
        s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED"),
        s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED"),
    ):
        assert answer[field] == value
        assert answer["ChecksumType"] == "FULL_OBJECT"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_stores_nothing(s3, bucket, algorithm):
    with refused("BadDigest", status=400):
        s3.put_object(Bucket=bucket, Key="k", Body=DATA, **{f"Checksum{algorithm}": checksum(algorithm, DATA + b"!")})
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("value", ["", "AAAA", "not base64!", "A" * 100])
def test_a_malformed_checksum_stores_nothing(server, s3, bucket, algorithm, value):
    headers = {f"x-amz-checksum-{algorithm.lower()}": value}
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/k", headers=headers, body=DATA))
    assert (answer.status, answer.code) in {(400, "InvalidRequest"), (400, "BadDigest"), (400, "InvalidDigest")}
    assert absent(s3, bucket, "k")


def test_two_checksums_are_refused(server, s3, bucket):
    headers = {"x-amz-checksum-crc32": checksum("CRC32", DATA), "x-amz-checksum-sha1": checksum("SHA1", DATA)}
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/k", headers=headers, body=DATA))
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert absent(s3, bucket, "k")


def test_an_announced_algorithm_and_another_checksum_are_refused(server, s3, bucket):
    headers = {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-crc32": checksum("CRC32", DATA)}
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/k", headers=headers, body=DATA))
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert absent(s3, bucket, "k")


def test_an_unknown_algorithm_is_refused(server, s3, bucket):
    headers = {"x-amz-sdk-checksum-algorithm": "ROT13"}
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/k", headers=headers, body=DATA))
    assert (answer.status, answer.code) in {(400, "InvalidRequest"), (400, "InvalidArgument")}
    assert absent(s3, bucket, "k")


def test_what_boto3_sends_unasked_is_kept(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    (field,) = (name for name in put if name.startswith("Checksum") and name != "ChecksumType")
    assert put[field] == checksum(field.removeprefix("Checksum"), DATA)
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[field] == put[field]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_aws_cli_may_choose_the_algorithm(server, s3, bucket, tmp_path, algorithm):
    (tmp_path / "source").write_bytes(DATA)
    server.aws("s3", "cp", tmp_path / "source", f"s3://{bucket}/k", "--checksum-algorithm", algorithm)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == checksum(algorithm, DATA)


def test_an_object_put_without_a_checksum_gets_crc64nvme(server, bucket):
    """As S3 has done since December 2024, so that every object can be checked end to end."""
    plain = server.s3(request_checksum_calculation="when_required")
    plain.put_object(Bucket=bucket, Key="k", Body=DATA)
    head = plain.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == checksum("CRC64NVME", DATA)


def test_a_range_answers_no_checksum_of_the_whole(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA, ChecksumSHA256=checksum("SHA256", DATA))
    got = s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-99", ChecksumMode="ENABLED")
    assert got["Body"].read() == DATA[:100]
    assert "ChecksumSHA256" not in got


# Content-MD5


def put_md5(server, bucket, value, data=DATA):
    return exchange(server, sign(server, "PUT", f"/{bucket}/k", headers={"Content-MD5": value}, body=data))


@pytest.mark.parametrize("data", [b"", DATA], ids=["empty", "long"])
def test_a_right_content_md5_is_taken(server, bucket, data):
    assert put_md5(server, bucket, md5_base64(data), data).status == 200


def test_a_wrong_content_md5_stores_nothing(server, s3, bucket):
    answer = put_md5(server, bucket, md5_base64(b"other"))
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize("value", ["", "AAAA", "not base64!", "A" * 100, "0123456789abcdef0123456789abcdef"])
def test_a_malformed_content_md5_stores_nothing(server, s3, bucket, value):
    answer = put_md5(server, bucket, value)
    assert (answer.status, answer.code) == (400, "InvalidDigest")
    assert absent(s3, bucket, "k")


def test_a_part_with_a_wrong_content_md5_is_not_stored(s3, bucket):
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    with refused("BadDigest", status=400):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x", ContentMD5=md5_base64(b"y"))
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)


def test_delete_objects_with_a_wrong_digest_deletes_nothing(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    document = b"<Delete><Object><Key>k</Key></Object></Delete>"
    for headers in ({"Content-MD5": md5_base64(b"other")}, {"x-amz-checksum-crc32": checksum("CRC32", b"other")}):
        answer = exchange(server, sign(server, "POST", f"/{bucket}?delete=", headers=headers, body=document))
        assert (answer.status, answer.code) == (400, "BadDigest")
    s3.head_object(Bucket=bucket, Key="k")
