"""Multipart uploads: parts of any size and number become one object, once, and only when they are all right."""

import hashlib

import pytest

from painted import md5_hex, multipart_etag, painted
from refusal import absent, body, refused

MIB = 1 << 20
SMALLEST = 5 * MIB


def begin(s3, bucket, key="k", **options) -> str:
    return s3.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]


def upload(s3, bucket, upload_id, number, data, key="k", **options) -> dict:
    """Uploads one part and gives its entry for Complete."""
    answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data, **options)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3, bucket, upload_id, entries, key="k", **options) -> dict:
    return s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": entries}, **options
    )


def put_parts(s3, bucket, parts: dict[int, bytes], key="k", **options) -> dict:
    upload_id = begin(s3, bucket, key, **options)
    entries = [upload(s3, bucket, upload_id, number, data, key) for number, data in parts.items()]
    return complete(s3, bucket, upload_id, sorted(entries, key=lambda entry: entry["PartNumber"]), key)


@pytest.mark.parametrize(
    "lengths",
    [
        [1],
        [0],
        [17],
        [SMALLEST],
        [SMALLEST, 1],
        [SMALLEST, 0],
        [SMALLEST + 1, SMALLEST + 15, 17],
        [SMALLEST + 16383, SMALLEST + 16385, SMALLEST],
    ],
    ids=str,
)
def test_parts_of_odd_sizes_become_one_object(s3, bucket, lengths):
    parts = {number: painted(length, number) for number, length in enumerate(lengths, 1)}
    done = put_parts(s3, bucket, parts)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(parts.values())
    assert done["ETag"] == got["ETag"] == multipart_etag(list(parts.values()))
    assert got["ContentLength"] == sum(lengths)


@pytest.mark.large
def test_a_gibibyte_in_parts_comes_back(s3, bucket):
    part_len, part_count = 32 * MIB, 32
    upload_id, entries, sent = begin(s3, bucket), [], hashlib.sha256()
    for number in range(1, part_count + 1):
        data = painted(part_len, number)
        sent.update(data)
        entries.append(upload(s3, bucket, upload_id, number, data))
    complete(s3, bucket, upload_id, entries)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["ContentLength"] == part_len * part_count
    received = hashlib.sha256()
    for piece in got["Body"].iter_chunks(MIB):
        received.update(piece)
    assert received.digest() == sent.digest()


def test_part_numbers_may_have_gaps_and_come_in_any_order(s3, bucket):
    parts = {10000: painted(5, 3), 2: painted(SMALLEST, 1), 777: painted(SMALLEST + 3, 2)}
    put_parts(s3, bucket, parts)
    assert body(s3, bucket, "k") == parts[2] + parts[777] + parts[10000]


def test_a_part_uploaded_twice_counts_once_and_the_last_wins(s3, bucket):
    upload_id = begin(s3, bucket)
    first = upload(s3, bucket, upload_id, 1, painted(SMALLEST, 1))
    second = upload(s3, bucket, upload_id, 1, painted(SMALLEST + 1, 2))
    last = upload(s3, bucket, upload_id, 2, b"end")
    with refused("InvalidPart", status=400):
        complete(s3, bucket, upload_id, [first, last])
    complete(s3, bucket, upload_id, [second, last])
    assert body(s3, bucket, "k") == painted(SMALLEST + 1, 2) + b"end"


def test_parts_left_out_of_complete_are_left_out_of_the_object(s3, bucket):
    upload_id = begin(s3, bucket)
    entries = [upload(s3, bucket, upload_id, number, painted(SMALLEST, number)) for number in (1, 2, 3)]
    complete(s3, bucket, upload_id, [entries[0], entries[2]])
    assert body(s3, bucket, "k") == painted(SMALLEST, 1) + painted(SMALLEST, 3)


def test_an_upload_shows_no_object_before_it_is_complete(s3, bucket):
    upload_id = begin(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"x")
    assert absent(s3, bucket, "k")


def test_metadata_given_at_the_start_is_the_object_s(s3, bucket):
    upload_id = begin(s3, bucket, Metadata={"colour": "blue"}, ContentType="text/x-parts", CacheControl="no-store")
    complete(s3, bucket, upload_id, [upload(s3, bucket, upload_id, 1, b"x")])
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["Metadata"], head["ContentType"], head["CacheControl"]) == (
        {"colour": "blue"},
        "text/x-parts",
        "no-store",
    )


# What is refused, and leaves the upload as it was


def test_a_part_too_small_is_refused_unless_it_is_the_last(s3, bucket):
    upload_id = begin(s3, bucket)
    entries = [upload(s3, bucket, upload_id, 1, painted(SMALLEST - 1)), upload(s3, bucket, upload_id, 2, b"end")]
    with refused("EntityTooSmall", status=400):
        complete(s3, bucket, upload_id, entries)
    assert absent(s3, bucket, "k")
    assert len(s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)["Parts"]) == 2


def test_a_part_that_was_never_uploaded_is_refused(s3, bucket):
    upload_id = begin(s3, bucket)
    entry = upload(s3, bucket, upload_id, 1, painted(SMALLEST))
    with refused("InvalidPart", status=400):
        complete(s3, bucket, upload_id, [entry, {"PartNumber": 2, "ETag": entry["ETag"]}])
    assert absent(s3, bucket, "k")


def test_a_part_with_another_etag_is_refused(s3, bucket):
    upload_id = begin(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"x")
    with refused("InvalidPart", status=400):
        complete(s3, bucket, upload_id, [{"PartNumber": 1, "ETag": f'"{md5_hex(b"y")}"'}])


@pytest.mark.parametrize("order", [(2, 1), (1, 1)], ids=["falling", "repeated"])
def test_parts_out_of_order_are_refused(s3, bucket, order):
    upload_id = begin(s3, bucket)
    entries = {number: upload(s3, bucket, upload_id, number, painted(SMALLEST)) for number in (1, 2)}
    with refused("InvalidPartOrder", status=400):
        complete(s3, bucket, upload_id, [entries[number] for number in order])
    assert absent(s3, bucket, "k")


def test_complete_without_parts_is_refused(s3, bucket):
    upload_id = begin(s3, bucket)
    with refused("MalformedXML", "InvalidRequest", status=400):
        complete(s3, bucket, upload_id, [])


@pytest.mark.parametrize("number", [0, -1, 10001])
def test_a_part_number_outside_1_to_10000_is_refused(s3, bucket, number):
    upload_id = begin(s3, bucket)
    with refused("InvalidArgument", status=400):
        upload(s3, bucket, upload_id, number, b"x")
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)


def test_an_unknown_upload_is_refused_everywhere(s3, bucket):
    never = begin(s3, bucket)
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=never)
    for upload_id in (never, "nonsense", "../../etc"):
        with refused("NoSuchUpload", status=404):
            upload(s3, bucket, upload_id, 1, b"x")
        with refused("NoSuchUpload", status=404):
            complete(s3, bucket, upload_id, [{"PartNumber": 1, "ETag": f'"{md5_hex(b"x")}"'}])
        with refused("NoSuchUpload", status=404):
            s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
        with refused("NoSuchUpload", status=404):
            s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)


def test_an_upload_belongs_to_its_key(s3, bucket):
    upload_id = begin(s3, bucket, key="mine")
    with refused("NoSuchUpload", status=404):
        upload(s3, bucket, upload_id, 1, b"x", key="other")


def test_starting_in_no_bucket_is_refused(s3):
    with refused("NoSuchBucket", status=404):
        begin(s3, "no-such-bucket-here")


# The end of an upload


def test_an_aborted_upload_leaves_nothing_visible(s3, bucket):
    upload_id = begin(s3, bucket)
    entry = upload(s3, bucket, upload_id, 1, b"x")
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    with refused("NoSuchUpload", status=404):
        complete(s3, bucket, upload_id, [entry])
    assert absent(s3, bucket, "k")


def test_complete_twice_answers_the_same(s3, bucket):
    upload_id = begin(s3, bucket)
    entries = [upload(s3, bucket, upload_id, 1, b"only")]
    first, again = (complete(s3, bucket, upload_id, entries) for _ in range(2))
    assert first["ETag"] == again["ETag"]
    assert body(s3, bucket, "k") == b"only"


def test_a_completed_upload_takes_no_more_parts(s3, bucket):
    upload_id = begin(s3, bucket)
    complete(s3, bucket, upload_id, [upload(s3, bucket, upload_id, 1, b"only")])
    with refused("NoSuchUpload", status=404):
        upload(s3, bucket, upload_id, 2, b"late")
    assert body(s3, bucket, "k") == b"only"


def test_two_uploads_of_one_key_do_not_mix(s3, bucket):
    one, two = begin(s3, bucket), begin(s3, bucket)
    of_one, of_two = upload(s3, bucket, one, 1, b"one"), upload(s3, bucket, two, 1, b"two")
    complete(s3, bucket, two, [of_two])
    assert body(s3, bucket, "k") == b"two"
    complete(s3, bucket, one, [of_one])
    assert body(s3, bucket, "k") == b"one"


def test_complete_obeys_if_none_match(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    upload_id = begin(s3, bucket)
    entry = upload(s3, bucket, upload_id, 1, b"late")
    with refused("PreconditionFailed", status=412):
        complete(s3, bucket, upload_id, [entry], IfNoneMatch="*")
    assert body(s3, bucket, "k") == b"there"


def test_complete_obeys_the_size_it_was_told(s3, bucket):
    upload_id = begin(s3, bucket)
    entry = upload(s3, bucket, upload_id, 1, b"four")
    with refused("InvalidRequest", status=400):
        complete(s3, bucket, upload_id, [entry], MpuObjectSize=5)
    complete(s3, bucket, upload_id, [entry], MpuObjectSize=4)


# Lists


def test_parts_are_listed_in_order_and_by_pages(s3, bucket):
    upload_id = begin(s3, bucket)
    lengths = {number: number * 3 for number in (9, 1, 4, 7, 2)}
    for number, length in lengths.items():
        upload(s3, bucket, upload_id, number, painted(length))
    seen, marker, pages = [], 0, 0
    while True:
        page = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id, MaxParts=2, PartNumberMarker=marker)
        seen += [(part["PartNumber"], part["Size"], part["ETag"]) for part in page["Parts"]]
        pages += 1
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    assert pages == 3
    assert seen == [(n, lengths[n], f'"{md5_hex(painted(lengths[n]))}"') for n in sorted(lengths)]


def test_uploads_are_listed_by_pages(s3, bucket):
    expected = [(key, begin(s3, bucket, key)) for key in ("a", "b", "b", "c/1", "c/2", "d")]
    seen, markers = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2, **markers)
        seen += [(entry["Key"], entry["UploadId"]) for entry in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert seen == sorted(seen, key=lambda entry: entry[0])
    assert sorted(seen) == sorted(expected)


def test_uploads_are_listed_by_prefix_and_delimiter(s3, bucket):
    for key in ("a/1", "a/2", "b", "c/3"):
        begin(s3, bucket, key)
    under = s3.list_multipart_uploads(Bucket=bucket, Prefix="a/")
    assert [entry["Key"] for entry in under["Uploads"]] == ["a/1", "a/2"]
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [entry["Key"] for entry in rolled["Uploads"]] == ["b"]
    assert [entry["Prefix"] for entry in rolled["CommonPrefixes"]] == ["a/", "c/"]


# Reading by part


@pytest.fixture
def three_parts(s3, bucket) -> list[bytes]:
    parts = [painted(SMALLEST + 7, 1), painted(SMALLEST, 2), painted(77, 3)]
    put_parts(s3, bucket, dict(enumerate(parts, 1)))
    return parts


def test_a_part_can_be_read_by_its_number(s3, bucket, three_parts):
    start, total = 0, sum(map(len, three_parts))
    for number, data in enumerate(three_parts, 1):
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["Body"].read() == data
        assert got["ContentRange"] == f"bytes {start}-{start + len(data) - 1}/{total}"
        assert got["PartsCount"] == 3
        head = s3.head_object(Bucket=bucket, Key="k", PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"]) == (len(data), 3)
        start += len(data)


def test_the_count_of_parts_is_told_only_to_who_asks_for_a_part(s3, bucket, three_parts):
    assert "PartsCount" not in s3.head_object(Bucket=bucket, Key="k")


def test_a_part_number_the_object_lacks_is_refused(s3, bucket, three_parts):
    with refused("InvalidPartNumber", "InvalidRange", status=416):
        s3.get_object(Bucket=bucket, Key="k", PartNumber=4)
    with refused(status=416):
        s3.head_object(Bucket=bucket, Key="k", PartNumber=4)


@pytest.mark.parametrize("number", [0, 10001])
def test_a_read_of_an_impossible_part_number_is_refused(s3, bucket, three_parts, number):
    with refused("InvalidArgument", status=400):
        s3.get_object(Bucket=bucket, Key="k", PartNumber=number)


def test_an_object_put_whole_is_its_own_part_one(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"whole")
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=1)
    assert (got["Body"].read(), got["ContentRange"]) == (b"whole", "bytes 0-4/5")
    with refused("InvalidPartNumber", "InvalidRange", status=416):
        s3.get_object(Bucket=bucket, Key="k", PartNumber=2)


def test_a_part_number_and_a_range_together_are_refused(s3, bucket, three_parts):
    with refused("InvalidRequest", status=400):
        s3.get_object(Bucket=bucket, Key="k", PartNumber=1, Range="bytes=0-1")
