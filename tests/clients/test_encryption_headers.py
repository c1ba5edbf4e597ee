"""Server-side encryption as clients ask for it: AES256 without asking, and always said; nothing is promised silently."""

import pytest

from painted import painted
from refusal import absent, refused
from wire import exchange, sign

DATA = painted(5000)


@pytest.mark.parametrize("asked", [{}, {"ServerSideEncryption": "AES256"}], ids=["unasked", "asked"])
def test_every_answer_about_an_object_says_aes256(s3, bucket, asked):
    answers = {
        "PutObject": s3.put_object(Bucket=bucket, Key="k", Body=DATA, **asked),
        "GetObject": s3.get_object(Bucket=bucket, Key="k"),
        "HeadObject": s3.head_object(Bucket=bucket, Key="k"),
        "ranged GetObject": s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-0"),
        "CopyObject": s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", **asked),
        "HeadObject of the copy": s3.head_object(Bucket=bucket, Key="copy"),
    }
    started = s3.create_multipart_upload(Bucket=bucket, Key="parts", **asked)
    upload = {"Bucket": bucket, "Key": "parts", "UploadId": started["UploadId"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=DATA)
    answers |= {
        "CreateMultipartUpload": started,
        "UploadPart": part,
        "UploadPartCopy": s3.upload_part_copy(**upload, PartNumber=2, CopySource=f"{bucket}/k"),
        "CompleteMultipartUpload": s3.complete_multipart_upload(
            **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        ),
        "HeadObject of the parts": s3.head_object(Bucket=bucket, Key="parts"),
    }
    assert {name: answer.get("ServerSideEncryption") for name, answer in answers.items()} == dict.fromkeys(
        answers, "AES256"
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read_that_asks_for_encryption_is_refused(server, s3, bucket, method):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    answer = exchange(server, sign(server, method, f"/{bucket}/k", headers={"x-amz-server-side-encryption": "AES256"}))
    assert answer.status == 400
    assert DATA not in answer.body


@pytest.mark.parametrize("algorithm", ["AES128", "aes256", "AES256 ", "ROT13", "none", "", "aws:fsx", "aws:kms:dsse:x"])
def test_an_unknown_algorithm_stores_nothing(server, s3, bucket, algorithm):
    request = sign(server, "PUT", f"/{bucket}/k", headers={"x-amz-server-side-encryption": algorithm}, body=DATA)
    answer = exchange(server, request)
    if algorithm.strip() == "AES256":  # trailing white space is no part of a header's value
        assert answer.status == 200
        return
    assert (answer.status, answer.code) in {(400, "InvalidEncryptionAlgorithmError"), (400, "InvalidArgument")}
    assert absent(s3, bucket, "k")


def test_an_unknown_algorithm_starts_no_upload_and_no_copy(s3, bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=DATA)
    with refused("InvalidEncryptionAlgorithmError", "InvalidArgument", status=400):
        s3.create_multipart_upload(Bucket=bucket, Key="k", ServerSideEncryption="AES128")
    with refused("InvalidEncryptionAlgorithmError", "InvalidArgument", status=400):
        s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/source", ServerSideEncryption="AES128")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize(
    "header",
    [
        {"x-amz-server-side-encryption-aws-kms-key-id": "alias/mine"},
        {"x-amz-server-side-encryption-context": "e30="},
    ],
    ids=["key id", "context"],
)
def test_a_kms_header_beside_aes256_is_never_a_silent_yes(server, s3, bucket, header):
    headers = {"x-amz-server-side-encryption": "AES256", **header}
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/k", headers=headers, body=DATA))
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    alone = exchange(server, sign(server, "PUT", f"/{bucket}/k", headers=header, body=DATA))
    assert (alone.status, alone.code) == (400, "InvalidArgument")
    assert absent(s3, bucket, "k")


def test_the_aws_cli_asks_for_encryption_and_sees_it(server, bucket, tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    server.aws("s3", "cp", tmp_path / "source", f"s3://{bucket}/k", "--sse", "AES256")
    assert (
        '"ServerSideEncryption": "AES256"'
        in server.aws("s3api", "head-object", "--bucket", bucket, "--key", "k").stdout
    )
