"""Every way of encrypting an object: how a client asks for it, and how it must be answered."""

import base64
import dataclasses
import subprocess

from painted import md5_base64
from server import BINARY
from test_keys import keys

ALIAS = "team/a"
OTHER_ALIAS = "team/b"
CUSTOMER_KEY = bytes(range(32))
OTHER_CUSTOMER_KEY = bytes(range(1, 33))


def customer(key: bytes = CUSTOMER_KEY) -> dict:
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


def customer_of_source(key: bytes = CUSTOMER_KEY) -> dict:
    return {f"CopySource{name}": value for name, value in customer(key).items()}


def customer_headers(key: bytes = CUSTOMER_KEY, prefix: str = "x-amz-") -> dict:
    """As they travel."""
    family = f"{prefix}server-side-encryption-customer-"
    return {
        f"{family}algorithm": "AES256",
        f"{family}key": base64.b64encode(key).decode(),
        f"{family}key-md5": md5_base64(key),
    }


@dataclasses.dataclass(frozen=True)
class Mode:
    name: str
    write: dict  # what a write asks for
    algorithm: str | None  # what is answered as x-amz-server-side-encryption
    key_id: str | None = None
    bucket_key: bool = False
    is_customers: bool = False

    @property
    def read(self) -> dict:
        return customer() if self.is_customers else {}

    @property
    def source(self) -> dict:
        return customer_of_source() if self.is_customers else {}

    @property
    def has_md5_etag(self) -> bool:
        return self.algorithm == "AES256" or (self.algorithm is None and not self.is_customers)


SSE_S3 = Mode("AES256", {"ServerSideEncryption": "AES256"}, "AES256")
SSE_S3_BUCKET_KEY = Mode(
    "AES256-bucket-key", {"ServerSideEncryption": "AES256", "BucketKeyEnabled": True}, "AES256", bucket_key=True
)
SSE_KMS = Mode("kms", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ALIAS}, "aws:kms", ALIAS)
SSE_KMS_BUCKET_KEY = Mode(
    "kms-bucket-key",
    {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": f"alias/{OTHER_ALIAS}", "BucketKeyEnabled": True},
    "aws:kms",
    f"alias/{OTHER_ALIAS}",
    bucket_key=True,
)
DSSE = Mode("dsse", {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": ALIAS}, "aws:kms:dsse", ALIAS)
SSE_C = Mode("customer", customer(), None, is_customers=True)
PLAINTEXT = Mode("plaintext", {}, None)

NAMED = [SSE_S3, SSE_S3_BUCKET_KEY, SSE_KMS, SSE_KMS_BUCKET_KEY, DSSE, SSE_C]


def make_aliases(server) -> None:
    """The master keys that the modes name."""
    known = {key["alias"] for key in keys(server, "list")}
    for alias in {ALIAS, OTHER_ALIAS} - known:
        keys(server, "create", alias)


def allow_customer_keys(s3, bucket: str) -> None:
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def set_plaintext(server, bucket: str, wanted: str = "none", code: int = 0) -> str:
    """As an administrator does; what it printed."""
    command = [BINARY, "buckets", "encryption", bucket, wanted, "--data", str(server.data)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert ended.returncode == code, ended.stderr
    return ended.stdout or ended.stderr


def said(answer: dict) -> tuple:
    """What an answer says of the encryption."""
    return (
        answer.get("ServerSideEncryption"),
        answer.get("SSEKMSKeyId"),
        answer.get("BucketKeyEnabled", False),
        answer.get("SSECustomerAlgorithm"),
        answer.get("SSECustomerKeyMD5"),
    )


def expected(mode: Mode) -> tuple:
    customers = ("AES256", md5_base64(CUSTOMER_KEY)) if mode.is_customers else (None, None)
    return (mode.algorithm, mode.key_id, mode.bucket_key, *customers)
