"""Listings: every key once, in the order of its UTF-8 bytes, whatever the page size, prefix or delimiter."""

import concurrent.futures

import pytest

from painted import md5_hex
from refusal import refused
from wire import exchange, sign

TREE = ["a", "a/", "a/1", "a/2", "a/b/3", "b", "b//4", "b//5", "c-x", "c-y/z", "é/6", "日/7", "z"]


@pytest.fixture(scope="module")
def tree(s3, module_bucket) -> str:
    for key in TREE:
        s3.put_object(Bucket=module_bucket, Key=key, Body=key.encode())
    return module_bucket


def in_order(keys) -> list[str]:
    return sorted(keys, key=str.encode)


def expected(prefix: str = "", delimiter: str = "") -> tuple[list[str], list[str]]:
    """What S3's documents say a listing of TREE holds: keys, and common prefixes."""
    keys, rolled = [], set()
    for key in in_order(TREE):
        rest = key[len(prefix) :] if key.startswith(prefix) else None
        if rest is None:
            continue
        cut = rest.find(delimiter) if delimiter else -1
        if cut < 0:
            keys.append(key)
        else:
            rolled.add(prefix + rest[: cut + len(delimiter)])
    return keys, in_order(rolled)


def found(page) -> tuple[list[str], list[str]]:
    return (
        [entry["Key"] for entry in page.get("Contents", [])],
        [entry["Prefix"] for entry in page.get("CommonPrefixes", [])],
    )


QUERIES = [
    ("", ""),
    ("a", ""),
    ("a/", ""),
    ("nothing", ""),
    ("", "/"),
    ("a", "/"),
    ("a/", "/"),
    ("a/b/", "/"),
    ("b", "//"),
    ("", "//"),
    ("", "-"),
    ("c", "-y/"),
    ("é", "/"),
    ("", "日"),
    ("b/", "/"),
    ("", "absent"),
]


@pytest.mark.parametrize("prefix, delimiter", QUERIES)
def test_version_2_lists_by_prefix_and_delimiter(s3, tree, prefix, delimiter):
    page = s3.list_objects_v2(Bucket=tree, Prefix=prefix, Delimiter=delimiter)
    assert found(page) == expected(prefix, delimiter)
    assert page["KeyCount"] == sum(map(len, expected(prefix, delimiter)))
    assert page["IsTruncated"] is False
    assert (page["Name"], page["Prefix"], page["MaxKeys"]) == (tree, prefix, 1000)


@pytest.mark.parametrize("prefix, delimiter", QUERIES)
def test_version_1_lists_by_prefix_and_delimiter(s3, tree, prefix, delimiter):
    page = s3.list_objects(Bucket=tree, Prefix=prefix, Delimiter=delimiter)
    assert found(page) == expected(prefix, delimiter)
    assert page["IsTruncated"] is False


@pytest.mark.parametrize("size", [1, 2, 3, 5, len(TREE), 1000])
@pytest.mark.parametrize("prefix, delimiter", [("", ""), ("", "/"), ("a/", "/"), ("b", "//")])
def test_version_2_pages_hold_each_entry_once(s3, tree, prefix, delimiter, size):
    keys, rolled, options = [], [], {}
    while True:
        page = s3.list_objects_v2(Bucket=tree, Prefix=prefix, Delimiter=delimiter, MaxKeys=size, **options)
        some_keys, some_rolled = found(page)
        assert page["KeyCount"] == len(some_keys) + len(some_rolled) <= size
        keys, rolled = keys + some_keys, rolled + some_rolled
        if not page["IsTruncated"]:
            break
        options = {"ContinuationToken": page["NextContinuationToken"]}
    assert (keys, rolled) == expected(prefix, delimiter)


@pytest.mark.parametrize("size", [1, 2, 3, 5, len(TREE)])
@pytest.mark.parametrize("prefix, delimiter", [("", ""), ("", "/"), ("a/", "/"), ("b", "//")])
def test_version_1_pages_hold_each_entry_once(s3, tree, prefix, delimiter, size):
    keys, rolled, marker = [], [], ""
    while True:
        page = s3.list_objects(Bucket=tree, Prefix=prefix, Delimiter=delimiter, MaxKeys=size, Marker=marker)
        some_keys, some_rolled = found(page)
        assert len(some_keys) + len(some_rolled) <= size
        keys, rolled = keys + some_keys, rolled + some_rolled
        if not page["IsTruncated"]:
            break
        # Without a delimiter S3 names no next marker: the last key is it.
        marker = page["NextMarker"] if delimiter else page.get("NextMarker", some_keys[-1])
    assert (keys, rolled) == expected(prefix, delimiter)


@pytest.mark.parametrize("after", ["", "a", "a/", "a/1", "a/zzz", "m", "é/6", "zz"])
def test_start_after_and_marker_leave_out_what_comes_before(s3, tree, after):
    rest = [key for key in in_order(TREE) if key.encode() > after.encode()]
    assert found(s3.list_objects_v2(Bucket=tree, StartAfter=after))[0] == rest
    assert found(s3.list_objects(Bucket=tree, Marker=after))[0] == rest


def test_a_continuation_token_outweighs_start_after(s3, tree):
    first = s3.list_objects_v2(Bucket=tree, MaxKeys=4)
    page = s3.list_objects_v2(Bucket=tree, ContinuationToken=first["NextContinuationToken"], StartAfter="zz")
    assert found(page)[0] == in_order(TREE)[4:]


def test_a_page_of_no_keys_is_empty_and_not_truncated(s3, tree):
    for page in (s3.list_objects_v2(Bucket=tree, MaxKeys=0), s3.list_objects(Bucket=tree, MaxKeys=0)):
        assert (found(page), page["IsTruncated"], page["MaxKeys"]) == (([], []), False, 0)


@pytest.mark.parametrize(
    "query",
    [
        "max-keys=-1",
        "max-keys=abc",
        "list-type=2&max-keys=-1",
        "list-type=2&max-keys=abc",
        "encoding-type=base64",
        "list-type=2&continuation-token=",
        "list-type=2&continuation-token=made-up",
    ],
)
def test_a_nonsense_parameter_is_refused(server, tree, query):
    answer = exchange(server, sign(server, "GET", f"/{tree}?{query}"))
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_an_empty_bucket_lists_nothing(s3, bucket):
    assert found(s3.list_objects_v2(Bucket=bucket)) == found(s3.list_objects(Bucket=bucket)) == ([], [])
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_bucket_that_is_not_there_is_refused(s3):
    with refused("NoSuchBucket", status=404):
        s3.list_objects_v2(Bucket="no-such-bucket-here")
    with refused("NoSuchBucket", status=404):
        s3.list_objects(Bucket="no-such-bucket-here")


def test_an_entry_tells_size_etag_time_and_class(s3, tree):
    for page in (s3.list_objects_v2(Bucket=tree), s3.list_objects(Bucket=tree)):
        for entry in page["Contents"]:
            head = s3.head_object(Bucket=tree, Key=entry["Key"])
            assert (entry["Size"], entry["ETag"], entry["StorageClass"]) == (
                len(entry["Key"].encode()),
                f'"{md5_hex(entry["Key"].encode())}"',
                "STANDARD",
            )
            assert entry["LastModified"].replace(microsecond=0) == head["LastModified"]


def test_version_2_tells_the_owner_only_when_asked(s3, tree):
    assert "Owner" not in s3.list_objects_v2(Bucket=tree)["Contents"][0]
    assert s3.list_objects_v2(Bucket=tree, FetchOwner=True)["Contents"][0]["Owner"]["ID"]
    assert s3.list_objects(Bucket=tree)["Contents"][0]["Owner"]["ID"]


def test_keys_are_ordered_by_their_utf_8_bytes(s3, bucket):
    """U+FFEE sorts before U+10348 in UTF-8 and after it in UTF-16; case and accents do not fold."""
    keys = ["\U00010348", "\uffee", "Z", "a", "é", "e", "~", " ", "A", "ß", "aa", "a\u0301"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert found(s3.list_objects_v2(Bucket=bucket))[0] == in_order(keys)
    assert found(s3.list_objects(Bucket=bucket))[0] == in_order(keys)


def test_url_encoding_carries_keys_that_xml_cannot(server, s3, bucket):
    keys = ["line\nfeed", "bell\x07", "a b+c%d/e&f", "ü"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert found(s3.list_objects_v2(Bucket=bucket))[0] == in_order(keys)  # boto3 asks for url and decodes
    answer = exchange(server, sign(server, "GET", f"/{bucket}?encoding-type=url&list-type=2"))
    assert b"<EncodingType>url</EncodingType>" in answer.body
    assert b"bell%07" in answer.body and b"line%0A" in answer.body and b"%C3%BC" in answer.body
    assert b"%2Bc%25d/e%26f" in answer.body or b"%2Bc%25d%2Fe%26f" in answer.body


def test_without_url_encoding_keys_are_as_they_are(server, tree):
    answer = exchange(server, sign(server, "GET", f"/{tree}?list-type=2&prefix=%C3%A9"))
    assert "<Key>é/6</Key>".encode() in answer.body
    assert b"<EncodingType>" not in answer.body


def test_more_than_a_thousand_keys_come_in_pages_of_a_thousand(s3, bucket):
    keys = [f"n{number:05}" for number in range(1003)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=2000)
    assert (found(page)[0], page["IsTruncated"], page["MaxKeys"]) == (keys[:1000], True, 1000)
    rest = s3.list_objects_v2(Bucket=bucket, ContinuationToken=page["NextContinuationToken"])
    assert (found(rest)[0], rest["IsTruncated"]) == (keys[1000:], False)
    old = s3.list_objects(Bucket=bucket)
    assert (found(old)[0], old["IsTruncated"], old["MaxKeys"]) == (keys[:1000], True, 1000)
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[:1000]]})
    assert len(deleted["Deleted"]) == 1000
    assert found(s3.list_objects_v2(Bucket=bucket))[0] == keys[1000:]
