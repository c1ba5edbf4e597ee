"""Before each answer, in order: the blob file, each directory made or changed and the keyring; then the catalog.

One server runs under strace; each test then looks at one request. That the check is not blind is tested too: with any
kind of sync taken out of the trace, it fails.
"""

import shutil

import pytest

from painted import painted
from server import Server
from strace import SYNCS, Window, calls, check_blobs_durable, check_database_durable, strace, window

SMALLEST_PART = 5 << 20


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """What one server did, request after request; and its folder."""
    assert shutil.which("strace"), "strace is not installed"
    folder = tmp_path_factory.mktemp("traced")
    server = Server(folder / "data", wrapper=strace(folder / "trace"))
    with server.start():
        s3 = server.s3()
        s3.create_bucket(Bucket="bbb")
        s3.put_object(Bucket="bbb", Key="small", Body=painted(100))
        s3.put_object(Bucket="bbb", Key="large", Body=painted(3_000_000))
        s3.put_object(Bucket="bbb", Key="empty", Body=b"")
        s3.put_object(Bucket="bbb", Key="twice", Body=b"first")
        s3.put_object(Bucket="bbb", Key="twice", Body=b"second", ContentType="text/x-second")
        s3.copy_object(Bucket="bbb", Key="copy", CopySource="bbb/small")
        started = s3.create_multipart_upload(Bucket="bbb", Key="parts")
        upload = {"Bucket": "bbb", "Key": "parts", "UploadId": started["UploadId"]}
        etags = [
            s3.upload_part(**upload, PartNumber=1, Body=painted(SMALLEST_PART))["ETag"],
            s3.upload_part_copy(**upload, PartNumber=2, CopySource="bbb/small")["CopyPartResult"]["ETag"],
        ]
        s3.complete_multipart_upload(
            **upload,
            MultipartUpload={"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]},
        )
        s3.delete_object(Bucket="bbb", Key="small")
        server.terminate()
    return calls((folder / "trace").read_text(errors="replace")), server, upload["UploadId"]


def check_write(seen: Window, server, *, blob: bool, keyring: bool) -> None:
    data = str(server.data)
    before_catalog = -1
    if blob:
        before_catalog = check_blobs_durable(seen, f"{data}/blobs")
    if keyring:
        before_catalog = max(before_catalog, check_database_durable(seen, f"{data}/keyring.sqlite", -1, "the keyring"))
    check_database_durable(seen, f"{data}/catalog.sqlite", before_catalog, "the catalog")


@pytest.mark.parametrize(
    "line, blob, keyring",
    [
        ("PUT /bbb", False, True),
        ("PUT /bbb/small", True, True),
        ("PUT /bbb/large", True, True),
        ("PUT /bbb/empty", True, True),
        ("PUT /bbb/copy", True, True),
        ("POST /bbb/parts?uploads", False, True),
        ("PUT /bbb/parts?uploadId={upload}&partNumber=1", True, False),
        ("PUT /bbb/parts?uploadId={upload}&partNumber=2", True, False),
        ("POST /bbb/parts?uploadId={upload}", False, False),
    ],
)
def test_an_answer_comes_only_when_all_is_durable_in_order(traced, line, blob, keyring):
    seen, server, upload_id = traced
    check_write(window(seen, line.format(upload=upload_id)), server, blob=blob, keyring=keyring)


def test_a_delete_answers_when_the_catalog_and_then_the_keyring_have_forgotten(traced):
    seen, server, _ = traced
    of_delete = window(seen, "DELETE /bbb/small")
    gone = check_database_durable(of_delete, f"{server.data}/catalog.sqlite", -1, "the catalog")
    check_database_durable(of_delete, f"{server.data}/keyring.sqlite", gone, "the keyring")


@pytest.mark.parametrize(
    "name, taken_out",
    {
        "the blob file": lambda path, data: (
            path.startswith(f"{data}/blobs/") and len(path.split("/")[-1]) == 32 and len(path.split("/")[-2]) == 2
        ),
        "the directories": lambda path, data: path.startswith(f"{data}/blobs") and len(path.split("/")[-1]) == 2,
        "the keyring": lambda path, data: path.startswith(f"{data}/keyring.sqlite"),
        "the catalog": lambda path, data: path.startswith(f"{data}/catalog.sqlite"),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_check_notices_each_sync_that_is_missing(traced, name, taken_out):
    seen, server, _ = traced
    blinded = window(seen, "PUT /bbb/large").without(
        lambda one: one.name in SYNCS and taken_out(one.path or "", str(server.data))
    )
    with pytest.raises(AssertionError, match="no fsync"):
        check_write(blinded, server, blob=True, keyring=True)


def test_the_check_notices_a_catalog_that_is_ahead(traced):
    """Its commit moved before everything else: the order is wrong although nothing is missing."""
    seen, server, _ = traced
    right = window(seen, "PUT /bbb/large")
    of_catalog = [one for one in right.calls if (one.path or "").startswith(f"{server.data}/catalog.sqlite")]
    early = [type(one)(-10, -10, one.name, one.text, one.failed) for one in of_catalog]
    ahead = Window([*early, *(one for one in right.calls if one not in of_catalog)], right.answered_at)
    with pytest.raises(AssertionError, match="catalog"):
        check_write(ahead, server, blob=True, keyring=True)
