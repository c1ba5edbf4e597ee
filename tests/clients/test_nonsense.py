"""Nonsense in, on the wire: S3's code or a closed connection, nothing stored, and the server goes on."""

import pytest

from disk import files
from painted import md5_base64, painted
from refusal import absent, body
from wire import Wire, exchange, sign

DATA = painted(100_000)


@pytest.fixture(autouse=True)
def goes_on(server):
    yield
    assert server.health("ready") == 200, "the server stopped serving"


@pytest.mark.parametrize("sent", [0, 1, 99_999])
def test_a_body_shorter_than_its_length_stores_nothing(server, s3, bucket, sent):
    request = sign(server, "PUT", f"/{bucket}/k", body=DATA)
    with Wire(server) as wire:
        answer = wire.send(request.head() + DATA[:sent]).finish_sending().answer()
    assert answer.status is None or (answer.status, answer.code) in {(400, "IncompleteBody"), (400, "RequestTimeout")}
    assert absent(s3, bucket, "k")


def test_a_connection_dropped_in_mid_body_stores_nothing(server, s3, bucket):
    request = sign(server, "PUT", f"/{bucket}/k", body=DATA)
    with Wire(server) as wire:
        wire.send(request.head() + DATA[:50_000])
    assert absent(s3, bucket, "k")


def test_a_part_dropped_in_mid_body_is_no_part(server, s3, bucket):
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    request = sign(server, "PUT", f"/{bucket}/k?partNumber=1&uploadId={upload_id}", body=DATA)
    with Wire(server) as wire:
        wire.send(request.head() + DATA[:50_000]).finish_sending().answer()
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)


def test_a_put_without_a_length_is_refused(server, s3, bucket):
    request = sign(server, "PUT", f"/{bucket}/k", body=b"x")
    del request.headers["Content-Length"]
    answer = exchange(server, request.head())
    assert (answer.status, answer.code) in {
        (411, "MissingContentLength"),
        (400, "XAmzContentSHA256Mismatch"),
        (400, "IncompleteBody"),
    }
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize("value", ["-1", "abc", "99999999999999999999999", "1, 2"])
def test_a_nonsense_length_is_refused(server, s3, bucket, value):
    request = sign(server, "PUT", f"/{bucket}/k", body=b"x")
    request.headers["Content-Length"] = value
    answer = exchange(server, request)
    assert answer.status in (None, 400, 403, 411, 413), answer
    assert absent(s3, bucket, "k")


def test_an_object_larger_than_5_gib_in_one_put_is_refused_before_its_body(server, s3, bucket):
    request = sign(
        server, "PUT", f"/{bucket}/k", headers={"Content-Length": str((5 << 30) + 1)}, payload_hash="UNSIGNED-PAYLOAD"
    )
    answer = exchange(server, request.head())
    assert (answer.status, answer.code) == (400, "EntityTooLarge")
    assert absent(s3, bucket, "k")


# Keys


def test_a_key_of_1025_bytes_is_refused(server, s3, bucket):
    for key in ("x" * 1025, "%C3%A9" * 512 + "x"):
        answer = exchange(server, sign(server, "PUT", f"/{bucket}/{key}", body=b"x"))
        assert (answer.status, answer.code) == (400, "KeyTooLongError")
    assert exchange(server, sign(server, "PUT", f"/{bucket}/" + "x" * 1024, body=b"x")).status == 200
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 1


@pytest.mark.parametrize(
    "key",
    [
        "..",
        "../escape",
        "..%2Fescape",
        "../../../../tmp/escape",
        "a/../../escape",
        "%2e%2e/escape",
        "a/%2E%2E/%2E%2E/escape",
    ],
)
def test_a_key_whose_dots_climb_above_the_bucket_is_refused(server, s3, bucket, key):
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/{key}", body=b"escaped"))
    assert (answer.status, answer.code) == (400, "InvalidURI")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    check_no_file_is_called_escape(server)


@pytest.mark.parametrize("key", ["..%5Cescape", "/escape", "./escape", "escape/..", "a/../escape", "a/b/../../escape"])
def test_other_dots_in_a_key_are_only_dots_in_a_key(server, s3, bucket, key):
    """They name an object and no file: nothing below or beside DIR bears the name."""
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/{key}", body=b"escaped"))
    assert answer.status == 200
    assert exchange(server, sign(server, "GET", f"/{bucket}/{key}")).body == b"escaped"
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 1
    check_no_file_is_called_escape(server)


def check_no_file_is_called_escape(server):
    assert [path for path in files(server) if "escape" in path.name] == []
    assert [path for path in server.data.parent.iterdir() if "escape" in path.name] == []


@pytest.mark.parametrize("path", ["%", "%4", "%zz", "%ff%fe", "%c3", "a%00b"])
def test_an_invalid_escape_in_a_key_is_refused_or_kept_apart(server, s3, bucket, path):
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/{path}", body=b"x"))
    if answer.status == 200:  # NUL is a legal, if unwise, character of a key
        assert path == "a%00b"
    else:
        assert (answer.status, answer.code) in {
            (400, "InvalidURI"),
            (400, "InvalidArgument"),
            (400, "InvalidRequest"),
            (403, "SignatureDoesNotMatch"),
        }
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


# Part numbers


@pytest.mark.parametrize("number", ["0", "10001", "-1", "abc", "1.5", "99999999999999999999", ""])
def test_a_nonsense_part_number_stores_nothing(server, s3, bucket, number):
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    target = f"/{bucket}/k?partNumber={number}&uploadId={upload_id}"
    answer = exchange(server, sign(server, "PUT", target, body=b"x"))
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize("query", ["partNumber=1", "uploadId=x"])
def test_half_an_upload_part_is_not_a_put(server, s3, bucket, query):
    """A part that forgot its upload must not become an object."""
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/k?{query}", body=b"x"))
    assert answer.status in (400, 404, 405, 501), answer
    assert absent(s3, bucket, "k")


# XML


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"nonsense",
        b"<Delete>",
        b"<Delete></Delete>",
        b"<Other/>",
        b"<Delete><Object></Object></Delete>",
        b'<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        b"<Delete>" + b"<a>" * 50_000,
        b"\xff\xfe<Delete>",
    ],
    ids=lambda document: ascii(document[:24]),
)
def test_a_malformed_delete_document_deletes_nothing(server, s3, bucket, document):
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    answer = exchange(
        server, sign(server, "POST", f"/{bucket}?delete=", headers={"Content-MD5": md5_base64(document)}, body=document)
    )
    assert (answer.status, answer.code) in {
        (400, "MalformedXML"),
        (400, "InvalidRequest"),
        (400, "MissingRequestBodyError"),
    }
    assert b"root:" not in answer.body
    assert body(s3, bucket, "k") == b"there"


@pytest.mark.parametrize("document", [b"", b"nonsense", b"<CompleteMultipartUpload>", b"<Other/>"])
def test_a_malformed_complete_document_completes_nothing(server, s3, bucket, document):
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x")
    answer = exchange(server, sign(server, "POST", f"/{bucket}/k?uploadId={upload_id}", body=document))
    assert (answer.status, answer.code) in {
        (400, "MalformedXML"),
        (400, "InvalidRequest"),
        (400, "MissingRequestBodyError"),
    }
    assert absent(s3, bucket, "k")


# HTTP


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x-a: b\r\n" * 20_000 + b"\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=lambda raw: ascii(raw[:20]),
)
def test_what_is_not_http_or_not_for_us_is_refused(server, raw):
    with Wire(server) as wire:
        answer = wire.send(raw).finish_sending().answer()
    assert answer.status is None or 400 <= answer.status < 600 and answer.status != 500, answer


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "CONNECT", "PROPFIND", "put"])
def test_another_method_is_not_allowed(server, bucket, method):
    answer = exchange(server, sign(server, method, f"/{bucket}/k"))
    assert answer.status is None or answer.status in (400, 403, 405, 501), answer


# Expect: 100-continue


def test_100_continue_comes_before_the_body_of_an_authorized_request(server, s3, bucket):
    request = sign(server, "PUT", f"/{bucket}/k", headers={"Expect": "100-continue"}, body=DATA)
    with Wire(server) as wire:
        assert wire.send(request.head()).read_head()[0] == 100
        assert wire.send(DATA).answer().status == 200
    assert body(s3, bucket, "k") == DATA


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: request.headers.update({"Authorization": request.headers["Authorization"][:-64] + "0" * 64}),
        lambda request: request.headers.pop("Authorization"),
        lambda request: request.headers.update({"x-amz-copy-source": "a/b"}),
    ],
    ids=["bad signature", "no signature", "unsigned header"],
)
def test_100_continue_never_comes_before_a_refusal(server, s3, bucket, spoil):
    request = sign(server, "PUT", f"/{bucket}/k", headers={"Expect": "100-continue"}, body=DATA)
    spoil(request)
    with Wire(server) as wire:
        answer = wire.send(request.head()).answer()
    assert (answer.status, answer.interim) == (403, [])
    assert absent(s3, bucket, "k")


def test_100_continue_never_comes_for_a_bucket_that_is_not_there(server):
    request = sign(server, "PUT", "/no-such-bucket-here/k", headers={"Expect": "100-continue"}, body=DATA)
    with Wire(server) as wire:
        answer = wire.send(request.head()).answer()
    assert (answer.status, answer.interim) == (404, [])
