"""Rows of catalog and keyring that were altered, moved or removed while the server was down: none is believed.

Each test damages a store of its own, starts it again, and looks at what a reader sees.
"""

import shutil

import pytest
from botocore.credentials import Credentials

from damage import DATA, check_refused
from disk import blobs, catalog, database, keyring, rows
from painted import painted
from refusal import absent, body, refused
from vandal import behind_its_back
from wire import exchange, sign


# Objects
def test_a_row_that_names_another_object_s_blob_is_refused(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    for key in ("one", "two"):
        s3.put_object(Bucket="bbb", Key=key, Body=DATA)
    with behind_its_back(own_server) as connection:
        (one,), (two,) = (
            connection.execute("SELECT blob FROM version WHERE key = ?", (key,)).fetchall() for key in (b"one", b"two")
        )
        connection.execute("UPDATE version SET blob = NULL WHERE key = ?", (b"one",))
        connection.execute("UPDATE version SET blob = ? WHERE key = ?", (one["blob"], b"two"))
        connection.execute("UPDATE version SET blob = ? WHERE key = ?", (two["blob"], b"one"))
    for key in ("one", "two"):
        check_refused(own_server, key, 0)


def test_a_row_that_names_all_that_is_another_object_s_is_refused(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    for key in ("one", "two"):
        s3.put_object(Bucket="bbb", Key=key, Body=key.encode() * 5000)
    with behind_its_back(own_server) as connection:
        connection.execute("UPDATE version SET key = ? WHERE key = ?", (b"tmp", b"one"))
        connection.execute("UPDATE version SET key = ? WHERE key = ?", (b"one", b"two"))
        connection.execute("UPDATE version SET key = ? WHERE key = ?", (b"two", b"tmp"))
    for key in ("one", "two"):
        check_refused(own_server, key, 0)
        with refused(status=500):
            s3.head_object(Bucket="bbb", Key=key)


def test_an_older_row_with_its_older_blob_is_refused(own_server, tmp_path):
    """Its key was erased when it was overwritten: what is put back never opens again."""
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=b"older" * 5000)
    own_server.terminate()
    shutil.copytree(own_server.data / "blobs", tmp_path / "older", copy_function=shutil.copy2)
    shutil.copy2(own_server.data / "catalog.sqlite", tmp_path / "older.sqlite")
    own_server.start()
    s3.put_object(Bucket="bbb", Key="k", Body=b"newer" * 5000)

    with behind_its_back(own_server) as connection:
        shutil.copytree(tmp_path / "older", own_server.data / "blobs", dirs_exist_ok=True)
        connection.execute("ATTACH ? AS older", (str(tmp_path / "older.sqlite"),))
        connection.execute("DELETE FROM version WHERE key = ?", (b"k",))
        connection.execute("INSERT INTO version SELECT * FROM older.version WHERE key = ?", (b"k",))
        connection.commit()
        connection.execute("DETACH older")
    check_refused(own_server, "k", 0)


def test_an_altered_record_is_refused_wherever_it_is_read(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA)
    with behind_its_back(own_server) as connection:
        (row,) = connection.execute("SELECT record FROM version WHERE key = ?", (b"k",)).fetchall()
        connection.execute("UPDATE version SET record = ? WHERE key = ?", (row["record"][:-1] + b"\0", b"k"))
    with refused(status=500):
        s3.head_object(Bucket="bbb", Key="k")
    with refused("InternalError", status=500):
        s3.list_objects_v2(Bucket="bbb")
    check_refused(own_server, "k", 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE part SET number = CASE number WHEN 1 THEN 3 ELSE number END",
        "DELETE FROM part WHERE number = 2",
        "DELETE FROM part",
        "UPDATE part SET record = zeroblob(length(record)) WHERE number = 1",
    ],
    ids=["renumbered", "dropped", "all dropped", "altered"],
)
def test_an_altered_table_of_parts_is_refused(own_server, statement):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    upload = {"Bucket": "bbb", "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    entries = [
        {"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=painted(5 << 20, n))["ETag"]}
        for n in (1, 2)
    ]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": entries})
    with behind_its_back(own_server) as connection:
        assert connection.execute(statement).rowcount > 0
    check_refused(own_server, "k", 0)


def test_an_altered_part_of_an_open_upload_does_not_become_an_object(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    upload = {"Bucket": "bbb", "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=b"part")
    with behind_its_back(own_server) as connection:
        connection.execute("UPDATE part SET record = zeroblob(length(record))")
    with refused("InternalError", "InvalidPart"):
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert absent(s3, "bbb", "k")


# Configuration: what does not open is refused, never read as absent or as a default


def test_an_altered_bucket_row_is_refused(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA)
    s3.create_bucket(Bucket="sound")
    with behind_its_back(own_server) as connection:
        connection.execute("UPDATE bucket SET config = zeroblob(length(config)) WHERE name = ?", (b"bbb",))
    for call in (
        lambda: s3.put_object(Bucket="bbb", Key="new", Body=b"x"),
        lambda: s3.get_bucket_encryption(Bucket="bbb"),
    ):
        with refused("InternalError", status=500):
            call()
    s3.put_object(Bucket="sound", Key="k", Body=b"x")
    assert "damage" in own_server.log_text().lower()


def test_a_bucket_with_another_bucket_s_configuration_is_refused(own_server):
    s3 = own_server.s3()
    for name in ("bbb", "other"):
        s3.create_bucket(Bucket=name)
    with behind_its_back(own_server) as connection:
        connection.execute(
            "UPDATE bucket SET config = (SELECT config FROM bucket WHERE name = ?) WHERE name = ?", (b"other", b"bbb")
        )
    with refused("InternalError", status=500):
        s3.put_object(Bucket="bbb", Key="k", Body=b"x")


@pytest.mark.parametrize(
    "statement, statuses",
    [
        ("UPDATE access_key SET sealed = zeroblob(length(sealed))", (500,)),
        ("UPDATE access_key SET sealed = x''", (500,)),
        ("DELETE FROM access_key", (403,)),
    ],
    ids=["altered", "emptied", "removed"],
)
def test_an_altered_or_removed_access_key_signs_nothing(own_server, statement, statuses):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    with behind_its_back(own_server) as connection:
        assert connection.execute(statement).rowcount > 0
    for request in (sign(own_server, "GET", "/"), sign(own_server, "PUT", "/bbb/k", body=b"x")):
        assert exchange(own_server, request).status in statuses
    assert own_server.health("live") == 200
    assert not blobs(own_server)


def test_an_access_key_given_another_name_signs_nothing(own_server):
    """Whoever writes to the catalog must not be able to make an access key out of one that they know."""
    own = own_server.credentials()
    forged = Credentials("AKIAFORGED0000000000", own.secret_key)
    with behind_its_back(own_server) as connection:
        connection.execute("INSERT INTO access_key SELECT ?, user, generation, sealed FROM access_key", (forged.access_key.encode(),))
    answer = exchange(own_server, sign(own_server, "GET", "/", credentials=forged))
    assert answer.status in (403, 500)
    assert exchange(own_server, sign(own_server, "GET", "/")).status == 200


# The keyring


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE wrapped_key SET wrapped = substr(wrapped, 1, length(wrapped) - 1) || x'00'",
        "UPDATE wrapped_key SET context = zeroblob(32)",
        "DELETE FROM wrapped_key",
    ],
    ids=["altered", "another context", "removed"],
)
def test_an_altered_or_removed_wrapped_key_opens_nothing(own_server, statement):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA)
    s3.put_object(Bucket="bbb", Key="kept", Body=DATA)
    (row,) = rows(catalog(own_server), "SELECT data_key FROM version WHERE key = ?", b"k")
    own_server.terminate()
    with database(keyring(own_server)) as connection:
        assert connection.execute(f"{statement} WHERE id = ?", (row["data_key"],)).rowcount == 1
    own_server.start()
    check_refused(own_server, "k", 0)
    assert body(s3, "bbb", "kept") == DATA


def test_two_wrapped_keys_that_trade_places_open_nothing(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    for key in ("one", "two"):
        s3.put_object(Bucket="bbb", Key=key, Body=DATA)
    own_server.terminate()
    (one,), (two,) = (
        rows(catalog(own_server), "SELECT data_key FROM version WHERE key = ?", key) for key in (b"one", b"two")
    )
    with database(keyring(own_server)) as connection:
        kept = {row["id"]: row for row in connection.execute("SELECT id, wrapped, context FROM wrapped_key")}
        for to, source in ((one, two), (two, one)):
            connection.execute(
                "UPDATE wrapped_key SET wrapped = ?, context = ? WHERE id = ?",
                (kept[source["data_key"]]["wrapped"], kept[source["data_key"]]["context"], to["data_key"]),
            )
    own_server.start()
    for key in ("one", "two"):
        check_refused(own_server, key, 0)
