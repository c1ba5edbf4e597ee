"""After uploads by every route no file below DIR, and no line of the log, holds what was to be kept secret.

The pattern has a period of 61 bytes, so all its 16-byte slices are known and few, and it never falls into step with
a block. Digests are looked for raw, in hexadecimal and in base64.
"""

import base64
import hashlib
import re

import pytest

from chunks import SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, cut, streaming
from disk import files, pins
from keys import all_keys, place_of
from painted import RAW_CHECKSUMS, checksum, md5_base64, md5_hex, painted
from server import Server
from wire import exchange, presign, sign

PERIOD = painted(61, seed=61)
PATTERN = (PERIOD * 2000)[:100_003]
PARTS = [(PERIOD * 90_000)[: 5 << 20], PATTERN]
SLICES = [(PERIOD * 2)[at : at + 16] for at in range(len(PERIOD))]

METADATA = {"owner-of-record": "Metadata-Value-9f1c2b7a"}
HEADERS = {
    "ContentType": "text/x-type-5d2e8a90",
    "CacheControl": "max-age=7654321, x-cache-71b0",
    "ContentDisposition": 'attachment; filename="disposition-c4f7.txt"',
    "ContentLanguage": "x-language-e83d",
    "ContentEncoding": "x-encoding-27aa",
}
CUSTOMER_KEY = bytes(range(100, 132))
SIGNATURE = re.compile(rb"Signature=([0-9a-f]{64})")


class Everything:
    """One server at the most talkative log level, after uploads by every route; and the signatures that it saw."""

    def __init__(self, server):
        self.server = server
        self.signatures: set[bytes] = set()
        self.s3 = server.s3()
        self.s3.meta.events.register(
            "before-send.s3", lambda request, **_: self._note(request.headers["Authorization"])
        )
        self._upload()

    def _note(self, text: str | bytes) -> None:
        self.signatures |= set(SIGNATURE.findall(text if isinstance(text, bytes) else text.encode()))

    def _send(self, request) -> None:
        self._note(request.bytes())
        answer = exchange(self.server, request)
        assert answer.status == 200, answer

    def _upload(self) -> None:
        server, s3 = self.server, self.s3
        s3.create_bucket(Bucket="secret")
        s3.put_object(Bucket="secret", Key="put", Body=PATTERN, Metadata=METADATA, **HEADERS)
        s3.put_object(
            Bucket="secret", Key="small", Body=PATTERN[:100], Metadata=METADATA, ContentMD5=md5_base64(PATTERN[:100])
        )
        for algorithm in RAW_CHECKSUMS:
            s3.put_object(Bucket="secret", Key=f"checksum-{algorithm}", Body=PATTERN, ChecksumAlgorithm=algorithm)
        s3.copy_object(Bucket="secret", Key="copy", CopySource="secret/put")
        s3.copy_object(
            Bucket="secret",
            Key="replaced",
            CopySource="secret/put",
            MetadataDirective="REPLACE",
            Metadata=METADATA,
            **HEADERS,
        )
        trailer = ("x-amz-checksum-crc64nvme", checksum("CRC64NVME", PATTERN))
        for kind in (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
            self._send(
                streaming(
                    server, f"/secret/{kind}", kind, cut(PATTERN, 9000), trailer=None if kind == SIGNED else trailer
                )
            )
        self._send(sign(server, "PUT", "/secret/unsigned", body=PATTERN, payload_hash="UNSIGNED-PAYLOAD"))
        self._send(presign(server, "PUT", "/secret/presigned", body=PATTERN))
        for key, finish in (("parts", True), ("open-parts", False)):
            self._multipart(key, finish)
        s3.put_object(Bucket="secret", Key="put", Body=PATTERN, Metadata=METADATA)  # the first one is condemned
        s3.delete_object(Bucket="secret", Key="small")
        self._refused()
        assert s3.get_object(Bucket="secret", Key="parts")["Body"].read() == b"".join(PARTS)
        assert s3.get_object(Bucket="secret", Key="put", Range="bytes=5-50000")["Body"].read() == PATTERN[5:50001]

    def _multipart(self, key: str, finish: bool) -> None:
        upload = {"Bucket": "secret", "Key": key}
        upload["UploadId"] = self.s3.create_multipart_upload(
            **upload, Metadata=METADATA, ChecksumAlgorithm="SHA256", **HEADERS
        )["UploadId"]
        entries = []
        for number, data in enumerate(PARTS, 1):
            part = self.s3.upload_part(**upload, PartNumber=number, Body=data, ChecksumAlgorithm="SHA256")
            entries.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]})
        self.s3.upload_part_copy(**upload, PartNumber=3, CopySource="secret/put")
        if finish:
            self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": entries})

    def _refused(self) -> None:
        """What goes wrong is where logs talk too much: a wrong signature, a wrong digest, a customer's key."""
        key = base64.b64encode(CUSTOMER_KEY).decode()
        bad = [
            sign(
                self.server, "PUT", "/secret/bad", body=PATTERN, headers={"x-amz-meta-a": METADATA["owner-of-record"]}
            ),
            sign(self.server, "PUT", "/secret/bad", body=PATTERN, headers={"Content-MD5": md5_base64(b"other")}),
            sign(
                self.server,
                "PUT",
                "/secret/bad",
                body=PATTERN,
                headers={
                    "x-amz-server-side-encryption-customer-algorithm": "AES256",
                    "x-amz-server-side-encryption-customer-key": key,
                    "x-amz-server-side-encryption-customer-key-md5": md5_base64(CUSTOMER_KEY),
                },
            ),
        ]
        self.signatures.add(bad[0].signature.encode())  # the right one, which the log must not tell either
        bad[0].headers["Authorization"] = bad[0].headers["Authorization"][:-64] + "0" * 64
        for request in bad:
            self._note(request.bytes())
            assert exchange(self.server, request).status >= 400


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("nowhere") / "data", log_level="trace").start() as server:
        yield Everything(server)


def spellings(raw: bytes) -> list[bytes]:
    """Raw, hexadecimal and base64. Raw is left out below 8 bytes, which chance puts into any large file."""
    text = [raw.hex().encode(), raw.hex().upper().encode(), base64.b64encode(raw).rstrip(b"=")]
    return text + ([raw] if len(raw) >= 8 else [])


def digests() -> dict[str, bytes]:
    """Every fingerprint of a plaintext that a server could have had a use for, by name."""
    found = {}
    for name, data in {
        "pattern": PATTERN,
        "first part": PARTS[0],
        "whole": b"".join(PARTS),
        "small": PATTERN[:100],
    }.items():
        found[f"MD5 of {name}"] = hashlib.md5(data).digest()
        for algorithm, raw in RAW_CHECKSUMS.items():
            found[f"{algorithm} of {name}"] = raw(data)
    md5s = b"".join(hashlib.md5(part).digest() for part in PARTS)
    sha256s = b"".join(hashlib.sha256(part).digest() for part in PARTS)
    return found | {"multipart ETag": hashlib.md5(md5s).digest(), "composite SHA256": hashlib.sha256(sha256s).digest()}


def holders(everything, needles: dict[str, list[bytes]], paths=None) -> list[str]:
    """`name in file` for each needle that a file holds. Never shows the needle."""
    found = []
    for path in paths or [path for path in files(everything.server) if path.name != "credentials"]:
        content = path.read_bytes()
        found += [f"{name} in {path.name}" for name, all_of in needles.items() if any(one in content for one in all_of)]
    return found


def test_no_16_bytes_of_the_plaintext_lie_in_any_file(everything):
    assert holders(everything, {"plaintext": SLICES}) == []


def test_the_search_finds_what_is_there(everything, tmp_path):
    """A search that finds nothing proves something only if it would find something."""
    (tmp_path / "planted").write_bytes(
        painted(5000) + PATTERN[777 : 777 + 16] + md5_hex(PATTERN).encode() + painted(5000)
    )
    planted = holders(
        everything, {"plaintext": SLICES, "MD5": spellings(hashlib.md5(PATTERN).digest())}, [tmp_path / "planted"]
    )
    assert planted == ["plaintext in planted", "MD5 in planted"]
    assert len(files(everything.server)) > 10


def test_no_digest_of_a_plaintext_lies_in_any_file(everything):
    assert holders(everything, {name: spellings(raw) for name, raw in digests().items()}) == []


def test_no_metadata_and_no_content_header_lies_in_any_file(everything):
    values = {**METADATA, **HEADERS}
    assert holders(everything, {name: [value.encode()] for name, value in values.items()}) == []
    assert holders(everything, {"metadata name": [b"owner-of-record"]}) == []


def test_the_access_key_secret_lies_only_in_the_owner_s_copy(everything):
    secret = everything.server.credentials().secret_key.encode()
    forms = [secret, *spellings(secret)]
    try:
        forms += spellings(base64.b64decode(secret, validate=True))
    except ValueError:
        pass
    assert holders(everything, {"access-key secret": forms}) == []


def test_no_unwrapped_key_lies_in_any_file(everything):
    keys = all_keys(everything.server)
    assert len(keys) > 10
    assert holders(everything, {f"key {id}": spellings(key) for id, key in keys.items()}) == []


def test_a_deleted_object_leaves_no_wrapped_key_behind(everything):
    """Neither in the keyring nor in its log."""
    server, s3 = everything.server, everything.s3
    s3.put_object(Bucket="secret", Key="erased", Body=b"x")
    wrapped = place_of(server, "erased").wrapped
    assert holders(everything, {"wrapped key": [wrapped[-40:]]}) != []
    s3.delete_object(Bucket="secret", Key="erased")
    assert holders(everything, {"wrapped key": [wrapped[-40:]]}) == []


# The log


def log_holds(everything, needles: dict[str, list[bytes]]) -> list[str]:
    return holders(everything, needles, [everything.server.log_path])


def test_the_log_talks_at_the_level_asked_for(everything):
    """Else the tests below would prove nothing."""
    assert re.search(r"\b(TRACE|DEBUG)\b", everything.server.log_text())


def test_the_log_has_no_secret_and_no_pin(everything):
    secret = everything.server.credentials().secret_key.encode()
    known_pins = {f"PIN {n}": [pin.encode()] for n, pin in enumerate(sorted(pins(everything.server)))}
    assert known_pins, "no PIN file was found to compare with"
    assert log_holds(everything, {"access-key secret": [secret], **known_pins}) == []


def test_the_log_has_no_key(everything):
    keys = {f"key {id}": spellings(key) for id, key in all_keys(everything.server).items()}
    keys["customer key"] = spellings(CUSTOMER_KEY)
    assert log_holds(everything, keys) == []


def test_the_log_has_no_authorization_and_no_signature(everything):
    assert len(everything.signatures) > 10
    assert log_holds(everything, {f"signature {n}": [one] for n, one in enumerate(sorted(everything.signatures))}) == []
    assert log_holds(everything, {"Authorization": [b"AWS4-HMAC-SHA256 Credential"]}) == []


def test_the_log_has_no_plaintext_no_digest_and_no_metadata(everything):
    needles = {
        "plaintext": SLICES,
        **{name: spellings(raw) for name, raw in digests().items()},
        **{name: [value.encode()] for name, value in {**METADATA, **HEADERS}.items()},
    }
    assert log_holds(everything, needles) == []
