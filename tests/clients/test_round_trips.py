"""What goes in comes out, byte for byte, at every length where a block, a segment or a batch begins or ends."""

import io

import pytest

from painted import md5_hex, painted, painted_file
from refusal import absent, body, refused

LENGTHS = [
    0,
    1,
    15,
    16,
    17,
    255,
    256,
    1023,
    1024,
    1025,
    4095,
    4096,
    4097,
    16383,
    16384,
    16385,
    65537,
    262143,
    262144,
    262145,
    1048577,
]
MIB = 1 << 20


@pytest.mark.parametrize("length", LENGTHS)
def test_an_object_comes_back_byte_for_byte(s3, bucket, length):
    data = painted(length)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert put["ETag"] == got["ETag"] == f'"{md5_hex(data)}"'
    assert got["ContentLength"] == length
    assert got["Body"].read() == data


@pytest.mark.parametrize("length", [0, 1, 16, 65537])
def test_head_tells_what_get_would(s3, bucket, length):
    s3.put_object(Bucket=bucket, Key="k", Body=painted(length))
    head, got = s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")
    for field in ("ContentLength", "ETag", "LastModified", "ContentType", "ServerSideEncryption", "AcceptRanges"):
        assert head[field] == got[field], field


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1025, 16385, 65537, 8 * MIB, 8 * MIB + 1])
def test_the_aws_cli_uploads_and_downloads_a_file(server, bucket, tmp_path, length):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(painted(length))
    server.aws("s3", "cp", source, f"s3://{bucket}/file")
    server.aws("s3", "cp", f"s3://{bucket}/file", target)
    assert target.read_bytes() == source.read_bytes()


def test_the_aws_cli_syncs_a_folder_there_and_back(server, bucket, tmp_path):
    files = {f"{'sub/' * (n % 3)}name {n} é.bin": painted(n * 1001) for n in range(12)}
    for name, data in files.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(data)
    server.aws("s3", "sync", tmp_path / "here", f"s3://{bucket}/pre")
    server.aws("s3", "sync", f"s3://{bucket}/pre", tmp_path / "back")
    assert {name: (tmp_path / "back" / name).read_bytes() for name in files} == files


def test_the_aws_cli_copies_moves_lists_and_removes(server, s3, bucket, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(painted(3000))
    server.aws("s3", "cp", source, f"s3://{bucket}/a")
    server.aws("s3", "cp", f"s3://{bucket}/a", f"s3://{bucket}/b")
    server.aws("s3", "mv", f"s3://{bucket}/b", f"s3://{bucket}/c")
    assert [line.split()[2:] for line in server.aws("s3", "ls", f"s3://{bucket}").stdout.splitlines()] == [
        ["3000", "a"],
        ["3000", "c"],
    ]
    server.aws("s3", "rm", f"s3://{bucket}", "--recursive")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    server.aws("s3", "rb", f"s3://{bucket}")
    with refused(status=404):
        s3.head_bucket(Bucket=bucket)


def test_a_hundred_mebibytes_in_one_put_come_back(s3, bucket):
    data = painted(100 * MIB)
    put = s3.put_object(Bucket=bucket, Key="big", Body=io.BytesIO(data))
    assert put["ETag"] == f'"{md5_hex(data)}"'
    assert body(s3, bucket, "big") == data


def test_a_hundred_mebibytes_by_the_aws_cli_come_back(server, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(painted(100 * MIB))
    server.aws("s3", "cp", source, f"s3://{bucket}/big")
    server.aws("s3", "cp", f"s3://{bucket}/big", target)
    assert target.read_bytes() == source.read_bytes()


def test_boto3_managed_transfers_come_back(s3, bucket):
    s3.upload_fileobj(painted_file(MIB + 1, 20), bucket, "managed")
    back = io.BytesIO()
    s3.download_fileobj(bucket, "managed", back)
    assert back.getvalue() == b"".join(painted(MIB + 1, index) for index in range(20))


def test_an_overwrite_shows_only_the_new_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=painted(70000), Metadata={"generation": "old"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read(), got["Metadata"]) == (b"new", {})
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 1


def test_a_deleted_object_is_gone(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert s3.delete_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPStatusCode"] == 204
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=bucket, Key="k")
    assert absent(s3, bucket, "k")


def test_deleting_what_is_not_there_succeeds(s3, bucket):
    assert s3.delete_object(Bucket=bucket, Key="never")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_delete_objects_answers_for_each_key(s3, bucket):
    keys = ["a", "b/c", "d e&<f>", "ü"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*keys, "never"]]})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == sorted([*keys, "never"])
    assert "Errors" not in answer
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_quiet_delete_objects_answers_only_errors(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}], "Quiet": True})
    assert "Deleted" not in answer and "Errors" not in answer
    assert absent(s3, bucket, "a")


def test_delete_objects_refuses_more_than_a_thousand_keys(s3, bucket):
    with refused("MalformedXML", status=400):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"k{n}"} for n in range(1001)]})


KEYS = [
    "a b",
    "a+b",
    "a%20b",
    "a%2Fb",
    "a&b=c",
    "a?b#c",
    "slash/",
    "/lead",
    "a//b",
    ".",
    "a/../b",
    "a/./b",
    "ü/é",
    "日本語",
    "😀",
    "quote\"'",
    "<xml>",
    "back\\slash",
    "tab\tkey",
    "x" * 1024,
    "é" * 512,
    "~-_.!*'();:@=+$,[]",
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key)[:24])
def test_any_key_names_exactly_one_object(s3, bucket, key):
    data = painted(33, seed=len(key))
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    s3.put_object(Bucket=bucket, Key="other", Body=b"other")
    assert body(s3, bucket, key) == data
    assert key in [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    s3.delete_object(Bucket=bucket, Key=key)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["other"]


def test_what_is_not_there_is_said_to_be_missing(s3, bucket):
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=bucket, Key="never")
    with refused(status=404):
        s3.head_object(Bucket=bucket, Key="never")
    with refused("NoSuchBucket", status=404):
        s3.get_object(Bucket="no-such-bucket-here", Key="k")
    with refused("NoSuchBucket", status=404):
        s3.put_object(Bucket="no-such-bucket-here", Key="k", Body=b"x")
