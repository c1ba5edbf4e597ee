"""SSE-C: a key that comes with each request and stays nowhere; what is asked without it, or with another, is refused."""

import concurrent.futures

import pytest

from disk import files, keyring, rows
from modes import (
    CUSTOMER_KEY,
    OTHER_CUSTOMER_KEY,
    allow_customer_keys,
    customer,
    customer_headers,
    customer_of_source,
    set_plaintext,
)
from painted import md5_base64, md5_hex, painted
from refusal import absent, body, refused
from test_keys import keys
from wire import exchange, sign

DATA = painted(30_000)
ALGORITHM, KEY, MD5 = (f"x-amz-server-side-encryption-customer-{name}" for name in ("algorithm", "key", "key-md5"))
OTHER = customer(OTHER_CUSTOMER_KEY)


@pytest.fixture
def open_bucket(s3, bucket) -> str:
    """A bucket that takes customer keys."""
    allow_customer_keys(s3, bucket)
    return bucket


@pytest.fixture
def there(s3, open_bucket) -> str:
    """A bucket with an object under a customer key, `k`, and one without, `plain`."""
    s3.put_object(Bucket=open_bucket, Key="k", Body=DATA, **customer())
    s3.put_object(Bucket=open_bucket, Key="plain", Body=DATA)
    return open_bucket


def put(server, bucket: str, headers: dict, method: str = "PUT", query: str = "") -> tuple:
    answer = exchange(server, sign(server, method, f"/{bucket}/new{query}", headers=headers, body=DATA))
    return answer.status, answer.code


# Blocked


def test_a_new_bucket_blocks_customer_keys_on_every_write_and_stores_nothing(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=DATA)
    with refused("AccessDenied", status=403):
        s3.put_object(Bucket=bucket, Key="k", Body=DATA, **customer())
    with refused("AccessDenied", status=403):
        s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/source", **customer())
    with refused("AccessDenied", status=403):
        s3.create_multipart_upload(Bucket=bucket, Key="k", **customer())
    assert absent(s3, bucket, "k")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_blocking_leaves_what_is_stored_readable(s3, there):
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
    }
    s3.put_bucket_encryption(Bucket=there, ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert body(s3, there, "k", **customer()) == DATA
    with refused("AccessDenied", status=403):
        s3.put_object(Bucket=there, Key="k", Body=b"new", **customer())
    s3.copy_object(Bucket=there, Key="copy", CopySource=f"{there}/k", **customer_of_source())
    assert body(s3, there, "copy") == DATA


def test_a_server_may_let_new_buckets_take_customer_keys(make_server):
    server = make_server(arguments=("--new-buckets-take-sse-c",)).start()
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, **customer())
    assert body(s3, "bbb", "k", **customer()) == DATA


# Headers


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({ALGORITHM: "AES128"}, {"InvalidEncryptionAlgorithmError", "InvalidArgument"}),
        ({ALGORITHM: "aws:kms"}, {"InvalidEncryptionAlgorithmError", "InvalidArgument"}),
        ({ALGORITHM: None}, {"InvalidArgument"}),
        ({KEY: None}, {"InvalidArgument"}),
        ({KEY: "AQIDBA==", MD5: md5_base64(bytes([1, 2, 3, 4]))}, {"InvalidArgument"}),
        ({KEY: "no base64!"}, {"InvalidArgument"}),
        ({MD5: None}, {"InvalidArgument"}),
        ({MD5: md5_base64(b"another")}, {"InvalidArgument"}),
        ({MD5: "nonsense"}, {"InvalidArgument"}),
        ({"x-amz-server-side-encryption": "AES256"}, {"InvalidArgument"}),
        ({"x-amz-server-side-encryption": "aws:kms"}, {"InvalidArgument"}),
        ({"x-amz-server-side-encryption-aws-kms-key-id": "a"}, {"InvalidArgument"}),
        ({"x-amz-server-side-encryption-context": "e30="}, {"InvalidArgument"}),
        ({"x-amz-server-side-encryption-bucket-key-enabled": "true"}, {"InvalidArgument"}),
    ],
    ids=lambda value: "-".join(f"{name[-12:]}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
def test_headers_that_are_wrong_or_contradict_each_other_store_nothing(server, s3, open_bucket, change, codes):
    s3.put_object(Bucket=open_bucket, Key="source", Body=DATA)
    headers = {name: value for name, value in {**customer_headers(), **change}.items() if value is not None}
    answers = [
        put(server, open_bucket, headers),
        put(server, open_bucket, {**headers, "x-amz-copy-source": f"{open_bucket}/source"}),
        put(server, open_bucket, headers, "POST", "?uploads="),
    ]
    assert all(status == 400 and code in codes for status, code in answers), answers
    assert absent(s3, open_bucket, "new")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=open_bucket)


def test_a_source_key_belongs_to_copies_only(server, s3, open_bucket):
    headers = customer_headers(prefix="x-amz-copy-source-")
    assert put(server, open_bucket, headers) == (400, "InvalidArgument")
    assert put(server, open_bucket, headers, "POST", "?uploads=") == (400, "InvalidArgument")
    assert absent(s3, open_bucket, "new")


# Reads


def test_without_the_key_nothing_is_read(s3, there):
    for read in (s3.get_object, s3.head_object):
        with refused("InvalidRequest", "400", status=400):
            read(Bucket=there, Key="k")
    with refused("InvalidRequest", status=400):
        s3.copy_object(Bucket=there, Key="new", CopySource=f"{there}/k")
    assert absent(s3, there, "new")


def test_another_key_is_a_403(s3, there):
    for read in (s3.get_object, s3.head_object):
        with refused("AccessDenied", "403", status=403):
            read(Bucket=there, Key="k", **OTHER)
    with refused("AccessDenied", status=403):
        s3.copy_object(Bucket=there, Key="new", CopySource=f"{there}/k", **customer_of_source(OTHER_CUSTOMER_KEY))
    assert absent(s3, there, "new")


def test_a_key_for_an_object_that_has_none_is_a_400(server, s3, there):
    set_plaintext(server, there)
    s3.put_object(Bucket=there, Key="in the clear", Body=DATA)
    for key in ("plain", "in the clear"):
        for read in (s3.get_object, s3.head_object):
            with refused("InvalidRequest", "400", status=400):
                read(Bucket=there, Key=key, **customer())
    with refused("InvalidRequest", status=400):
        s3.copy_object(Bucket=there, Key="new", CopySource=f"{there}/plain", **customer_of_source())
    assert absent(s3, there, "new")


def test_a_condition_tells_nothing_without_the_key(s3, there):
    tag = s3.head_object(Bucket=there, Key="k", **customer())["ETag"]
    with refused("InvalidRequest", "400", status=400):
        s3.head_object(Bucket=there, Key="k", IfNoneMatch=tag)
    with refused("304", status=304):
        s3.head_object(Bucket=there, Key="k", IfNoneMatch=tag, **customer())


def test_a_listing_and_a_delete_need_no_key(s3, there):
    assert "k" in [entry["Key"] for entry in s3.list_objects_v2(Bucket=there)["Contents"]]
    s3.delete_object(Bucket=there, Key="k")
    with refused("404", status=404):
        s3.head_object(Bucket=there, Key="k", **customer())


def test_an_object_is_copied_from_key_to_key(s3, there):
    s3.copy_object(Bucket=there, Key="k", CopySource=f"{there}/k", **customer_of_source(), **OTHER)
    assert body(s3, there, "k", **OTHER) == DATA
    with refused("AccessDenied", status=403):
        s3.get_object(Bucket=there, Key="k", **customer())


# Multipart


@pytest.fixture
def upload(s3, open_bucket) -> dict:
    started = s3.create_multipart_upload(Bucket=open_bucket, Key="m", **customer())
    return {"Bucket": open_bucket, "Key": "m", "UploadId": started["UploadId"]}


def test_a_part_brings_the_key_of_its_upload_and_no_other(s3, upload):
    bucket = upload["Bucket"]
    s3.put_object(Bucket=bucket, Key="source", Body=DATA)
    source = {"CopySource": f"{bucket}/source"}
    for wrong in ({}, OTHER):
        with refused("InvalidRequest", status=400):
            s3.upload_part(**upload, PartNumber=1, Body=DATA, **wrong)
        with refused("InvalidRequest", status=400):
            s3.upload_part_copy(**upload, PartNumber=1, **source, **wrong)
    assert "Parts" not in s3.list_parts(**upload)
    tag = s3.upload_part(**upload, PartNumber=1, Body=DATA, **customer())["ETag"]
    with refused("InvalidRequest", status=400):
        parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
        s3.complete_multipart_upload(**upload, MultipartUpload=parts, **OTHER)
    s3.complete_multipart_upload(**upload, MultipartUpload=parts, **customer())
    assert body(s3, bucket, "m", **customer()) == DATA


def test_a_part_brings_no_key_to_an_upload_without(s3, open_bucket):
    started = s3.create_multipart_upload(Bucket=open_bucket, Key="m")
    upload = {"Bucket": open_bucket, "Key": "m", "UploadId": started["UploadId"]}
    with refused("InvalidRequest", status=400):
        s3.upload_part(**upload, PartNumber=1, Body=DATA, **customer())
    assert "Parts" not in s3.list_parts(**upload)


def test_an_upload_goes_on_and_is_completed_although_the_bucket_blocks_since(s3, upload):
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
    }
    s3.put_bucket_encryption(Bucket=upload["Bucket"], ServerSideEncryptionConfiguration={"Rules": [rule]})
    tag = s3.upload_part(**upload, PartNumber=1, Body=DATA, **customer())["ETag"]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    assert body(s3, upload["Bucket"], "m", **customer()) == DATA


# At rest


def test_the_key_is_nowhere_below_the_data_folder_or_in_the_log(make_server):
    server = make_server(log_level="trace").start()
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    allow_customer_keys(s3, "bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, **customer())
    assert body(s3, "bbb", "k", **customer()) == DATA
    with refused("AccessDenied", status=403):
        s3.get_object(Bucket="bbb", Key="k", **OTHER)
    base64_key = customer_headers()[KEY].encode()
    for path in [*files(server), server.log_path]:
        held = path.read_bytes()
        for secret in (CUSTOMER_KEY, base64_key, CUSTOMER_KEY.hex().encode()):
            assert secret not in held, path
        for fingerprint in (md5_base64(CUSTOMER_KEY).encode(), bytes.fromhex(md5_hex(CUSTOMER_KEY))):
            assert fingerprint not in held, path


def test_the_hsm_opens_nothing_of_it_and_administrators_are_told_so(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    allow_customer_keys(s3, "bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, **customer())
    (row,) = rows(keyring(own_server), "SELECT parent, wrapped FROM wrapped_key WHERE kind = 2")
    assert (row["parent"], row["wrapped"][0]) == (bytes(16), 3)
    keys(own_server, "rotate", "default")
    moved = keys(own_server, "rewrap", "default")
    assert (moved["moved"], moved["skipped"], moved["failed"]) == (2, 1, 0)
    verified = keys(own_server, "verify")
    assert (verified["readable"], verified["skipped"], verified["unreadable"]) == (2, 1, [])
    own_server.restart()
    assert body(own_server.s3(), "bbb", "k", **customer()) == DATA


def test_a_row_that_was_altered_is_damage_and_not_a_wrong_key(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    allow_customer_keys(s3, "bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=DATA, **customer())
    (row,) = rows(keyring(own_server), "SELECT id, wrapped FROM wrapped_key WHERE kind = 2")
    altered = row["wrapped"][:-1] + bytes([row["wrapped"][-1] ^ 1])
    rows(keyring(own_server), "UPDATE wrapped_key SET wrapped = ? WHERE id = ?", altered, row["id"])
    with refused("InternalError", status=500):
        s3.get_object(Bucket="bbb", Key="k", **customer())


def test_keys_of_many_customers_stay_apart(s3, open_bucket):
    def one(number: int) -> None:
        own = customer(bytes([number]) * 32)
        s3.put_object(Bucket=open_bucket, Key=f"k{number}", Body=painted(9_000, seed=number), **own)
        assert body(s3, open_bucket, f"k{number}", **own) == painted(9_000, seed=number)

    with concurrent.futures.ThreadPoolExecutor(8) as workers:
        list(workers.map(one, range(24)))


def test_the_aws_cli_brings_a_customer_key(server, s3, open_bucket, tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    (tmp_path / "key").write_bytes(CUSTOMER_KEY)
    own = ("--sse-c", "AES256", "--sse-c-key", f"fileb://{tmp_path}/key")
    server.aws("s3", "cp", tmp_path / "source", f"s3://{open_bucket}/k", *own)
    server.aws("s3", "cp", f"s3://{open_bucket}/k", tmp_path / "back", *own)
    assert (tmp_path / "back").read_bytes() == DATA
    assert server.aws("s3", "cp", f"s3://{open_bucket}/k", tmp_path / "without", check=False).returncode != 0
