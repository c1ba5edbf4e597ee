"""Server-side encryption as clients ask for it: AES256 always, and always said; nothing else is promised silently."""

import base64

import pytest

from painted import md5_base64, painted
from refusal import absent, not_implemented, refused
from wire import exchange, sign

DATA = painted(5000)
CUSTOMER_KEY = bytes(range(32))
SSE_C = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": base64.b64encode(CUSTOMER_KEY).decode(),
    "x-amz-server-side-encryption-customer-key-md5": md5_base64(CUSTOMER_KEY),
}


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


@pytest.mark.parametrize("algorithm", ["AES128", "aes256", "AES256 ", "ROT13", "none", ""])
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


NOT_YET = [
    {"ServerSideEncryption": "aws:kms"},
    {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/mine"},
    {"ServerSideEncryption": "aws:kms:dsse"},
    {"ServerSideEncryption": "aws:fsx"},
]


@pytest.mark.parametrize("mode", NOT_YET, ids=lambda mode: "-".join(mode.values()))
def test_a_mode_that_is_not_implemented_is_never_a_silent_yes(s3, bucket, mode):
    s3.put_object(Bucket=bucket, Key="source", Body=DATA)
    codes = ("NotImplemented", "InvalidArgument") if mode["ServerSideEncryption"] == "aws:fsx" else ("NotImplemented",)
    with refused(*codes):
        s3.put_object(Bucket=bucket, Key="k", Body=DATA, **mode)
    with refused(*codes):
        s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/source", **mode)
    with refused(*codes):
        s3.create_multipart_upload(Bucket=bucket, Key="k", **mode)
    assert absent(s3, bucket, "k")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


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
    assert (answer.status, answer.code) in {(501, "NotImplemented"), (400, "InvalidArgument"), (400, "InvalidRequest")}
    assert absent(s3, bucket, "k")


def test_a_customer_key_is_never_a_silent_yes(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="there", Body=DATA)
    source = {f"x-amz-copy-source-{name.removeprefix('x-amz-')}": value for name, value in SSE_C.items()}
    requests = {
        "PUT": sign(server, "PUT", f"/{bucket}/k", headers=SSE_C, body=DATA),
        "COPY": sign(server, "PUT", f"/{bucket}/k", headers={**SSE_C, "x-amz-copy-source": f"{bucket}/there"}),
        "COPY of one": sign(server, "PUT", f"/{bucket}/k", headers={**source, "x-amz-copy-source": f"{bucket}/there"}),
        "upload": sign(server, "POST", f"/{bucket}/k?uploads=", headers=SSE_C),
        "GET": sign(server, "GET", f"/{bucket}/there", headers=SSE_C),
    }
    answers = {name: exchange(server, request) for name, request in requests.items()}
    allowed = {(501, "NotImplemented"), (400, "InvalidRequest"), (400, "InvalidArgument")}
    assert {
        name: (answer.status, answer.code)
        for name, answer in answers.items()
        if (answer.status, answer.code) not in allowed
    } == {}
    assert exchange(server, sign(server, "HEAD", f"/{bucket}/there", headers=SSE_C)).status in (400, 501)
    assert absent(s3, bucket, "k")


def test_the_aws_cli_asks_for_encryption_and_sees_it(server, bucket, tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    server.aws("s3", "cp", tmp_path / "source", f"s3://{bucket}/k", "--sse", "AES256")
    assert (
        '"ServerSideEncryption": "AES256"'
        in server.aws("s3api", "head-object", "--bucket", bucket, "--key", "k").stdout
    )


def test_kms_configuration_calls_are_not_implemented(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    with not_implemented():
        s3.update_object_encryption(
            Bucket=bucket,
            Key="k",
            ObjectEncryption={
                "SSEKMS": {"KMSKeyArn": "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-0000-0000-000000000000"}
            },
        )
