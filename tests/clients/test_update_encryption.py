"""UpdateObjectEncryption: another wrapping, and nothing else of the object changes."""

import concurrent.futures
import contextlib
import threading

import pytest
from botocore.exceptions import ClientError

from disk import blobs, catalog, keyring, rows
from modes import (
    ALIAS,
    DSSE,
    OTHER_ALIAS,
    SSE_C,
    SSE_KMS,
    SSE_KMS_BUCKET_KEY,
    SSE_S3,
    SSE_S3_BUCKET_KEY,
    allow_customer_keys,
    make_aliases,
    set_plaintext,
)
from painted import painted
from refusal import body, refused
from server import poll
from test_keys import keys, run
from wire import exchange, sign

DATA = painted(40_000)
PART = painted(5 << 20)
ARN = "arn:aws:kms:us-east-1:000000000000:key/"


@pytest.fixture
def filled(own_server):
    make_aliases(own_server)
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    allow_customer_keys(s3, "bbb")
    return own_server


def arn(server, alias: str) -> str:
    (found,) = [key["id"] for key in keys(server, "list") if key["alias"] == alias and key["current"]]
    return ARN + found


def update(server, key: str, key_arn: str, **more) -> None:
    kms = {"KMSKeyArn": key_arn, **more}
    server.s3().update_object_encryption(Bucket="bbb", Key=key, ObjectEncryption={"SSEKMS": kms})


def seen(s3, key: str) -> dict:
    head = s3.head_object(Bucket="bbb", Key=key, ChecksumMode="ENABLED")
    return {name: head.get(name) for name in ("ETag", "LastModified", "ContentLength", "ChecksumCRC32", "Metadata")}


@pytest.mark.parametrize(
    "source", [SSE_S3, SSE_S3_BUCKET_KEY, SSE_KMS, SSE_KMS_BUCKET_KEY], ids=lambda mode: mode.name
)
@pytest.mark.parametrize("bucket_key", [False, True])
def test_only_the_wrapping_changes(filled, source, bucket_key):
    s3 = filled.s3()
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, Metadata={"a": "b"}, ChecksumAlgorithm="CRC32", **source.write)
    before, there = seen(s3, "k"), {path: path.read_bytes() for path in blobs(filled)}
    (old,) = rows(keyring(filled), "SELECT id, wrapped FROM wrapped_key WHERE kind = 2")
    wanted = arn(filled, OTHER_ALIAS)
    update(filled, "k", wanted, BucketKeyEnabled=bucket_key)
    assert seen(s3, "k") == before
    assert {path: path.read_bytes() for path in blobs(filled)} == there, "no byte of data moved"
    head = s3.head_object(Bucket="bbb", Key="k")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", wanted)
    assert head.get("BucketKeyEnabled", False) == bucket_key
    assert body(s3, "bbb", "k") == DATA
    assert body(s3, "bbb", "k", Range="bytes=17000-35000") == DATA[17_000:35_001]
    (new,) = rows(keyring(filled), "SELECT id, wrapped FROM wrapped_key WHERE kind = 2")
    assert new["id"] != old["id"] and old["wrapped"] not in keyring(filled).read_bytes(), "the first is erased"
    filled.restart()
    assert body(filled.s3(), "bbb", "k") == DATA


def test_a_multipart_object_keeps_its_parts(filled):
    s3 = filled.s3()
    started = s3.create_multipart_upload(Bucket="bbb", Key="m")
    upload = {"Bucket": "bbb", "Key": "m", "UploadId": started["UploadId"]}
    tags = [s3.upload_part(**upload, PartNumber=n, Body=data)["ETag"] for n, data in enumerate([PART, DATA], 1)]
    parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
    tag = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})["ETag"]
    update(filled, "m", arn(filled, ALIAS))
    assert s3.head_object(Bucket="bbb", Key="m")["ETag"] == tag
    assert body(s3, "bbb", "m") == PART + DATA


def test_the_old_master_key_is_needed_no_more(filled):
    s3 = filled.s3()
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, **SSE_KMS.write)
    update(filled, "k", arn(filled, OTHER_ALIAS))
    run(filled, "disable", ALIAS)
    assert body(s3, "bbb", "k") == DATA
    run(filled, "disable", OTHER_ALIAS)
    with refused("KMS.DisabledException", status=400):
        s3.get_object(Bucket="bbb", Key="k")


@pytest.mark.parametrize("source", [DSSE, SSE_C], ids=lambda mode: mode.name)
def test_other_sources_are_refused_and_stay_as_they_are(filled, source):
    s3 = filled.s3()
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, **source.write)
    with refused("InvalidRequest", status=400):
        update(filled, "k", arn(filled, ALIAS))
    assert body(s3, "bbb", "k", **source.read) == DATA


def test_a_plaintext_source_is_refused(filled):
    s3 = filled.s3()
    set_plaintext(filled, "bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA)
    with refused("InvalidRequest", status=400):
        update(filled, "k", arn(filled, ALIAS))
    assert body(s3, "bbb", "k") == DATA


def test_what_names_no_key_of_ours_changes_nothing(filled):
    s3 = filled.s3()
    s3.put_object(Bucket="bbb", Key="k", Body=DATA)
    with refused("KMS.NotFoundException", status=400):
        update(filled, "k", ARN + "00" * 16)
    with refused("AccessDenied", status=403):
        update(filled, "k", arn(filled, ALIAS).replace("000000000000", "111122223333"))
    for name in (f"alias/{ALIAS}-with-some-length", arn(filled, ALIAS).split("key/")[0] + f"alias/{ALIAS}"):
        with refused("InvalidRequest", status=400):
            update(filled, "k", name)
    with refused("NoSuchKey", status=404):
        update(filled, "nobody", arn(filled, ALIAS))
    run(filled, "disable", ALIAS)
    with refused("KMS.DisabledException", status=400):
        update(filled, "k", arn(filled, ALIAS))
    assert s3.head_object(Bucket="bbb", Key="k")["ServerSideEncryption"] == "AES256"
    assert body(s3, "bbb", "k") == DATA
    assert len(rows(keyring(filled), "SELECT id FROM wrapped_key WHERE kind = 2")) == 1


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "MalformedXML"),
        (b"<ObjectEncryption/>", "InvalidRequest"),
        (b"<ObjectEncryption><SSE-S3/></ObjectEncryption>", "InvalidRequest"),
        (b"<ObjectEncryption><SSE-KMS/></ObjectEncryption>", "InvalidRequest"),
        (b"<ObjectEncryption><SSE-KMS>", "MalformedXML"),
    ],
)
def test_a_document_that_asks_for_nothing_that_is_done_is_refused(filled, document, code):
    filled.s3().put_object(Bucket="bbb", Key="k", Body=DATA)
    answer = exchange(filled, sign(filled, "PUT", "/bbb/k?encryption=", body=document))
    assert (answer.status, answer.code) == (400, code)
    assert body(filled.s3(), "bbb", "k") == DATA


def test_a_crash_in_the_middle_leaves_an_object_that_opens_and_no_second_key(filled):
    filled.s3().put_object(Bucket="bbb", Key="k", Body=DATA)
    wanted = [arn(filled, ALIAS), arn(filled, OTHER_ALIAS)]
    for _ in range(5):
        done = []

        def go_on():
            with contextlib.suppress(Exception):
                while True:
                    update(filled, "k", wanted[len(done) % 2])
                    done.append(True)

        worker = threading.Thread(target=go_on)
        worker.start()
        poll("some updates are done", lambda: len(done) > 3, every_s=0.001)
        filled.kill9()
        worker.join()
        filled.start()
        assert body(filled.s3(), "bbb", "k") == DATA
    (version,) = rows(catalog(filled), "SELECT data_key FROM version")
    kept = lambda: [row["id"] for row in rows(keyring(filled), "SELECT id FROM wrapped_key WHERE kind = 2")]  # noqa: E731
    poll("what was left is swept", lambda: kept() == [version["data_key"]])


def test_updates_and_overwrites_side_by_side_leave_what_was_written_last(filled):
    s3, key_arn = filled.s3(), arn(filled, ALIAS)
    s3.put_object(Bucket="bbb", Key="k", Body=DATA)

    def one(number: int) -> None:
        if number % 2:
            s3.put_object(Bucket="bbb", Key="k", Body=painted(1_000, seed=number))
        else:
            with contextlib.suppress(ClientError):
                update(filled, "k", key_arn, BucketKeyEnabled=bool(number % 4))
        assert len(body(s3, "bbb", "k")) in (1_000, len(DATA))

    with concurrent.futures.ThreadPoolExecutor(8) as workers:
        list(workers.map(one, range(40)))
    s3.put_object(Bucket="bbb", Key="k", Body=DATA)
    update(filled, "k", key_arn)
    assert body(s3, "bbb", "k") == DATA
    assert len(rows(keyring(filled), "SELECT id FROM wrapped_key WHERE kind = 2")) == 1
