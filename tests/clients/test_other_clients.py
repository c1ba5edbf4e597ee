"""s3cmd and rclone with their own options for encryption, against the same server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from certificates import Authority
from modes import ALIAS, CUSTOMER_KEY, allow_customer_keys, customer, make_aliases
from painted import md5_base64, painted
from refusal import body
from server import REGION

DATA = painted(6 << 20)


@pytest.fixture(scope="module", autouse=True)
def aliases(server):
    make_aliases(server)


@pytest.fixture
def source(tmp_path) -> Path:
    (tmp_path / "source").write_bytes(DATA)
    return tmp_path / "source"


def run(*command, **environment) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
    return done.stdout


def s3cmd(server, *arguments) -> str:
    own = server.credentials()
    program = Path(sys.executable).with_name("s3cmd")
    options = (
        f"--access_key={own.access_key}",
        f"--secret_key={own.secret_key}",
        f"--host={server.address}",
        f"--host-bucket={server.address}",
        f"--region={REGION}",
        "--no-ssl",
        "--config=/dev/null",
        "--multipart-chunk-size-mb=5",
    )
    return run(program, *options, *arguments)


def rclone(server, *arguments, **more) -> str:
    own = server.credentials()
    settings = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": server.url,
        "REGION": REGION,
        "ACCESS_KEY_ID": own.access_key,
        "SECRET_ACCESS_KEY": own.secret_key,
        "FORCE_PATH_STYLE": "true",
        "UPLOAD_CUTOFF": "5M",
        "CHUNK_SIZE": "5M",
        **more,
    }
    environment = {f"RCLONE_CONFIG_STORE_{name}": value for name, value in settings.items()}
    return run("rclone", "--config", "/dev/null", *arguments, **environment)


# s3cmd


@pytest.mark.parametrize("chunked", [False, True])
def test_s3cmd_asks_for_sse_s3_and_sse_kms(server, s3, bucket, source, tmp_path, chunked):
    way = [] if chunked else ["--disable-multipart"]
    s3cmd(server, "put", *way, "--server-side-encryption", source, f"s3://{bucket}/sse")
    s3cmd(server, "put", *way, f"--server-side-encryption-kms-id={ALIAS}", source, f"s3://{bucket}/kms")
    assert s3.head_object(Bucket=bucket, Key="sse")["ServerSideEncryption"] == "AES256"
    head = s3.head_object(Bucket=bucket, Key="kms")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", ALIAS)
    for key in ("sse", "kms"):
        s3cmd(server, "get", "--force", f"s3://{bucket}/{key}", tmp_path / key)
        assert (tmp_path / key).read_bytes() == DATA


# rclone


with_rclone = pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is absent here: install it")


@with_rclone
@pytest.mark.parametrize("length", [20_000, len(DATA)], ids=["one request", "parts"])
def test_rclone_asks_for_sse_kms(server, s3, bucket, tmp_path, length):
    (tmp_path / "source").write_bytes(DATA[:length])
    kms = {"SERVER_SIDE_ENCRYPTION": "aws:kms", "SSE_KMS_KEY_ID": ALIAS}
    rclone(server, "copyto", tmp_path / "source", f"store:{bucket}/k", **kms)
    assert s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == ALIAS
    rclone(server, "copyto", f"store:{bucket}/k", tmp_path / "back", **kms)
    assert (tmp_path / "back").read_bytes() == DATA[:length]


@with_rclone
def test_rclone_brings_a_customer_key_over_tls(make_server, tmp_path):
    """It sends none over plain HTTP."""
    authority = Authority(tmp_path)
    authority.write(authority.pair())
    server = make_server(arguments=authority.arguments, authority=authority.path).start()
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    allow_customer_keys(s3, "bbb")
    key = CUSTOMER_KEY.hex()[:32]
    own = {
        "SSE_CUSTOMER_ALGORITHM": "AES256",
        "SSE_CUSTOMER_KEY": key,
        "SSE_CUSTOMER_KEY_MD5": md5_base64(key.encode()),
    }
    for length in (20_000, len(DATA)):
        (tmp_path / "source").write_bytes(DATA[:length])
        trust = ("--ca-cert", authority.path)
        rclone(server, *trust, "copyto", tmp_path / "source", "store:bbb/k", **own)
        assert body(s3, "bbb", "k", **customer(key.encode())) == DATA[:length]
        rclone(server, *trust, "copyto", "store:bbb/k", tmp_path / "back", **own)
        assert (tmp_path / "back").read_bytes() == DATA[:length]
