"""Presigned URLs: good for what was signed, until they expire, and for nothing else."""

import datetime
import urllib.error
import urllib.request

import pytest
from botocore.credentials import Credentials

from painted import md5_hex, painted
from refusal import absent, body, refused
from wire import exchange, presign

DATA = painted(20_000)


def fetch(url: str, method: str = "GET", data: bytes | None = None, headers: dict | None = None):
    # Without a type of its own urllib would call the body a form.
    sent = {"Content-Type": "application/octet-stream", **(headers or {})} if data else headers or {}
    request = urllib.request.Request(url, data, sent, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, answer.read(), answer.headers


def test_whoever_holds_the_url_reads_and_writes(s3, bucket):
    put = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "a b/ü"})
    status, _, headers = fetch(put, "PUT", DATA)
    assert (status, headers["ETag"]) == (200, f'"{md5_hex(DATA)}"')
    got = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a b/ü"})
    assert fetch(got)[1] == DATA
    assert fetch(got, headers={"Range": "bytes=5-9"})[:2] == (206, DATA[5:10])


def test_response_headers_in_the_url_are_answered(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k", "ResponseContentType": "text/x-other"})
    assert fetch(url)[2]["Content-Type"] == "text/x-other"


def test_head_delete_list_and_parts_can_be_presigned(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    assert fetch(s3.generate_presigned_url("head_object", {"Bucket": bucket, "Key": "k"}), "HEAD")[0] == 200
    assert b"<Key>k</Key>" in fetch(s3.generate_presigned_url("list_objects_v2", {"Bucket": bucket}))[1]
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    part = {"Bucket": bucket, "Key": "m", "UploadId": upload_id, "PartNumber": 1}
    etag = fetch(s3.generate_presigned_url("upload_part", part), "PUT", DATA)[2]["ETag"]
    s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload_id, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}
    )
    assert body(s3, bucket, "m") == DATA
    assert fetch(s3.generate_presigned_url("delete_object", {"Bucket": bucket, "Key": "k"}), "DELETE")[0] == 204


def test_a_signed_header_must_be_sent_as_it_was_signed(s3, bucket):
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k", "ContentType": "text/x-signed"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(url, "PUT", DATA, {"Content-Type": "text/x-other"})
    assert caught.value.code == 403
    assert absent(s3, bucket, "k")
    fetch(url, "PUT", DATA, {"Content-Type": "text/x-signed"})
    assert s3.head_object(Bucket=bucket, Key="k")["ContentType"] == "text/x-signed"


def test_the_aws_cli_presigns(server, s3, bucket, tmp_path):
    """Version 1 of the CLI has to be told that signature version 2 is not spoken here."""
    (tmp_path / "config").write_text("[default]\ns3 =\n  signature_version = s3v4\n")
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    url = server.aws("s3", "presign", f"s3://{bucket}/k", config=tmp_path / "config").stdout.strip()
    assert fetch(url)[1] == DATA


def test_an_expired_url_is_refused(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    expired = presign(server, "GET", f"/{bucket}/k", expires_s=60, age=datetime.timedelta(seconds=120))
    answer = exchange(server, expired)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert (
        exchange(
            server, presign(server, "GET", f"/{bucket}/k", expires_s=3600, age=datetime.timedelta(minutes=30))
        ).body
        == DATA
    )


def test_an_expired_url_writes_nothing(server, s3, bucket):
    expired = presign(server, "PUT", f"/{bucket}/k", body=DATA, expires_s=60, age=datetime.timedelta(seconds=120))
    assert exchange(server, expired).status == 403
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize("expires_s", [-1, 604_801, "soon"])
def test_a_lifetime_beyond_seven_days_or_none_is_refused(server, s3, bucket, expires_s):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    answer = exchange(server, presign(server, "GET", f"/{bucket}/k", expires_s=expires_s))
    assert answer.status in (400, 403), answer
    assert answer.code in ("AuthorizationQueryParametersError", "AccessDenied", "InvalidArgument")


@pytest.mark.parametrize(
    "old, new",
    [
        ("/k?", "/l?"),
        ("X-Amz-Expires=300", "X-Amz-Expires=3000"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=host%3Bx"),
        ("X-Amz-Date=2", "X-Amz-Date=3"),
        ("us-east-1", "us-east-2"),
    ],
)
def test_a_changed_url_is_refused(server, s3, bucket, old, new):
    for key in ("k", "l"):
        s3.put_object(Bucket=bucket, Key=key, Body=DATA)
    request = presign(server, "GET", f"/{bucket}/k")
    assert old in request.target
    request.target = request.target.replace(old, new)
    answer = exchange(server, request)
    assert answer.status in (400, 403), answer
    assert DATA not in answer.body


def test_a_url_for_reading_does_not_write(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    request = presign(server, "GET", f"/{bucket}/k")
    request.method, request.body, request.headers["Content-Length"] = "PUT", b"forged", "6"
    assert exchange(server, request).status == 403
    request.method, request.body, request.headers["Content-Length"] = "DELETE", b"", "0"
    assert exchange(server, request).status == 403
    assert body(s3, bucket, "k") == DATA


def test_a_url_of_an_unknown_key_is_refused(server, s3, bucket):
    answer = exchange(server, presign(server, "GET", f"/{bucket}/k", credentials=Credentials("AKIANOBODY", "x")))
    assert (answer.status, answer.code) == (403, "InvalidAccessKeyId")


def test_a_url_leads_to_the_errors_it_should(s3, bucket):
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "never"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(url)
    assert caught.value.code == 404
    with refused(status=404):
        s3.head_object(Bucket=bucket, Key="never")
