"""Headers of an object: what was said at PUT is said again at GET and HEAD, and a GET may overrule some of it."""

import datetime
import email.header

import pytest

from painted import painted
from refusal import absent, body, refused
from wire import exchange, sign

EXPIRES = datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
SYSTEM = {
    "ContentType": "text/x-test; charset=utf-8",
    "CacheControl": "max-age=60, private",
    "ContentDisposition": 'attachment; filename="a b.txt"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de, en",
    "WebsiteRedirectLocation": "/elsewhere",
}


def test_system_headers_come_back_as_they_were_put(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Expires=EXPIRES, **SYSTEM)
    for answer in (s3.get_object(Bucket=bucket, Key="k"), s3.head_object(Bucket=bucket, Key="k")):
        assert {name: answer[name] for name in SYSTEM} == SYSTEM
        assert answer["Expires"] == EXPIRES


def test_an_object_has_no_headers_that_nobody_gave(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ContentType"] == "binary/octet-stream"
    assert head["AcceptRanges"] == "bytes"
    assert not {"CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Expires"} & set(head)
    assert head["Metadata"] == {}


@pytest.mark.parametrize(
    "sent, kept",
    [
        ("aws-chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, aws-chunked", "gzip"),
        ("gzip", "gzip"),
        ("br, gzip", "br, gzip"),
    ],
)
def test_aws_chunked_is_not_kept_as_an_encoding(server, s3, bucket, sent, kept):
    answer = exchange(server, sign(server, "PUT", f"/{bucket}/k", headers={"Content-Encoding": sent}, body=b"x"))
    assert answer.status == 200
    found = s3.head_object(Bucket=bucket, Key="k").get("ContentEncoding")
    assert (found or "").replace(" ", "") == (kept or "").replace(" ", "")


# User metadata


def test_user_metadata_comes_back(s3, bucket):
    metadata = {"colour": "blue", "with-dash": "a  b", "number": "1", "empty": "", "sign": "=;,\"'<>&"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata=metadata)
    expected = {**metadata, "with-dash": s3.head_object(Bucket=bucket, Key="k")["Metadata"]["with-dash"]}
    assert expected["with-dash"].split() == ["a", "b"]
    assert s3.get_object(Bucket=bucket, Key="k")["Metadata"] == expected


def test_names_of_user_metadata_come_back_in_lower_case(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"CamelCase": "Value"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"camelcase": "Value"}


def decoded(text: str) -> str:
    return str(email.header.make_header(email.header.decode_header(text)))


def test_user_metadata_beyond_ascii_comes_back_by_rfc_2047(s3, bucket):
    encoded = email.header.Header("Grüße 日本", "utf-8").encode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"greeting": encoded})
    assert decoded(s3.head_object(Bucket=bucket, Key="k")["Metadata"]["greeting"]) == "Grüße 日本"


def test_raw_utf_8_user_metadata_is_kept_or_refused_but_never_mangled(server, s3, bucket):
    request = sign(server, "PUT", f"/{bucket}/k", headers={"x-amz-meta-greeting": "Grüße"}, body=b"x")
    answer = exchange(server, request)
    if answer.status == 200:
        head = exchange(server, sign(server, "HEAD", f"/{bucket}/k"))
        assert decoded(head.headers["x-amz-meta-greeting"]) == "Grüße"
    else:
        assert answer.status in (400, 403)
        assert absent(s3, bucket, "k")


def test_user_metadata_of_more_than_2_kib_is_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="fits", Body=b"x", Metadata={"m": "v" * 2000})
    with refused("MetadataTooLarge", status=400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"m": "v" * 2049})
    assert absent(s3, bucket, "k")


# response-* of a GET

OVERRIDES = {
    "ResponseContentType": "text/x-other",
    "ResponseCacheControl": "no-store",
    "ResponseContentDisposition": 'inline; filename="x"',
    "ResponseContentEncoding": "br",
    "ResponseContentLanguage": "fr",
}


def test_a_get_may_overrule_the_headers_of_its_answer(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **SYSTEM)
    got = s3.get_object(Bucket=bucket, Key="k", ResponseExpires=EXPIRES, **OVERRIDES)
    assert {name: got[name.removeprefix("Response")] for name in OVERRIDES} == OVERRIDES
    assert got["Expires"] == EXPIRES
    again = s3.get_object(Bucket=bucket, Key="k")
    assert {name: again[name] for name in SYSTEM} == SYSTEM


def test_an_overruled_header_cannot_smuggle_another(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    target = f"/{bucket}/k?response-content-type=text%2Fplain%0D%0Ax-smuggled:%20yes"
    answer = exchange(server, sign(server, "GET", target))
    assert "x-smuggled" not in answer.headers


def test_last_modified_is_the_time_of_the_put(s3, bucket):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    after = datetime.datetime.now(datetime.UTC)
    assert before <= s3.head_object(Bucket=bucket, Key="k")["LastModified"] <= after


def test_every_answer_has_a_request_id(server, s3, bucket):
    for target, status in ((f"/{bucket}?list-type=2", 200), (f"/{bucket}/never", 404)):
        answer = exchange(server, sign(server, "GET", target))
        assert answer.status == status
        assert answer.headers["x-amz-request-id"]


def test_a_head_of_an_object_has_its_length_and_no_body(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=painted(1234))
    answer = exchange(server, sign(server, "HEAD", f"/{bucket}/k"))
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "1234", b"")
    assert body(s3, bucket, "k") == painted(1234)
