"""The official AWS SDK for Rust, with its own checksums and trailers, in every mode of encryption.

Its program (rust-sdk/) does one step at a time and prints what was answered, by S3's names; what is right is said here.
"""

import base64
import dataclasses
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from modes import (
    DSSE,
    OTHER_CUSTOMER_KEY,
    SSE_C,
    SSE_KMS_BUCKET_KEY,
    SSE_S3,
    Mode,
    allow_customer_keys,
    customer,
    expected,
    make_aliases,
    said,
)
from painted import base64_text, checksum, md5_base64, md5_hex, multipart_etag, painted
from refusal import absent, body
from server import REGION
from tokens import need

DATA = painted(200_000)
PARTS = [painted(5 << 20, 1), painted(70_000, 2)]
RANGE = slice(16_000, 120_001)
CONTEXT = {"team": "a"}

SSE_KMS = dataclasses.replace(
    SSE_KMS_BUCKET_KEY,
    write={**SSE_KMS_BUCKET_KEY.write, "SSEKMSEncryptionContext": base64_text(json.dumps(CONTEXT).encode())},
)
MODES = [SSE_S3, SSE_KMS, DSSE, SSE_C]

STREAMED = {
    "content-encoding": "aws-chunked",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "x-amz-trailer": "x-amz-checksum-crc32",
}


class Sdk:
    """The program, with an access key of this server."""

    def __init__(self, server, bucket: str, folder: Path):
        self._program = need("the AWS SDK for Rust (ci/test builds its program)", os.environ.get("STRONGROOM_RUST_SDK"))
        self._server, self.bucket, self._folder = server, bucket, folder

    def file(self, data: bytes) -> Path:
        path = self._folder / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        return path

    def __call__(self, encryption: dict, *step) -> list[dict]:
        """Every answer in the order of their coming; the SDK wants the MD5 of a customer's key told."""
        asked = dict(encryption)
        if key := asked.get("SSECustomerKey"):
            asked |= {"SSECustomerKey": base64_text(key), "SSECustomerKeyMD5": md5_base64(key)}
        own = self._server.credentials()
        done = subprocess.run(
            [str(word) for word in (self._program, self._server.url, self.bucket, json.dumps(asked), *step)],
            env={"AWS_ACCESS_KEY_ID": own.access_key, "AWS_SECRET_ACCESS_KEY": own.secret_key, "AWS_REGION": REGION},
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{step}: {done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]


@dataclasses.dataclass
class Done:
    """What one mode's steps were answered."""

    mode: Mode
    put: dict
    whole: dict
    part_of_it: dict
    copy: dict
    whole_copy: dict
    created: dict
    parts: list[dict]
    completed: dict
    whole_multipart: dict

    @property
    def choosing(self) -> list[dict]:
        return [self.put, self.copy, self.created]

    @property
    def reading(self) -> list[dict]:
        return [self.whole, self.part_of_it, self.whole_copy, self.whole_multipart]


@pytest.fixture(scope="module")
def sdk(server, s3, module_bucket, tmp_path_factory) -> Sdk:
    ready = Sdk(server, module_bucket, tmp_path_factory.mktemp("rust-sdk"))
    make_aliases(server)
    allow_customer_keys(s3, module_bucket)
    return ready


@pytest.fixture(scope="module", params=MODES, ids=lambda mode: mode.name)
def done(sdk, request) -> Done:
    mode = request.param
    whole, copied, in_parts = (f"{mode.name}/{name}" for name in ("whole", "copied", "in parts"))
    (put,) = sdk(mode.write, "put", whole, sdk.file(DATA))
    (copy,) = sdk(mode.write, "copy", whole, copied)
    created, *parts, completed = sdk(mode.write, "multipart", in_parts, *map(sdk.file, PARTS))
    return Done(
        mode,
        put,
        *sdk(mode.read, "get", whole),
        *sdk(mode.read, "get", whole, f"bytes={RANGE.start}-{RANGE.stop - 1}"),
        copy,
        *sdk(mode.read, "get", copied),
        created,
        parts,
        completed,
        *sdk(mode.read, "get", in_parts),
    )


def test_every_answer_tells_the_encryption(done):
    for answer in [*done.choosing, *done.parts, *done.reading]:
        assert said(answer) == expected(done.mode), answer
    assert said(done.completed) == (*expected(done.mode)[:3], None, None), "a completion brought no key along"


def test_the_encryption_context_is_answered_by_the_writes_that_name_it(done):
    wanted = CONTEXT if "SSEKMSEncryptionContext" in done.mode.write else None
    for answer in done.choosing:
        told = answer.get("SSEKMSEncryptionContext")
        assert (json.loads(base64.b64decode(told)) if told else None) == wanted, answer
    assert all("SSEKMSEncryptionContext" not in answer for answer in [*done.parts, done.completed, *done.reading])


def test_what_was_stored_comes_back(done, s3, sdk):
    bodies = [DATA, DATA[RANGE], DATA, b"".join(PARTS)]
    for answer, wanted in zip(done.reading, bodies, strict=True):
        assert (answer["body_len"], answer["body_sha256"]) == (len(wanted), hashlib.sha256(wanted).hexdigest())
    assert done.part_of_it["ContentRange"] == f"bytes {RANGE.start}-{RANGE.stop - 1}/{len(DATA)}"
    assert body(s3, sdk.bucket, f"{done.mode.name}/in parts", **done.mode.read) == b"".join(PARTS), "by boto3, too"


def test_a_streamed_body_brings_its_checksum_behind_it_and_reads_are_compared_with_it(done):
    assert [answer["sent"] for answer in (done.put, *done.parts)] == [STREAMED] * 3
    assert {answer["sent"].get("x-amz-checksum-mode") for answer in done.reading} == {"ENABLED"}
    crc32 = checksum("CRC32", DATA)
    for answer in (done.put, done.whole):
        assert (answer["ChecksumCRC32"], answer["ChecksumType"]) == (crc32, "FULL_OBJECT"), answer
    assert done.copy["ChecksumCRC32"] == done.whole_copy["ChecksumCRC32"] == crc32
    assert "ChecksumCRC32" not in done.part_of_it, "a range has no checksum of the whole"


def test_parts_and_their_whole_have_checksums(done):
    assert [part["ChecksumCRC32"] for part in done.parts] == [checksum("CRC32", part) for part in PARTS]
    for answer in (done.completed, done.whole_multipart):
        assert answer["ChecksumCRC64NVME"] == checksum("CRC64NVME", b"".join(PARTS)), answer
        assert (answer["ChecksumType"], "ChecksumCRC32" in answer) == ("FULL_OBJECT", False), answer


def test_an_etag_is_the_md5_only_where_the_mode_says_so(done):
    plain = [f'"{md5_hex(DATA)}"'] * 3 + [multipart_etag(PARTS)] * 2
    told = [answer["ETag"] for answer in (done.put, done.whole, done.copy, done.completed, done.whole_multipart)]
    if done.mode.has_md5_etag:
        assert told == plain
    else:
        assert set(told).isdisjoint(plain)
        assert done.put["ETag"] == done.whole["ETag"] != done.copy["ETag"] == done.whole_copy["ETag"]
        assert done.completed["ETag"] == done.whole_multipart["ETag"]
        assert done.completed["ETag"].endswith('-2"')


def check_refused(answers: list[dict], code: str, status: int) -> None:
    (answer,) = answers
    assert (answer["answer"], answer["Code"], answer["Status"]) == ("refused", code, status), answer


def test_without_its_customers_key_an_object_is_not_read_or_copied(sdk, s3):
    sdk(SSE_C.write, "put", "k", sdk.file(DATA))
    for step in [("get", "k"), ("get", "k", "bytes=0-9"), ("copy", "k", "stolen")]:
        check_refused(sdk({}, *step), "InvalidRequest", 400)
        check_refused(sdk(customer(OTHER_CUSTOMER_KEY), *step), "AccessDenied", 403)
    assert absent(s3, sdk.bucket, "stolen")


def test_a_customers_key_for_an_object_without_is_refused(sdk):
    sdk({}, "put", "without", sdk.file(DATA))
    check_refused(sdk(SSE_C.read, "get", "without"), "InvalidRequest", 400)


def test_a_new_bucket_blocks_customers_keys(server, s3, sdk, bucket, tmp_path):
    fresh = Sdk(server, bucket, tmp_path)
    check_refused(fresh(SSE_C.write, "put", "k", fresh.file(DATA)), "AccessDenied", 403)
    check_refused(fresh(SSE_C.write, "multipart", "k", fresh.file(DATA)), "AccessDenied", 403)
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize("algorithm", ["aws:kms", "aws:kms:dsse"])
def test_an_unknown_master_key_is_named_by_its_code(sdk, s3, algorithm):
    asked = {"ServerSideEncryption": algorithm, "SSEKMSKeyId": "alias/nobody"}
    check_refused(sdk(asked, "put", "nobody", sdk.file(DATA)), "KMS.NotFoundException", 400)
    assert absent(s3, sdk.bucket, "nobody")
