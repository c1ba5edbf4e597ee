"""Who may speak at all: a request that is not rightly signed, now, by a known key, is refused and does nothing."""

import datetime

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from painted import md5_hex
from refusal import absent, body
from server import Server
from wire import Answer, Signed, exchange, presign, sha256_hex, sign

MINUTE = datetime.timedelta(minutes=1)


def check_refused(server: Server, s3, bucket: str, request: Signed | bytes, status: int, *codes: str) -> Answer:
    """A PUT of `k` that must be refused, and must have stored nothing."""
    answer = exchange(server, request)
    assert answer.status == status, answer
    assert answer.code in codes, answer
    assert absent(s3, bucket, "k")
    return answer


def test_a_right_signature_is_taken(server, s3, bucket):
    assert exchange(server, sign(server, "PUT", f"/{bucket}/k", body=b"x")).status == 200
    assert body(s3, bucket, "k") == b"x"


def test_a_wrong_secret_is_refused(server, s3, bucket):
    wrong = Credentials(server.credentials().access_key, "not-the-secret")
    check_refused(
        server,
        s3,
        bucket,
        sign(server, "PUT", f"/{bucket}/k", body=b"x", credentials=wrong),
        403,
        "SignatureDoesNotMatch",
    )


def test_a_refusal_never_tells_what_the_right_signature_would_be(server, s3, bucket):
    right = sign(server, "PUT", f"/{bucket}/k", body=b"x")
    request = sign(server, "PUT", f"/{bucket}/k", body=b"x")
    request.headers["Authorization"] = request.headers["Authorization"][:-64] + "0" * 64
    answer = check_refused(server, s3, bucket, request, 403, "SignatureDoesNotMatch")
    assert right.signature.encode() not in answer.body


@pytest.mark.parametrize(
    "name, spoil",
    {
        "method": lambda r: setattr(r, "method", "POST"),
        "path": lambda r: setattr(r, "target", r.target + "2"),
        "query": lambda r: setattr(r, "target", r.target + "?partNumber=1"),
        "date": lambda r: r.headers.update({"X-Amz-Date": "20200101T000000Z"}),
        "signed header": lambda r: r.headers.update({"x-amz-meta-a": "2"}),
        "signed header left out": lambda r: r.headers.pop("x-amz-meta-a"),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_changed_after_signing_is_refused(server, s3, bucket, name, spoil):
    request = sign(server, "PUT", f"/{bucket}/k", headers={"x-amz-meta-a": "1"}, body=b"x")
    spoil(request)
    answer = exchange(server, request)
    assert answer.status in (400, 403), answer
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_body_other_than_the_signed_hash_is_refused(server, s3, bucket):
    request = sign(server, "PUT", f"/{bucket}/k", body=b"signed")
    request.body = b"forged"
    check_refused(server, s3, bucket, request, 400, "XAmzContentSHA256Mismatch")


def test_a_malformed_content_hash_is_refused(server, s3, bucket):
    for value in ("nonsense", "0" * 63, "", "STREAMING-SOMETHING"):
        request = sign(server, "PUT", f"/{bucket}/k", body=b"x", payload_hash=value or None)
        if not value:
            request.headers.pop("X-Amz-Content-SHA256")
        answer = exchange(server, request)
        assert answer.status in (400, 403, 501), (value, answer)
        assert absent(s3, bucket, "k")


@pytest.mark.parametrize("header", ["x-amz-meta-a", "x-amz-copy-source", "x-amz-acl", "x-amz-server-side-encryption"])
def test_an_unsigned_amz_header_is_refused(server, s3, bucket, header):
    """An unsigned copy source would turn an upload into a read of all that its signer may read."""
    s3.put_object(Bucket=bucket, Key="source", Body=b"secret")
    value = {
        "x-amz-copy-source": f"{bucket}/source",
        "x-amz-acl": "private",
        "x-amz-server-side-encryption": "AES256",
    }.get(header, "1")
    request = sign(server, "PUT", f"/{bucket}/k", headers={header: value}, unsigned=(header,))
    check_refused(server, s3, bucket, request, 403, "AccessDenied")


def test_an_unsigned_amz_header_beside_a_presigned_request_is_refused(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=b"secret")
    request = presign(server, "PUT", f"/{bucket}/k", unsigned_headers={"x-amz-copy-source": f"{bucket}/source"})
    check_refused(server, s3, bucket, request, 403, "AccessDenied")


@pytest.mark.parametrize("age", [16 * MINUTE, -16 * MINUTE, 60 * 24 * 365 * MINUTE], ids=["old", "ahead", "a year old"])
def test_a_request_signed_more_than_15_minutes_away_is_refused(server, s3, bucket, age):
    check_refused(
        server, s3, bucket, sign(server, "PUT", f"/{bucket}/k", body=b"x", age=age), 403, "RequestTimeTooSkewed"
    )


@pytest.mark.parametrize("age", [13 * MINUTE, -13 * MINUTE], ids=["old", "ahead"])
def test_a_request_signed_less_than_15_minutes_away_is_taken(server, bucket, age):
    assert exchange(server, sign(server, "PUT", f"/{bucket}/k", body=b"x", age=age)).status == 200


def test_an_unknown_access_key_is_refused(server, s3, bucket):
    unknown = Credentials("AKIANOBODY0000000000", "secret")
    check_refused(
        server,
        s3,
        bucket,
        sign(server, "PUT", f"/{bucket}/k", body=b"x", credentials=unknown),
        403,
        "InvalidAccessKeyId",
    )


@pytest.mark.parametrize("region", ["eu-west-1", "", "us-east-1/extra"])
def test_a_signature_for_another_region_is_refused(server, s3, bucket, region):
    request = sign(server, "PUT", f"/{bucket}/k", body=b"x", region=region)
    answer = exchange(server, request)
    assert (answer.status, answer.code) in {
        (400, "AuthorizationHeaderMalformed"),
        (403, "SignatureDoesNotMatch"),
        (400, "InvalidRequest"),
    }
    assert absent(s3, bucket, "k")


def anonymous(server: Server, method: str, target: str, headers: str = "", content: bytes = b"") -> bytes:
    return (
        f"{method} {target} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    ).encode() + content


def test_a_request_without_any_signature_is_refused(server, s3, bucket):
    check_refused(server, s3, bucket, anonymous(server, "PUT", f"/{bucket}/k", content=b"x"), 403, "AccessDenied")
    s3.put_object(Bucket=bucket, Key="there", Body=b"secret")
    for method, target in (
        ("GET", f"/{bucket}/there"),
        ("GET", f"/{bucket}"),
        ("GET", "/"),
        ("DELETE", f"/{bucket}/there"),
        ("PUT", f"/{bucket}-new"),
        ("POST", f"/{bucket}?delete="),
        ("OPTIONS", f"/{bucket}/there"),
    ):
        answer = exchange(server, anonymous(server, method, target))
        assert answer.status in (400, 403, 405), (method, target, answer)
        assert b"secret" not in answer.body
    assert exchange(server, anonymous(server, "HEAD", f"/{bucket}/there")).status == 403
    assert body(s3, bucket, "there") == b"secret"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=,SignedHeaders=,Signature=",
        "Bearer token",
        "Basic dTpw",
        "AWS4-HMAC-SHA512 Credential=a/b/c/d/e",
        "AWS4-HMAC-SHA256 " + "A" * 4000,
        "AWS4-ECDSA-P256-SHA256 Credential=x",
    ],
)
def test_a_malformed_authorization_is_refused(server, s3, bucket, value):
    request = sign(server, "PUT", f"/{bucket}/k", body=b"x")
    request.headers["Authorization"] = value
    answer = exchange(server, request)
    assert answer.status in (400, 403, 501), answer
    assert absent(s3, bucket, "k")


def test_two_kinds_of_signature_at_once_are_refused(server, s3, bucket):
    request = presign(server, "PUT", f"/{bucket}/k", body=b"x")
    request.headers["Authorization"] = sign(server, "PUT", f"/{bucket}/k", body=b"x").headers["Authorization"]
    answer = exchange(server, request)
    assert answer.status in (400, 403), answer
    assert absent(s3, bucket, "k")


# Signature version 2 is not spoken


def version_2(server: Server, bucket: str, signer) -> Signed:
    request = AWSRequest(
        "PUT", f"{server.url}/{bucket}/k", headers={"Host": server.address}, data=b"x", auth_path=f"/{bucket}/k"
    )
    signer.add_auth(request)
    target = request.url.removeprefix(server.url)
    return Signed("PUT", target, {**dict(request.headers.items()), "Content-Length": "1"}, b"x", "")


def test_a_version_2_header_is_refused(server, s3, bucket):
    request = version_2(server, bucket, HmacV1Auth(server.credentials()))
    assert request.headers["Authorization"].startswith("AWS ")
    check_refused(server, s3, bucket, request, 400, "InvalidRequest", "InvalidArgument")


def test_a_version_2_query_is_refused(server, s3, bucket):
    request = version_2(server, bucket, HmacV1QueryAuth(server.credentials(), expires=300))
    assert "AWSAccessKeyId=" in request.target
    answer = exchange(server, request)
    assert answer.status in (400, 403) and answer.code in ("InvalidRequest", "InvalidArgument", "AccessDenied")
    assert absent(s3, bucket, "k")


def test_the_hash_that_was_signed_is_the_hash_of_what_is_stored(server, s3, bucket):
    data = b"z" * 70_000
    request = sign(server, "PUT", f"/{bucket}/k", body=data)
    assert request.headers["X-Amz-Content-SHA256"] == sha256_hex(data)
    assert exchange(server, request).headers["etag"] == f'"{md5_hex(data)}"'
