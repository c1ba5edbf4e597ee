"""Bucket policies: put and answered as they are, refused where they are none, and asked before anything is done or told.

Until somebody else has an access key, who asks is the owner, whom only a denial stops, or nobody (unsigned), who needs
to be allowed.
"""

import datetime
import hashlib
import json
import os

import boto3
import botocore
import pytest
from botocore.config import Config

from certificates import Authority
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from disk import catalog, database, keyring, rows
from keys import unwrapped
from painted import painted
from refusal import body, refused
from server import REGION, REPOSITORY, Server
from test_forms import content, exact, post, signed
from wire import exchange, presign, sign

PART = painted(5 << 20)


def arn(bucket: str, key: str | None = None) -> str:
    return f"arn:aws:s3:::{bucket}" + ("" if key is None else f"/{key}")


def both(bucket: str) -> list[str]:
    return [arn(bucket), arn(bucket, "*")]


def policy(*statements: dict) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource, condition=None, principal="*") -> dict:
    return statement("Allow", action, resource, condition, principal)


def deny(action, resource, condition=None, principal="*") -> dict:
    return statement("Deny", action, resource, condition, principal)


def statement(effect, action, resource, condition, principal) -> dict:
    made = {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource}
    return made | ({"Condition": condition} if condition else {})


def put_policy(s3, bucket: str, *statements: dict) -> None:
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(*statements))


def unsigned(server: Server):
    """A client of nobody."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.url,
        region_name=REGION,
        config=Config(
            signature_version=botocore.UNSIGNED, s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}
        ),
    )


@pytest.fixture(scope="module")
def nobody(server):
    return unsigned(server)


def denied():
    return refused("AccessDenied", "403", status=403)


# The document


def test_a_policy_is_answered_byte_for_byte_until_it_is_deleted(s3, bucket):
    with refused("NoSuchBucketPolicy", status=404):
        s3.get_bucket_policy(Bucket=bucket)
    text = '{ "Version":"2012-10-17",\n  "Statement": ' + json.dumps(allow("s3:GetObject", arn(bucket, "*"))) + " }"
    answer = s3.put_bucket_policy(Bucket=bucket, Policy=text)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == text
    other = policy(deny("s3:PutObject", arn(bucket, "*")))
    s3.put_bucket_policy(Bucket=bucket, Policy=other)
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == other
    for _ in range(2):
        assert s3.delete_bucket_policy(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
    with refused("NoSuchBucketPolicy", status=404):
        s3.get_bucket_policy(Bucket=bucket)


def test_a_policy_outlives_a_restart_and_lies_sealed(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    put_policy(s3, "bbb", deny("s3:PutObject", arn("bbb", "very-secret-prefix/*")))
    own_server.restart()
    with denied():
        s3.put_object(Bucket="bbb", Key="very-secret-prefix/k", Body=b"x")
    s3.put_object(Bucket="bbb", Key="k", Body=b"x")
    own_server.terminate()
    for file in (own_server.data).glob(f"{catalog(own_server).name}*"):
        assert b"very-secret-prefix" not in file.read_bytes()


def test_a_change_takes_effect_at_once(s3, bucket, nobody):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for _ in range(3):
        with denied():
            nobody.get_object(Bucket=bucket, Key="k")
        put_policy(s3, bucket, allow("s3:GetObject", arn(bucket, "*")))
        assert body(nobody, bucket, "k") == b"x"
        s3.delete_bucket_policy(Bucket=bucket)


MALFORMED = {
    "no JSON": "{",
    "empty": "",
    "no statement": '{"Version": "2012-10-17", "Statement": []}',
    "another version": policy(allow("s3:*", "B")).replace("2012-10-17", "2013-10-17"),
    "no principal": '{"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "B"}]}',
    "another effect": policy(allow("s3:*", "B")).replace("Allow", "Permit"),
    "another service": policy(allow("ec2:*", "B")),
    "a misspelt action": policy(deny("s3:PutObjekt", "B/*")),
    "another bucket": policy(allow("s3:*", arn("somebody-else"))),
    "every bucket": policy(allow("s3:*", "*")),
    "an action of objects on the bucket": policy(allow("s3:GetObject", "B")),
    "a misspelt operator": policy(deny("s3:PutObject", "B/*", {"StringEqual": {"s3:x-amz-acl": "private"}})),
    "a misspelt key": policy(deny("s3:PutObject", "B/*", {"StringEquals": {"s3:x-amz-acll": "private"}})),
    "an unknown element": policy({**deny("s3:PutObject", "B/*"), "Conditions": {}}),
    "action and its opposite": policy({**deny("s3:PutObject", "B/*"), "NotAction": "s3:GetObject"}),
    "an element twice": '{"Statement": {"Effect": "Deny", "Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "B"}}',
    "an allowance to all but some": policy(
        {"Effect": "Allow", "NotPrincipal": {"AWS": "000000000000"}, "Action": "s3:*", "Resource": "B"}
    ),
    "too long": policy({**allow("s3:*", "B"), "Sid": "x" * (20 << 10)}),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_no_policy_is_refused_and_the_one_before_stays(server, s3, bucket, what):
    before = policy(deny("s3:DeleteObject", arn(bucket, "*")))
    s3.put_bucket_policy(Bucket=bucket, Policy=before)
    document = MALFORMED[what].replace('"B', f'"{arn(bucket)}').encode()
    answer = exchange(server, sign(server, "PUT", f"/{bucket}?policy=", body=document))
    assert (answer.status, answer.code) == (400, "MalformedPolicy"), answer
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == before


def test_a_refusal_says_where(server, s3, bucket):
    with pytest.raises(s3.exceptions.ClientError) as caught:
        put_policy(s3, bucket, allow("s3:*", arn(bucket)), deny("s3:*", arn(bucket), {"Bool": {"aws:Nonsense": "1"}}))
    message = caught.value.response["Error"]["Message"]
    assert "Statement[1].Condition.Bool.aws:Nonsense" in message


def test_a_document_that_is_not_what_its_digest_says_is_not_taken(server, s3, bucket):
    document = policy(allow("s3:GetObject", arn(bucket, "*"))).encode()
    headers = {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    answer = exchange(server, sign(server, "PUT", f"/{bucket}?policy=", headers=headers, body=document))
    assert (answer.status, answer.code) == (400, "BadDigest")
    with refused("NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket=bucket)


@pytest.mark.parametrize(
    ("principal", "condition", "public"),
    [
        ("*", None, True),
        ({"AWS": "000000000000"}, None, False),
        ("*", {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False),
        ("*", {"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}, True),
        ("*", {"StringEquals": {"aws:SourceVpc": "vpc-91237329"}}, False),
        ("*", {"Bool": {"aws:SecureTransport": "true"}}, True),
    ],
    ids=str,
)
def test_the_status_says_whether_a_bucket_is_public(s3, bucket, principal, condition, public):
    with refused("NoSuchBucketPolicy"):
        s3.get_bucket_policy_status(Bucket=bucket)
    put_policy(s3, bucket, allow("s3:GetObject", arn(bucket, "*"), condition, principal))
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is public


# Which action each operation asks for


@pytest.fixture
def filled(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="u", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return {"bucket": bucket, "upload": {"Bucket": bucket, "Key": "u", "UploadId": upload}, "parts": parts}


RULE = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
OPERATIONS = {
    "get": ("s3:GetObject", lambda s3, at: s3.get_object(Bucket=at["bucket"], Key="k")),
    "get part": ("s3:GetObject", lambda s3, at: s3.get_object(Bucket=at["bucket"], Key="k", PartNumber=1)),
    "get range": ("s3:GetObject", lambda s3, at: s3.get_object(Bucket=at["bucket"], Key="k", Range="bytes=0-0")),
    "get nonsense range": ("s3:GetObject", lambda s3, at: s3.get_object(Bucket=at["bucket"], Key="k", Range="x")),
    "head": ("s3:GetObject", lambda s3, at: s3.head_object(Bucket=at["bucket"], Key="k")),
    "head range": ("s3:GetObject", lambda s3, at: s3.head_object(Bucket=at["bucket"], Key="k", Range="bytes=0-0")),
    "get version": (
        "s3:GetObjectVersion",
        lambda s3, at: s3.get_object(Bucket=at["bucket"], Key="k", VersionId="null"),
    ),
    "head version": (
        "s3:GetObjectVersion",
        lambda s3, at: s3.head_object(Bucket=at["bucket"], Key="k", VersionId="null"),
    ),
    "put": ("s3:PutObject", lambda s3, at: s3.put_object(Bucket=at["bucket"], Key="new", Body=b"x")),
    "delete": ("s3:DeleteObject", lambda s3, at: s3.delete_object(Bucket=at["bucket"], Key="k")),
    "delete version": (
        "s3:DeleteObjectVersion",
        lambda s3, at: s3.delete_object(Bucket=at["bucket"], Key="k", VersionId="null"),
    ),
    "list": ("s3:ListBucket", lambda s3, at: s3.list_objects(Bucket=at["bucket"])),
    "list v2": ("s3:ListBucket", lambda s3, at: s3.list_objects_v2(Bucket=at["bucket"])),
    "head bucket": ("s3:ListBucket", lambda s3, at: s3.head_bucket(Bucket=at["bucket"])),
    "location": ("s3:GetBucketLocation", lambda s3, at: s3.get_bucket_location(Bucket=at["bucket"])),
    "create upload": ("s3:PutObject", lambda s3, at: s3.create_multipart_upload(Bucket=at["bucket"], Key="v")),
    "upload part": ("s3:PutObject", lambda s3, at: s3.upload_part(**at["upload"], PartNumber=1, Body=b"y")),
    "complete": (
        "s3:PutObject",
        lambda s3, at: s3.complete_multipart_upload(**at["upload"], MultipartUpload=at["parts"]),
    ),
    "abort": ("s3:AbortMultipartUpload", lambda s3, at: s3.abort_multipart_upload(**at["upload"])),
    "list parts": ("s3:ListMultipartUploadParts", lambda s3, at: s3.list_parts(**at["upload"])),
    "list uploads": (
        "s3:ListBucketMultipartUploads",
        lambda s3, at: s3.list_multipart_uploads(Bucket=at["bucket"]),
    ),
    "put encryption": (
        "s3:PutEncryptionConfiguration",
        lambda s3, at: s3.put_bucket_encryption(Bucket=at["bucket"], ServerSideEncryptionConfiguration=RULE),
    ),
    "delete encryption": (
        "s3:PutEncryptionConfiguration",
        lambda s3, at: s3.delete_bucket_encryption(Bucket=at["bucket"]),
    ),
    "get encryption": (
        "s3:GetEncryptionConfiguration",
        lambda s3, at: s3.get_bucket_encryption(Bucket=at["bucket"]),
    ),
    "policy status": ("s3:GetBucketPolicyStatus", lambda s3, at: s3.get_bucket_policy_status(Bucket=at["bucket"])),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_needs_its_action_and_no_other(s3, filled, operation):
    action, call = OPERATIONS[operation]
    put_policy(s3, filled["bucket"], deny(action, f"{arn(filled['bucket'])}*"))
    with denied():
        call(s3, filled)
    everything_else = deny(None, f"{arn(filled['bucket'])}*") | {"NotAction": action}
    del everything_else["Action"]
    put_policy(s3, filled["bucket"], everything_else)
    call(s3, filled)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if "policy" not in name])
def test_what_is_allowed_to_everybody_needs_no_signature(s3, nobody, filled, operation):
    action, call = OPERATIONS[operation]
    with denied():
        call(nobody, filled)
    put_policy(s3, filled["bucket"], allow(action, f"{arn(filled['bucket'])}*"))
    call(nobody, filled)


def test_what_was_denied_has_changed_nothing(s3, filled):
    bucket = filled["bucket"]
    put_policy(s3, bucket, deny(["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], arn(bucket, "*")))
    for call in ("put", "delete", "create upload", "upload part", "complete", "abort"):
        with denied():
            OPERATIONS[call][1](s3, filled)
    s3.delete_bucket_policy(Bucket=bucket)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    assert len(s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
    s3.complete_multipart_upload(**filled["upload"], MultipartUpload=filled["parts"])


def test_the_owner_is_never_locked_out(s3, bucket):
    put_policy(s3, bucket, deny("s3:*", both(bucket)))
    with denied():
        s3.list_objects_v2(Bucket=bucket)
    with denied():
        s3.delete_bucket(Bucket=bucket)
    assert "Deny" in s3.get_bucket_policy(Bucket=bucket)["Policy"]
    put_policy(s3, bucket, deny("s3:*", both(bucket)))
    s3.delete_bucket_policy(Bucket=bucket)
    s3.list_objects_v2(Bucket=bucket)


def test_nobody_makes_or_lists_buckets_or_changes_a_policy(s3, nobody, bucket):
    put_policy(s3, bucket, allow("s3:GetObject", arn(bucket, "*")))
    for call in (
        lambda: nobody.list_buckets(),
        lambda: nobody.create_bucket(Bucket=f"{bucket}-new"),
        lambda: nobody.delete_bucket(Bucket=bucket),
        lambda: nobody.get_bucket_policy(Bucket=bucket),
        lambda: nobody.put_bucket_policy(Bucket=bucket, Policy=policy(allow("s3:*", both(bucket)))),
        lambda: nobody.delete_bucket_policy(Bucket=bucket),
        lambda: nobody.get_bucket_policy_status(Bucket=bucket),
    ):
        with denied():
            call()
    put_policy(s3, bucket, allow(["s3:PutBucketPolicy", "s3:GetBucketPolicy"], arn(bucket)))
    nobody.put_bucket_policy(Bucket=bucket, Policy=nobody.get_bucket_policy(Bucket=bucket)["Policy"])


def test_that_an_object_is_absent_is_told_to_who_may_list(s3, nobody, bucket):
    put_policy(s3, bucket, allow("s3:GetObject", arn(bucket, "*")))
    for call in (nobody.get_object, nobody.head_object):
        with refused(status=403):
            call(Bucket=bucket, Key="absent")
    put_policy(s3, bucket, allow("s3:GetObject", arn(bucket, "*")), allow("s3:ListBucket", arn(bucket)))
    for call in (nobody.get_object, nobody.head_object):
        with refused(status=404):
            call(Bucket=bucket, Key="absent")


def test_many_keys_are_deleted_one_by_one_as_the_policy_says(s3, bucket):
    for key in ("a/1", "b/1", "b/2"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    put_policy(s3, bucket, deny("s3:DeleteObject", arn(bucket, "b/*")))
    keys = {"Objects": [{"Key": key} for key in ("a/1", "b/1", "b/2", "c")]}
    answer = s3.delete_objects(Bucket=bucket, Delete=keys)
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == ["a/1", "c"]
    assert {(entry["Key"], entry["Code"]) for entry in answer["Errors"]} == {
        ("b/1", "AccessDenied"),
        ("b/2", "AccessDenied"),
    }
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b/1", "b/2"]


def test_a_copy_needs_its_rights_on_both_ends(s3, filled):
    bucket = filled["bucket"]
    source = {"Bucket": bucket, "Key": "k"}

    def copy_object():
        s3.copy_object(Bucket=bucket, Key="target", CopySource=source)

    def copy_part():
        s3.upload_part_copy(**filled["upload"], PartNumber=2, CopySource=source)

    for call, target in ((copy_object, "target"), (copy_part, "u")):
        put_policy(s3, bucket, deny("s3:GetObject", arn(bucket, "k")))
        with denied():
            call()
        put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, target)))
        with denied():
            call()
        put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, "k")), deny("s3:GetObject", arn(bucket, target)))
        call()


def test_a_version_of_a_source_needs_its_own_right(s3, filled):
    bucket = filled["bucket"]
    source = {"Bucket": bucket, "Key": "k", "VersionId": "null"}
    for call in (
        lambda: s3.copy_object(Bucket=bucket, Key="target", CopySource=source),
        lambda: s3.upload_part_copy(**filled["upload"], PartNumber=2, CopySource=source),
    ):
        put_policy(s3, bucket, deny("s3:GetObjectVersion", arn(bucket, "k")))
        with denied():
            call()
        put_policy(s3, bucket, deny("s3:GetObject", arn(bucket, "k")))
        call()


def test_a_write_on_condition_of_an_entity_tag_needs_the_right_to_read(s3, filled):
    """Else who may write could find out by trying what is there."""
    bucket = filled["bucket"]
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    put_policy(s3, bucket, deny("s3:GetObject", arn(bucket, "*")))
    for call in (s3.put_object, s3.delete_object):
        with denied():
            call(Bucket=bucket, Key="k", IfMatch=etag)
    s3.put_object(Bucket=bucket, Key="new", IfNoneMatch="*", Body=b"x")


# Conditions: the documented examples over the wire

SSE = "s3:x-amz-server-side-encryption"


def test_writes_that_do_not_ask_for_encryption_are_denied_on_every_path(server, s3, bucket):
    """Conditions look at the request, whatever the bucket's default is."""
    s3.put_object(Bucket=bucket, Key="source", Body=b"x")
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=RULE)
    put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, "*"), {"Null": {SSE: "true"}}))
    source = {"Bucket": bucket, "Key": "source"}
    ways = {
        "put": lambda **asked: s3.put_object(Bucket=bucket, Key="k", Body=b"x", **asked),
        "copy": lambda **asked: s3.copy_object(Bucket=bucket, Key="k", CopySource=source, **asked),
        "multipart": lambda **asked: s3.create_multipart_upload(Bucket=bucket, Key="k", **asked),
    }
    for way, call in ways.items():
        with denied():
            call()
        call(ServerSideEncryption="AES256")
    plain, asking = (
        s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k", **asked})
        for asked in ({}, {"ServerSideEncryption": "AES256"})
    )
    for url, status in ((plain, 403), (asking, 200)):
        target = url.removeprefix(server.url)
        header = "" if "x-amz-server-side-encryption=" in target else "x-amz-server-side-encryption: AES256\r\n"
        header = header if status == 200 else ""
        raw = f"PUT {target} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: 1\r\n{header}\r\nx".encode()
        assert exchange(server, raw).status == status


def test_parts_and_completion_are_judged_by_what_the_upload_was_opened_with(s3, bucket):
    open_before = s3.create_multipart_upload(Bucket=bucket, Key="before")["UploadId"]
    put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, "*"), {"StringNotEquals": {SSE: "AES256"}}))
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ServerSideEncryption="AES256")["UploadId"]
    at = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**at, PartNumber=number, Body=content)["ETag"]}
        for number, content in ((1, PART), (2, b"end"))
    ]
    s3.complete_multipart_upload(**at, MultipartUpload={"Parts": parts})
    assert body(s3, bucket, "k") == PART + b"end"
    with denied():
        s3.upload_part(Bucket=bucket, Key="before", UploadId=open_before, PartNumber=1, Body=b"x")


def test_writes_must_be_conditional_where_they_make_an_object(s3, bucket):
    condition = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, "*"), condition))
    with denied():
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", IfNoneMatch="*")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
    at = {"Bucket": bucket, "Key": "u", "UploadId": upload}
    part = s3.upload_part(**at, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    with denied():
        s3.complete_multipart_upload(**at, MultipartUpload=parts)
    s3.complete_multipart_upload(**at, MultipartUpload=parts, IfNoneMatch="*")


def test_listings_are_bound_to_a_prefix_and_a_length(s3, nobody, bucket):
    condition = {
        "StringEquals": {"s3:prefix": "open/", "s3:delimiter": "/"},
        "NumericLessThanEquals": {"s3:max-keys": "10"},
    }
    put_policy(s3, bucket, allow("s3:ListBucket", arn(bucket), condition))
    at = {"Bucket": bucket, "Prefix": "open/", "Delimiter": "/", "MaxKeys": 10}
    nobody.list_objects_v2(**at)
    for change in ({"Prefix": "open/x"}, {"Prefix": ""}, {"Delimiter": ""}, {"MaxKeys": 11}):
        with denied():
            nobody.list_objects_v2(**(at | change))
    with denied():
        nobody.list_objects_v2(Bucket=bucket, Prefix="open/", Delimiter="/")


def test_addresses_are_those_of_the_connection_whatever_headers_claim(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    claims = "".join(
        f"{name}: 192.0.2.9\r\n" for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Client-IP", "SourceIp")
    )
    raw = f"GET /{bucket}/k HTTP/1.1\r\nHost: {server.address}\r\n{claims}\r\n".encode()
    for network, status in (("192.0.2.0/24", 403), ("127.0.0.0/8", 200), ("127.0.0.1", 200), ("::/0", 403)):
        put_policy(s3, bucket, allow("s3:GetObject", arn(bucket, "*"), {"IpAddress": {"aws:SourceIp": network}}))
        assert exchange(server, raw).status == status, network


def test_who_has_no_tls_is_denied_where_a_policy_says_so(make_server, tmp_path):
    authority = Authority(tmp_path)
    authority.write(authority.pair())
    only_tls = [
        deny("s3:*", both("bbb"), {"Bool": {"aws:SecureTransport": "false"}}),
        deny("s3:*", both("bbb"), {"NumericLessThan": {"s3:TlsVersion": 1.2}}),
    ]
    for server, status in ((make_server(), 403), (make_server(arguments=authority.arguments, authority=authority.path), 200)):
        s3 = server.start().s3()
        s3.create_bucket(Bucket="bbb")
        put_policy(s3, "bbb", *only_tls)
        if status == 403:
            with denied():
                s3.list_objects_v2(Bucket="bbb")
        else:
            s3.list_objects_v2(Bucket="bbb")
            put_policy(s3, "bbb", deny("s3:*", both("bbb"), {"NumericLessThan": {"s3:TlsVersion": 1.4}}))
            with denied():
                s3.list_objects_v2(Bucket="bbb")


def test_presigned_requests_are_denied_by_kind_and_by_age(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    old = datetime.timedelta(seconds=60)
    put_policy(s3, bucket, deny("s3:*", arn(bucket, "*"), {"NumericGreaterThan": {"s3:signatureAge": 30_000}}))
    assert exchange(server, presign(server, "GET", f"/{bucket}/k", age=old)).status == 403
    assert exchange(server, presign(server, "GET", f"/{bucket}/k")).status == 200
    put_policy(s3, bucket, deny("s3:*", arn(bucket, "*"), {"StringNotEquals": {"s3:authType": "REST-HEADER"}}))
    assert exchange(server, presign(server, "GET", f"/{bucket}/k")).status == 403
    assert exchange(server, sign(server, "GET", f"/{bucket}/k")).status == 200


@pytest.mark.parametrize(
    ("key", "value", "header"),
    [
        ("aws:Referer", "http://a.example/*", {"Referer": "http://a.example/page"}),
        ("aws:UserAgent", "Mine/*", {"User-Agent": "Mine/1"}),
    ],
    ids=str,
)
def test_two_headers_are_facts_as_documented(server, s3, bucket, key, value, header):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    put_policy(s3, bucket, deny("s3:GetObject", arn(bucket, "*"), {"StringNotLike": {key: value}}))
    assert exchange(server, sign(server, "GET", f"/{bucket}/k")).status == 403
    assert exchange(server, sign(server, "GET", f"/{bucket}/k", headers=header)).status == 200


@pytest.mark.parametrize(
    ("key", "asked", "other"),
    [
        ("s3:x-amz-storage-class", {"StorageClass": "STANDARD"}, {"StorageClass": "REDUCED_REDUNDANCY"}),
        ("s3:x-amz-acl", {"ACL": "bucket-owner-full-control"}, {"ACL": "private"}),
        (SSE, {"ServerSideEncryption": "AES256"}, {}),
    ],
    ids=str,
)
def test_headers_of_a_write_are_facts(s3, bucket, key, asked, other):
    value = next(iter(asked.values()))
    put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, "*"), {"StringNotEquals": {key: value}}))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **asked)
    with denied():
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", **other)


def test_bodies_that_are_not_signed_are_denied(server, s3, bucket):
    condition = {"StringEquals": {"s3:x-amz-content-sha256": "UNSIGNED-PAYLOAD"}}
    put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, "*"), condition))
    headers = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    answer = exchange(
        server, sign(server, "PUT", f"/{bucket}/k", headers=headers, body=b"x", payload_hash="UNSIGNED-PAYLOAD")
    )
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert exchange(server, sign(server, "PUT", f"/{bucket}/k", body=b"x")).status == 200


def test_a_copy_is_bound_to_its_source_however_that_is_spelt(server, s3, bucket):
    for key in ("public/a b", "private/a b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    condition = {"StringNotLike": {"s3:x-amz-copy-source": f"{bucket}/public/*"}}
    put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, "*"), condition))
    for folder, status in (("public", 200), ("private", 403)):
        for spelling in (f"{bucket}/{folder}/a%20b", f"/{bucket}/{folder}/a%20b", f"{bucket}/{folder}%2Fa%20b"):
            headers = {"x-amz-copy-source": spelling, "x-amz-metadata-directive": "REPLACE"}
            answer = exchange(server, sign(server, "PUT", f"/{bucket}/copy", headers=headers))
            assert answer.status == status, (spelling, answer)


def test_a_policy_knows_when_it_is(s3, nobody, bucket):
    for condition, status in (
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, 403),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, 200),
        ({"NumericGreaterThan": {"aws:EpochTime": "1577836800"}}, 200),
    ):
        put_policy(s3, bucket, allow("s3:ListBucket", arn(bucket), condition))
        if status == 403:
            with denied():
                nobody.list_objects_v2(Bucket=bucket)
        else:
            nobody.list_objects_v2(Bucket=bucket)


def test_a_policy_knows_who_asks(s3, nobody, bucket):
    """The owner is the account's root; an unsigned request is nobody's."""
    owner = "arn:aws:iam::000000000000:root"
    put_policy(s3, bucket, deny("s3:ListBucket", arn(bucket), {"ArnNotEquals": {"aws:PrincipalArn": owner}}))
    s3.list_objects_v2(Bucket=bucket)
    put_policy(s3, bucket, deny("s3:ListBucket", arn(bucket), principal={"AWS": owner}))
    with denied():
        s3.list_objects_v2(Bucket=bucket)
    put_policy(
        s3,
        bucket,
        allow("s3:ListBucket", arn(bucket)),
        {"Effect": "Deny", "NotPrincipal": {"AWS": owner}, "Action": "s3:*", "Resource": both(bucket)},
    )
    s3.list_objects_v2(Bucket=bucket)
    with denied():
        nobody.list_objects_v2(Bucket=bucket)


def test_the_policy_that_the_documentation_shows_does_what_it_says(make_server, tmp_path):
    authority = Authority(tmp_path)
    authority.write(authority.pair())
    text = (REPOSITORY / "docs/policies.md").read_text()
    document = text.split("--policy '")[1].split("'")[0]
    for server, over_tls in ((make_server(), False), (make_server(arguments=authority.arguments, authority=authority.path), True)):
        server.start()
        s3 = server.s3()
        s3.create_bucket(Bucket="orders")
        server.aws("s3api", "put-bucket-policy", "--bucket", "orders", "--policy", document)
        if over_tls:
            s3.put_object(Bucket="orders", Key="k", Body=b"x", ServerSideEncryption="AES256")
            with denied():
                s3.put_object(Bucket="orders", Key="k", Body=b"x")
        else:
            with denied():
                s3.list_objects_v2(Bucket="orders")


# What lies in the catalog

LABEL = b"strongroom/record/1"
CATALOG_KEY, CONFIGURATION = 4, 8


def reseal_config(server: Server, change) -> None:
    """Changes the plaintext of the one bucket's configuration and seals it again, as only who holds all its keys could."""
    (store,) = rows(catalog(server), "SELECT id FROM store")
    (row,) = rows(catalog(server), "SELECT * FROM bucket")
    (kept,) = rows(keyring(server), "SELECT * FROM wrapped_key WHERE id = ?", row["catalog_key"])
    wrap = config_context(CATALOG_KEY, store["id"], row["id"])
    assert wrap == kept["context"]
    (parent,) = unwrapped(server, [(kept["wrapped"], wrap)])
    context = config_context(CONFIGURATION, store["id"], row["id"])

    def cipher(random: bytes) -> AESGCM:
        return AESGCM(HKDFExpand(SHA256(), 32, LABEL + random + context).derive(parent))

    sealed, random = row["config"], os.urandom(32)
    plain = cipher(sealed[:32]).decrypt(bytes(12), sealed[32:], None)
    changed = random + cipher(random).encrypt(bytes(12), change(plain), None)
    with database(catalog(server)) as connection:
        connection.execute("UPDATE bucket SET config = ?", (changed,))


def config_context(kind: int, store: bytes, bucket: bytes) -> bytes:
    fields = [store, bucket, b"", b"", bytes(4), b"\0", *([b""] if kind == CATALOG_KEY else [])]
    return hashlib.sha256(bytes([kind]) + b"".join(len(f).to_bytes(4, "big") + f for f in fields)).digest()


def test_a_policy_that_this_version_does_not_understand_allows_nothing(own_server):
    """As a later version may have written one; the owner puts it right."""
    s3, nobody = own_server.s3(), unsigned(own_server)
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=b"x")
    put_policy(s3, "bbb", allow("s3:GetObject", arn("bbb", "*")))
    assert body(nobody, "bbb", "k") == b"x"
    own_server.terminate()
    reseal_config(own_server, lambda plain: plain.replace(b"s3:GetObject", b"s3:GetObjekt"))
    own_server.start()
    for client in (s3, nobody):
        for call in (
            lambda: client.get_object(Bucket="bbb", Key="k"),
            lambda: client.put_object(Bucket="bbb", Key="k", Body=b"y"),
            lambda: client.delete_object(Bucket="bbb", Key="k"),
            lambda: client.list_objects_v2(Bucket="bbb"),
        ):
            with refused("InternalError", status=500):
                call()
    assert "bucket bbb" in own_server.log_text()
    s3.delete_bucket_policy(Bucket="bbb")
    assert body(s3, "bbb", "k") == b"x"


def test_a_configuration_that_was_altered_is_not_one_without_a_policy(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    put_policy(s3, "bbb", deny("s3:*", both("bbb")))
    (sealed,) = rows(catalog(own_server), "SELECT config FROM bucket")
    flipped = sealed["config"][:-1] + bytes([sealed["config"][-1] ^ 1])
    for config in (flipped, b""):
        own_server.terminate()
        with database(catalog(own_server)) as connection:
            connection.execute("UPDATE bucket SET config = ?", (config,))
        own_server.start()
        for call in (s3.list_objects_v2, s3.get_bucket_policy, s3.delete_bucket_policy):
            with refused("InternalError", status=500):
                call(Bucket="bbb")


# Forms


def test_a_form_is_known_as_one_and_by_the_headers_that_came_with_it(server, s3, bucket):
    form = content(signed(server, {"key": "k"}, exact(bucket, {"key": "k"})))
    for condition, headers, status in (
        ({"StringEquals": {"s3:authType": "POST"}}, {}, 403),
        ({"StringNotEquals": {"s3:authType": "POST"}}, {}, 204),
        ({"StringNotLike": {"aws:Referer": "http://a.example/*"}}, {}, 403),
        ({"StringNotLike": {"aws:Referer": "http://a.example/*"}}, {"Referer": "http://a.example/x"}, 204),
        ({"NumericGreaterThan": {"s3:signatureAge": "600000"}}, {}, 204),
        ({"NumericLessThan": {"s3:signatureAge": "600000"}}, {}, 403),
    ):
        put_policy(s3, bucket, deny("s3:PutObject", arn(bucket, "*"), condition))
        assert post(server, bucket, form, **headers).status == status, condition
