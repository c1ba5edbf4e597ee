"""Every use of a master key leaves an event: when, who, which key, for what, and what became of it."""

import datetime
import os
import subprocess

import pytest

import audit
from disk import files, keyring, rows
from painted import painted
from refusal import body, refused
from server import BINARY
from test_keys import keys, run

BIG = 5 << 20


@pytest.fixture
def filled(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="an/object", Body=b"x")
    return own_server


def test_a_put_and_a_get_leave_one_event_each_that_says_all(filled):
    assert body(filled.s3(), "bbb", "an/object") == b"x"
    (wrap,) = audit.settled(filled, 1, operation="wrap", key_kind="data")
    (unwrap,) = audit.settled(filled, 1, operation="unwrap", key_kind="data")
    (master,) = rows(keyring(filled), "SELECT id FROM master_key")
    (row,) = rows(keyring(filled), "SELECT id FROM wrapped_key WHERE kind = 2")
    for event in (wrap, unwrap):
        when = datetime.datetime.fromisoformat(event["time"])
        assert abs(datetime.datetime.now(datetime.UTC) - when) < datetime.timedelta(minutes=5)
        assert event["who"] == filled.credentials().access_key
        assert (event["alias"], event["version"], event["rung"]) == ("default", 1, "aes-gcm")
        assert event["master_key"] == master["id"].hex() and event["key_id"] == row["id"].hex()
        assert (event["bucket"], event["object"], event["result"]) == ("bbb", "an/object", "done")


def test_catalog_keys_and_the_store_key_leave_events_too(filled):
    (catalog,) = audit.settled(filled, 1, operation="wrap", key_kind="catalog")
    assert (catalog["bucket"], catalog["object"]) == ("bbb", None)
    assert catalog["who"] == filled.credentials().access_key
    (store,) = audit.settled(filled, 1, operation="wrap", key_kind="store")
    assert store["who"] == "-" and store["bucket"] is None


def test_an_upload_in_parts_wraps_once(filled):
    s3 = filled.s3()
    upload = s3.create_multipart_upload(Bucket="bbb", Key="parts")["UploadId"]
    part = {"Bucket": "bbb", "Key": "parts", "UploadId": upload}
    etags = [s3.upload_part(**part, PartNumber=n, Body=painted(BIG))["ETag"] for n in (1, 2)]
    parts = [{"PartNumber": n + 1, "ETag": etag} for n, etag in enumerate(etags)]
    s3.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    audit.settled(filled, 1, operation="wrap", object="parts")


def test_a_use_that_fails_says_why(filled):
    (row,) = rows(keyring(filled), "SELECT id, wrapped FROM wrapped_key WHERE kind = 2")
    spoilt = row["wrapped"][:-1] + bytes([row["wrapped"][-1] ^ 1])
    rows(keyring(filled), "UPDATE wrapped_key SET wrapped = ? WHERE id = ?", spoilt, row["id"])
    with refused("InternalError", status=500):
        filled.s3().get_object(Bucket="bbb", Key="an/object")
    (event,) = audit.settled(filled, 1, operation="unwrap", key_kind="data")
    assert "altered" in event["result"] and event["version"] == 1


def test_what_an_administrator_moves_is_on_their_account(filled):
    keys(filled, "rotate", "default")
    keys(filled, "rewrap", "default")
    moved = audit.settled(filled, 3, operation="wrap", version=2)
    assert {event["who"] for event in moved} == {f"uid:{os.getuid()}"}
    assert sorted(event["key_kind"] for event in moved) == ["catalog", "data", "store"]


def test_a_command_without_a_server_leaves_its_events_too(filled):
    filled.terminate()
    assert keys(filled, "verify")["readable"] == 3
    assert len(audit.uses(filled, operation="unwrap", who=f"uid:{os.getuid()}")) >= 3
    assert audit.events(filled)[-1]["command"]["command"] == "verify-keys"


def test_a_sealed_file_leaves_an_event(filled, tmp_path):
    (tmp_path / "letter").write_text("dear")
    subprocess.run([BINARY, "seal", "--data", str(filled.data), str(tmp_path / "letter")], check=True)
    (event,) = audit.settled(filled, 1, operation="wrap", object=str(tmp_path / "letter"))
    assert event["who"] == f"uid:{os.getuid()}"


def test_nothing_acknowledged_is_missing_after_a_stop_and_the_log_goes_on_after_a_start(filled):
    s3 = filled.s3()
    for number in range(50):
        s3.put_object(Bucket="bbb", Key=f"k{number}", Body=b"x")
    filled.terminate()
    assert len(audit.uses(filled, operation="wrap", key_kind="data")) == 51
    filled.start()
    s3.put_object(Bucket="bbb", Key="later", Body=b"x")
    audit.settled(filled, 52, operation="wrap", key_kind="data")


def test_the_log_is_its_owners_and_can_lie_elsewhere(make_server, tmp_path):
    elsewhere = tmp_path / "elsewhere.log"
    server = make_server(arguments=("--audit-log", str(elsewhere))).start()
    server.s3().create_bucket(Bucket="bbb")
    server.terminate()
    assert elsewhere.stat().st_mode & 0o777 == 0o600
    assert "catalog" in elsewhere.read_text() and not audit.path(server).exists()


def test_no_key_and_no_content_is_in_the_log(filled):
    filled.s3().put_object(Bucket="bbb", Key="k", Body=b"very-secret-content", Metadata={"m": "secret-metadata"})
    assert body(filled.s3(), "bbb", "k") == b"very-secret-content"
    filled.terminate()
    text = audit.path(filled).read_text()
    secrets = [filled.credentials().secret_key, "very-secret", "secret-metadata"]
    secrets += [path.read_text().strip() for path in files(filled) if path.name == "pin"]
    secrets += [row["wrapped"][-32:].hex() for row in rows(keyring(filled), "SELECT wrapped FROM wrapped_key")]
    assert [secret for secret in secrets if secret in text] == []
