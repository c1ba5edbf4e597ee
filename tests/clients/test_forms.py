"""Uploads by HTML form: what the signed policy says of every field, and the encryption that a form asks for."""

import base64
import datetime
import hashlib
import hmac
import json

import pytest

from modes import (
    ALIAS,
    CUSTOMER_KEY,
    DSSE,
    SSE_C,
    SSE_KMS,
    SSE_KMS_BUCKET_KEY,
    SSE_S3,
    allow_customer_keys,
    customer,
    customer_headers,
    expected,
    make_aliases,
    said,
)
from painted import md5_hex, painted
from refusal import absent, body
from server import REGION
from wire import exchange

DATA = painted(30_000)
BORDER = "border-0123456789"
NAMES = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
}


@pytest.fixture(scope="module", autouse=True)
def aliases(server):
    make_aliases(server)


def signed(server, fields: dict, conditions: list, expires_s: int = 300) -> dict:
    """The fields, and those of a policy with these conditions, signed."""
    now = datetime.datetime.now(datetime.UTC)
    own = server.credentials()
    day, moment = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    of_signature = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{own.access_key}/{day}/{REGION}/s3/aws4_request",
        "x-amz-date": moment,
    }
    expiration = (now + datetime.timedelta(seconds=expires_s)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    document = {"expiration": expiration, "conditions": [*conditions, *({k: v} for k, v in of_signature.items())]}
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    key = f"AWS4{own.secret_key}".encode()
    for step in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, policy.encode(), hashlib.sha256).hexdigest()
    return {**fields, **of_signature, "policy": policy, "x-amz-signature": signature}


def exact(bucket: str, fields: dict) -> list:
    return [{"bucket": bucket}, *({name: value} for name, value in fields.items())]


def content(fields: dict, data: bytes = DATA, file_name: str = "f.bin", after: bytes = b"") -> bytes:
    parts = [
        f'--{BORDER}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{BORDER}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
    head += "Content-Type: application/x-file\r\n\r\n"
    return b"".join([*parts, head.encode(), data, b"\r\n", after, f"--{BORDER}--\r\n".encode()])


def post(server, bucket: str, form: bytes, **headers):
    head = f"POST /{bucket} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: {len(form)}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={BORDER}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return exchange(server, head.encode() + b"\r\n" + form, "POST")


def posted(server, bucket: str, fields: dict, **options):
    return post(server, bucket, content(signed(server, fields, exact(bucket, fields)), **options))


def asked(mode) -> dict:
    fields = {name: ("true" if value is True else value) for name, value in mode.write.items()}
    return customer_headers() if mode is SSE_C else {NAMES[name]: value for name, value in fields.items()}


@pytest.mark.parametrize(
    "mode", [SSE_S3, SSE_KMS, SSE_KMS_BUCKET_KEY, DSSE, SSE_C], ids=lambda mode: mode.name
)
def test_a_form_asks_for_every_encryption(server, s3, bucket, mode):
    allow_customer_keys(s3, bucket)
    answer = posted(server, bucket, {"key": "k", **asked(mode)})
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers.get("x-amz-server-side-encryption") == mode.algorithm
    got = s3.get_object(Bucket=bucket, Key="k", **mode.read)
    assert got["Body"].read() == DATA
    assert said(got) == expected(mode)
    assert answer.headers["etag"] == got["ETag"]


def test_a_form_says_all_that_a_put_says(server, s3, bucket):
    fields = {
        "key": "folder/ä ${filename}",
        "Content-Type": "text/plain",
        "Cache-Control": "no-store",
        "x-amz-meta-Colour": "blue  and green",
        "acl": "private",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    conditions = [["starts-with", "$key", "folder/"], *exact(bucket, {n: v for n, v in fields.items() if n != "key"})]
    answer = post(server, bucket, content(signed(server, fields, conditions), file_name="C:\\dir\\name.txt"))
    assert answer.status == 204, answer.body
    head = s3.head_object(Bucket=bucket, Key="folder/ä name.txt")
    assert (head["ContentType"], head["CacheControl"]) == ("text/plain", "no-store")
    assert (head["Metadata"]["colour"].split(), head["StorageClass"]) == (
        ["blue", "and", "green"],
        "REDUCED_REDUNDANCY",
    )
    assert head["ETag"].strip('"') == md5_hex(DATA)


def test_boto3s_forms_are_taken(server, s3, bucket):
    sse = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": ALIAS}
    form = s3.generate_presigned_post(bucket, "k", Fields=sse, Conditions=[{k: v} for k, v in sse.items()])
    assert post(server, bucket, content(form["fields"])).status == 204
    assert s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == ALIAS


@pytest.mark.parametrize("status", ["200", "201", "204", "404"])
def test_success_is_answered_as_the_form_wants_it(server, bucket, status):
    answer = posted(server, bucket, {"key": "a&b", "success_action_status": status})
    assert answer.status == (int(status) if status != "404" else 204)
    if status == "201":
        for part in (b"<PostResponse>", b"<Key>a&amp;b</Key>", f"<Bucket>{bucket}</Bucket>".encode(), b"<ETag>"):
            assert part in answer.body


def test_success_may_go_elsewhere(server, bucket):
    answer = posted(server, bucket, {"key": "k", "success_action_redirect": "http://127.0.0.1/done?a=b"})
    assert answer.status == 303
    assert answer.headers["location"].startswith(f"http://127.0.0.1/done?a=b&bucket={bucket}&key=k&etag=")


# Refused


@pytest.mark.parametrize(
    "field",
    [
        {"x-amz-server-side-encryption": "AES256"},
        {"x-amz-server-side-encryption-aws-kms-key-id": ALIAS},
        {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"x-amz-meta-a": "b"},
        {"acl": "private"},
        {"submit": "Upload"},
    ],
    ids=lambda field: next(iter(field)),
)
def test_a_field_that_the_policy_does_not_name_stores_nothing(server, s3, bucket, field):
    form = {**signed(server, {"key": "k"}, exact(bucket, {"key": "k"})), **field}
    answer = post(server, bucket, content(form))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert absent(s3, bucket, "k")


def changed(name: str, value: str | None):
    def change(form: dict) -> dict:
        return {k: v for k, v in {**form, name: value}.items() if v is not None}

    return change


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (changed("key", "other"), {(403, "AccessDenied")}),
        (changed("x-amz-signature", "0" * 64), {(403, "SignatureDoesNotMatch")}),
        (changed("x-amz-signature", "nonsense"), {(403, "SignatureDoesNotMatch")}),
        (changed("x-amz-signature", None), {(400, "InvalidArgument")}),
        (changed("policy", None), {(403, "AccessDenied")}),
        (changed("policy", base64.b64encode(b"{}").decode()), {(403, "SignatureDoesNotMatch")}),
        (changed("x-amz-credential", f"AKIANOBODY/20261130/{REGION}/s3/aws4_request"), {(400, "InvalidArgument"), (403, "InvalidAccessKeyId")}),
        (changed("x-amz-date", "20200101T000000Z"), {(400, "InvalidArgument")}),
        (changed("AWSAccessKeyId", "AKIANOBODY"), {(400, "InvalidRequest")}),
        (changed("x-amz-security-token", "token"), {(400, "InvalidToken")}),
        (changed("key", None), {(403, "AccessDenied"), (400, "InvalidArgument")}),
        (changed("bucket", "another"), {(403, "AccessDenied")}),
    ],
    ids=str,
)
def test_a_form_that_is_not_as_it_was_signed_stores_nothing(server, s3, bucket, change, codes):
    form = change(signed(server, {"key": "k"}, exact(bucket, {"key": "k"})))
    answer = post(server, bucket, content(form))
    assert (answer.status, answer.code) in codes
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_an_expired_policy_stores_nothing(server, s3, bucket):
    form = signed(server, {"key": "k"}, exact(bucket, {"key": "k"}), expires_s=-1)
    answer = post(server, bucket, content(form))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize(("limits", "code"), [((0, 29_999), "EntityTooLarge"), ((30_001, 90_000), "EntityTooSmall")])
def test_a_file_of_another_length_than_the_policy_allows_stores_nothing(server, s3, bucket, limits, code):
    conditions = [*exact(bucket, {"key": "k"}), ["content-length-range", *limits]]
    answer = post(server, bucket, content(signed(server, {"key": "k"}, conditions)))
    assert (answer.status, answer.code) == (400, code)
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize(
    "field", ["x-amz-copy-source", "x-amz-trailer", "x-amz-decoded-content-length", "x-amz-metadata-directive"]
)
def test_no_field_makes_another_request_of_it(server, s3, bucket, field):
    s3.put_object(Bucket=bucket, Key="source", Body=b"secret")
    answer = posted(server, bucket, {"key": "k", field: f"{bucket}/source"})
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert absent(s3, bucket, "k")


def test_a_form_cannot_smuggle_a_header_in(server, s3, bucket):
    answer = posted(server, bucket, {"key": "k", "x-amz-meta-a": "b\r\nx-amz-copy-source: /b/k"})
    assert answer.status == 400
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize("cut", [10, 400, 5_000, 30])
def test_a_form_that_ends_early_stores_nothing(server, s3, bucket, cut):
    form = content(signed(server, {"key": "k"}, exact(bucket, {"key": "k"})))
    form = form[:cut] if cut != 30 else form[:-30]
    answer = post(server, bucket, form)
    assert answer.status in (400, 403)
    assert absent(s3, bucket, "k")


def test_a_form_without_a_file_stores_nothing(server, s3, bucket):
    form = content(signed(server, {"key": "k"}, exact(bucket, {"key": "k"}))).replace(b'name="file"', b'name="x-ignore-file"')
    answer = post(server, bucket, form)
    assert answer.status == 400
    assert absent(s3, bucket, "k")


def test_what_comes_after_the_file_is_not_looked_at(server, s3, bucket):
    after = f'--{BORDER}\r\nContent-Disposition: form-data; name="key"\r\n\r\nother\r\n'.encode()
    answer = posted(server, bucket, {"key": "k"}, after=after)
    assert answer.status == 204
    assert body(s3, bucket, "k") == DATA
    assert absent(s3, bucket, "other")


def test_errors_of_encryption_are_those_of_a_put(server, s3, bucket):
    for fields, code in [
        ({"x-amz-server-side-encryption": "ROT13"}, (400, "InvalidArgument")),
        ({"x-amz-server-side-encryption": "aws:kms", NAMES["SSEKMSKeyId"]: "nobody"}, (400, "KMS.NotFoundException")),
        ({"x-amz-server-side-encryption": "AES256", **customer_headers()}, (400, "InvalidArgument")),
        (customer_headers(), (403, "AccessDenied")),
    ]:
        answer = posted(server, bucket, {"key": "k", **fields})
        assert (answer.status, answer.code) == code
    assert absent(s3, bucket, "k")


def test_a_large_file_passes_without_being_held(server, s3, bucket):
    data = painted(24 << 20)
    assert posted(server, bucket, {"key": "k"}, data=data).status == 204
    assert body(s3, bucket, "k") == data


def test_the_log_holds_no_field(make_server):
    server = make_server(log_level="trace").start()
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    allow_customer_keys(s3, "bbb")
    assert posted(server, "bbb", {"key": "k", **customer_headers()}).status == 204
    assert body(s3, "bbb", "k", **customer()) == DATA
    log = server.log_path.read_bytes()
    assert base64.b64encode(CUSTOMER_KEY) not in log and CUSTOMER_KEY not in log
