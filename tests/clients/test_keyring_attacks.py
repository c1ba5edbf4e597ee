"""What somebody does who writes to the keyring, or brings back an old one: no forged or moved key is believed.

The rows are altered while the server is down; each test then looks at what a reader sees, and at `keys verify`, which
unwraps every key there is.
"""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import audit
from disk import keyring, rows
from painted import painted
from refusal import body, refused
from test_bucket_keys import turn_on
from test_hsm_faults import Site, check_all_read, fill, site  # noqa: F401 (a fixture)
from tokens import RemoteToken

HERE = Path(__file__).parent
CATALOG_KEY, BUCKET_KEY = 4, 3


def unreadable(site, server) -> list[dict]:  # noqa: F811
    verified = json.loads(site.keys(server, "verify", code=None).stdout)
    return verified["unreadable"]


def swap(server, one: bytes, two: bytes) -> None:
    """Each of two rows gets what the other had wrapped."""
    ((first,), (second,)) = (
        rows(keyring(server), "SELECT wrapped FROM wrapped_key WHERE id = ?", id) for id in (one, two)
    )
    for id, wrapped in ((one, second["wrapped"]), (two, first["wrapped"])):
        rows(keyring(server), "UPDATE wrapped_key SET wrapped = ? WHERE id = ?", wrapped, id)


# Swapped


def test_catalog_keys_that_traded_places_open_neither_bucket_and_spoil_no_other(site):  # noqa: F811
    server = fill(site.server("--init").start())
    s3 = server.s3()
    for bucket in ("one", "two"):
        s3.create_bucket(Bucket=f"swapped-{bucket}")
        s3.put_object(Bucket=f"swapped-{bucket}", Key="k", Body=bucket.encode())
    named = {row["name"].decode(): row["catalog_key"] for row in rows(server.data / "catalog.sqlite", "SELECT * FROM bucket")}
    server.terminate()
    swap(server, named["swapped-one"], named["swapped-two"])
    server.start()
    s3 = server.s3()
    for bucket in ("swapped-one", "swapped-two"):
        for attempt in (
            lambda: s3.get_object(Bucket=bucket, Key="k"),  # noqa: B023 (called at once)
            lambda: s3.list_objects_v2(Bucket=bucket),  # noqa: B023
            lambda: s3.put_object(Bucket=bucket, Key="new", Body=b"x"),  # noqa: B023
        ):
            with refused("InternalError", status=500):
                attempt()
    assert {key["kind"] for key in unreadable(site, server)} == {"catalog"}
    assert server.health("ready") == 200
    check_all_read(server)


def test_bucket_keys_that_traded_places_open_nothing_and_spoil_no_other(site):  # noqa: F811
    server = fill(site.server("--init").start())
    s3 = server.s3()
    for bucket in ("swapped-one", "swapped-two"):
        s3.create_bucket(Bucket=bucket)
        turn_on(s3, bucket)
        s3.put_object(Bucket=bucket, Key="k", Body=bucket.encode())
    server.terminate()
    one, two = (row["id"] for row in rows(keyring(server), f"SELECT id FROM wrapped_key WHERE kind = {BUCKET_KEY}"))
    swap(server, one, two)
    server.start()
    s3 = server.s3()
    for bucket in ("swapped-one", "swapped-two"):
        with refused("InternalError", status=500):
            s3.get_object(Bucket=bucket, Key="k")
        s3.put_object(Bucket=bucket, Key="new", Body=b"under a bucket key of its own")
        assert body(s3, bucket, "new") == b"under a bucket key of its own"
    assert len(unreadable(site, server)) >= 2
    check_all_read(server)


# Forged


@pytest.fixture
def oaep(tmp_path, make_server):
    """A site whose token wraps by RSA-OAEP only, and whose public key anybody has."""
    site = Site(tmp_path, make_server, RemoteToken)
    site.told(rungs=["rsa-oaep"])
    yield site
    site.check_pin_is_nowhere()
    site.soft.kill()


def in_token(site, what: str, *arguments: str) -> bytes:  # noqa: F811
    """Asks the token itself, by a process of its own."""
    done = subprocess.run(
        [sys.executable, HERE / "hsm_rsa.py", what, site.soft.module, site.soft.pin_file, *arguments],
        env={**os.environ, **site.soft.environment},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def forged(site, wrapped: bytes, context: bytes, key: bytes) -> bytes:  # noqa: F811
    """The row with another key in it, as the public key alone makes it: the token would decrypt that."""
    master, ciphertext_len = wrapped[2:18], int.from_bytes(wrapped[23:25], "big")
    modulus = int.from_bytes(in_token(site, "modulus", master.hex()), "big")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    ciphertext = rsa.RSAPublicNumbers(65537, modulus).public_key().encrypt(key + context, oaep)
    assert len(ciphertext) == ciphertext_len
    assert in_token(site, "decrypt", master.hex(), ciphertext.hex()) == key + context, "the forgery is a good one"
    return wrapped[:25] + ciphertext + wrapped[25 + ciphertext_len :]


def test_a_key_that_was_forged_with_the_public_key_is_not_believed(oaep):
    server = fill(oaep.server("--init").start())
    server.terminate()
    (bucket,) = rows(server.data / "catalog.sqlite", "SELECT catalog_key FROM bucket")
    (row,) = rows(keyring(server), "SELECT * FROM wrapped_key WHERE id = ?", bucket["catalog_key"])
    forgery = forged(oaep, row["wrapped"], row["context"], secrets.token_bytes(32))
    rows(keyring(server), "UPDATE wrapped_key SET wrapped = ? WHERE id = ?", forgery, row["id"])
    server.start()
    with refused("InternalError", status=500):
        server.s3().list_objects_v2(Bucket="bbb")
    (bad,) = unreadable(oaep, server)
    assert (bad["kind"], bad["key_id"]) == ("catalog", row["id"].hex())
    assert server.health("ready") == 200
    server.terminate()
    rows(keyring(server), "UPDATE wrapped_key SET wrapped = ? WHERE id = ?", row["wrapped"], row["id"])
    check_all_read(server.start())


# From before a rotation


def test_a_keyring_from_before_a_rotation_wraps_nothing_until_the_new_version_is_adopted(site, tmp_path):  # noqa: F811
    server = fill(site.server("--init").start())
    copy = tmp_path / "copy.sqlite"
    site.keys(server, "backup", str(copy))
    site.keys(server, "rotate", "default")
    server.s3().put_object(Bucket="bbb", Key="later", Body=b"its key is in no copy")
    server.terminate()
    keyring(server).unlink()
    site.keys(server, "restore", str(copy))
    server.start()
    check_all_read(server)
    with refused(status=503):
        server.s3().put_object(Bucket="bbb", Key="new", Body=b"x")
    for number in range(3):
        with refused(status=503):
            server.s3().put_object(Bucket="bbb", Key=f"n{number}", Body=b"x")
        # Once it is known, nobody waits for the HSM to change its mind.
        audit.settled(server, 1, operation="wrap", object=f"n{number}")
    states = {key["version"]: key["state"] for key in json.loads(site.keys(server, "list").stdout)}
    assert states == {1: "enabled", 2: "unknown-to-keyring"}
    site.keys(server, "adopt", "default/2")
    server.s3().put_object(Bucket="bbb", Key="new", Body=painted(1000, seed=77))
    assert body(server.s3(), "bbb", "new") == painted(1000, seed=77)
    assert json.loads(site.keys(server, "rewrap", "default").stdout)["failed"] == 0
    check_all_read(server.restart())
    with refused(status=500):
        server.s3().get_object(Bucket="bbb", Key="later")
