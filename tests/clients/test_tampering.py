"""Whatever is altered below DIR, no altered byte is ever served: an error before the status line, or a connection
broken short after true bytes only; the log tells, and the server goes on.
"""

import shutil
import zlib

import pytest

from damage import DATA, SEGMENT, check_cut_short, check_refused, check_told_and_going_on, read
from disk import HEADER_LEN, blob_of, blobs
from painted import painted
from refusal import absent, refused
from server import Server
from vandal import cut_off, flip, rewrite, segment_twice, swap_segments, without_segment
from wire import Wire, sign

LARGE = painted(64 << 20)


@pytest.fixture(scope="module")
def tampered(tmp_path_factory):
    """One server for the tests below, each of which damages an object of its own."""
    with Server(tmp_path_factory.mktemp("tampered") / "data").start() as server:
        server.s3().create_bucket(Bucket="bbb")
        yield server


@pytest.fixture
def key(tampered, request) -> str:
    """An object of DATA under a name of this test's own."""
    name = f"k{zlib.crc32(request.node.name.encode()):08x}"
    tampered.s3().put_object(Bucket="bbb", Key=name, Body=DATA, Metadata={"a": "b"})
    return name


# Blob files

BEFORE_THE_STATUS_LINE = {
    "magic": lambda path: flip(path, 0),
    "suite": lambda path: flip(path, 4),
    "shift": lambda path: flip(path, 5),
    "reserved": lambda path: flip(path, 10),
    "key id": lambda path: flip(path, 20),
    "salt": lambda path: flip(path, 40),
    "commitment": lambda path: flip(path, 70),
    "last byte": lambda path: flip(path, -1),
    "last segment": lambda path: flip(path, -40),
    "one byte less": lambda path: cut_off(path, 1),
    "a block less": lambda path: cut_off(path, 16),
    "last segment gone": lambda path: cut_off(path, (path.stat().st_size - HEADER_LEN) % (SEGMENT + 32)),
    "only the header": lambda path: rewrite(path, lambda sealed: sealed[:HEADER_LEN]),
    "half a header": lambda path: rewrite(path, lambda sealed: sealed[:50]),
    "empty": lambda path: rewrite(path, lambda sealed: b""),
    "a byte more": lambda path: rewrite(path, lambda sealed: sealed + b"\0"),
    "a segment left out": lambda path: rewrite(path, lambda sealed: without_segment(sealed, 3)),
    "a segment twice": lambda path: rewrite(path, lambda sealed: segment_twice(sealed, 3)),
    "gone": lambda path: path.unlink(),
}

IN_THE_MIDDLE = {
    "first segment": lambda path: flip(path, HEADER_LEN),
    "first tag": lambda path: flip(path, HEADER_LEN + SEGMENT + 31),
    "a middle segment": lambda path: flip(path, HEADER_LEN + 9 * (SEGMENT + 32) + 100),
    "last but one": lambda path: flip(path, HEADER_LEN + 17 * (SEGMENT + 32) + 5),
    "two segments swapped": lambda path: rewrite(path, lambda sealed: swap_segments(sealed, 0, 1)),
    "two late segments swapped": lambda path: rewrite(path, lambda sealed: swap_segments(sealed, 15, 16)),
}


@pytest.mark.parametrize("damage", BEFORE_THE_STATUS_LINE.values(), ids=BEFORE_THE_STATUS_LINE)
def test_damage_to_header_length_or_end_is_refused_before_the_status_line(tampered, key, damage):
    log_from = len(tampered.log_text())
    damage(blob_of(tampered, key))
    check_refused(tampered, key, log_from)


@pytest.mark.parametrize("damage", IN_THE_MIDDLE.values(), ids=IN_THE_MIDDLE)
def test_damage_to_a_segment_is_refused_or_cuts_the_answer_short(tampered, key, damage):
    log_from = len(tampered.log_text())
    damage(blob_of(tampered, key))
    check_cut_short(tampered, key, log_from)


@pytest.mark.parametrize("damage", ["another object", "an older object of the same key", "a copy of it"])
def test_another_stream_in_its_place_is_refused(tampered, key, damage):
    s3 = tampered.s3()
    if damage == "an older object of the same key":
        old = blob_of(tampered, key).read_bytes()
        s3.put_object(Bucket="bbb", Key=key, Body=DATA)
    elif damage == "another object":
        s3.put_object(Bucket="bbb", Key=f"{key}-other", Body=DATA)
        old = blob_of(tampered, f"{key}-other").read_bytes()
    else:
        s3.copy_object(Bucket="bbb", Key=f"{key}-other", CopySource=f"bbb/{key}")
        old = blob_of(tampered, f"{key}-other").read_bytes()
    log_from = len(tampered.log_text())
    rewrite(blob_of(tampered, key), lambda sealed: old)
    check_refused(tampered, key, log_from)


def test_a_header_with_another_body_is_refused(tampered, key):
    s3 = tampered.s3()
    s3.put_object(Bucket="bbb", Key=f"{key}-other", Body=DATA)
    other = blob_of(tampered, f"{key}-other").read_bytes()
    log_from = len(tampered.log_text())
    rewrite(blob_of(tampered, key), lambda sealed: sealed[:HEADER_LEN] + other[HEADER_LEN:])
    check_refused(tampered, key, log_from)


def test_what_is_not_a_file_is_refused(tampered, key, tmp_path):
    path = blob_of(tampered, key)
    shutil.copy(path, tmp_path / "same")
    path.unlink()
    path.symlink_to(tmp_path / "same")
    log_from = len(tampered.log_text())
    check_refused(tampered, key, log_from)


def test_a_range_beside_the_damage_is_served_and_one_in_it_is_not(tampered, key):
    flip(blob_of(tampered, key), HEADER_LEN + 9 * (SEGMENT + 32) + 100)
    assert read(tampered, key, Range="bytes=0-99").body == DATA[:100]
    log_from = len(tampered.log_text())
    inside = read(tampered, key, Range=f"bytes={9 * SEGMENT}-{9 * SEGMENT + 9}")
    assert inside.status == 500 or (inside.broken and inside.body == b"")
    check_told_and_going_on(tampered, log_from)


def test_a_damaged_object_is_not_copied(tampered, key):
    s3 = tampered.s3()
    flip(blob_of(tampered, key), HEADER_LEN + 9 * (SEGMENT + 32) + 100)
    before = blobs(tampered)
    with refused("InternalError"):
        s3.copy_object(Bucket="bbb", Key=f"{key}-copy", CopySource=f"bbb/{key}")
    assert absent(s3, "bbb", f"{key}-copy")
    upload = {"Bucket": "bbb", "Key": f"{key}-parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    with refused("InternalError"):
        s3.upload_part_copy(**upload, PartNumber=1, CopySource=f"bbb/{key}")
    assert "Parts" not in s3.list_parts(**upload)
    assert blobs(tampered) == before


def test_two_parts_that_trade_places_are_refused(tampered, key):
    s3 = tampered.s3()
    upload = {"Bucket": "bbb", "Key": key}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    entries = [
        {"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=painted(5 << 20, n))["ETag"]}
        for n in (1, 2)
    ]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": entries})
    one, two = blob_of(tampered, key, 1), blob_of(tampered, key, 2)
    of_one, of_two = one.read_bytes(), two.read_bytes()
    one.write_bytes(of_two)
    two.write_bytes(of_one)
    log_from = len(tampered.log_text())
    check_cut_short(tampered, key, log_from, painted(5 << 20, 1) + painted(5 << 20, 2))
    check_refused(tampered, key, log_from, Range="bytes=0-99")


# While a GET runs


@pytest.mark.parametrize(
    "damage",
    {
        "a bit flipped": lambda path: flip(path, path.stat().st_size * 9 // 10),
        "cut to half": lambda path: cut_off(path, path.stat().st_size // 2),
        "cut to nothing": lambda path: rewrite(path, lambda sealed: b""),
        "segments swapped": lambda path: rewrite(path, lambda sealed: swap_segments(sealed, 3500, 3501)),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_file_that_changes_during_a_get_cuts_it_short(tampered, damage):
    s3 = tampered.s3()
    s3.put_object(Bucket="bbb", Key="slow", Body=LARGE)
    path, log_from = blob_of(tampered, "slow"), len(tampered.log_text())
    with Wire(tampered) as wire:
        wire.shrink_receive_buffer()
        status, headers = wire.send(sign(tampered, "GET", "/bbb/slow").bytes()).read_head()
        assert (status, headers["content-length"]) == (200, str(len(LARGE)))
        damage[1](path)
        received, broken = wire.read_body(headers)
    assert broken and len(received) < len(LARGE)
    assert LARGE.startswith(received)
    check_told_and_going_on(tampered, log_from)


def test_a_get_goes_on_when_its_object_is_deleted_meanwhile(tampered):
    s3 = tampered.s3()
    s3.put_object(Bucket="bbb", Key="slow", Body=LARGE)
    with Wire(tampered) as wire:
        wire.shrink_receive_buffer()
        _, headers = wire.send(sign(tampered, "GET", "/bbb/slow").bytes()).read_head()
        s3.delete_object(Bucket="bbb", Key="slow")
        received, broken = wire.read_body(headers)
    assert not broken and received == LARGE
