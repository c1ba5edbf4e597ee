"""What the server wrote opens without the server: by the token, and by a program that knows only the format."""

import pytest

from disk import blob_of
from keys import DATA_KEY, STREAM, opened, place_of
from painted import painted

LENGTHS = [0, 1, 15, 16, 17, 1024, 1025, 5000, 262_144, 300_001]


@pytest.fixture(scope="module")
def filled(server, s3, module_bucket):
    for length in LENGTHS:
        s3.put_object(Bucket=module_bucket, Key=f"opened/{length}", Body=painted(length))
    return server


@pytest.mark.parametrize("length", LENGTHS)
def test_an_object_opens_with_its_key_and_context(filled, tmp_path, length):
    place, out = place_of(filled, f"opened/{length}"), tmp_path / "out"
    done = opened(filled, blob_of(filled, f"opened/{length}"), place, out)
    assert done.returncode == 0, done.stderr.decode()
    assert out.read_bytes() == painted(length)


def test_each_part_opens_with_the_upload_s_key(server, s3, bucket, tmp_path):
    parts = {3: painted((5 << 20) + 7, 1), 9: painted(1234, 2)}
    upload = {"Bucket": bucket, "Key": "opened/parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    entries = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=data)["ETag"]}
        for number, data in parts.items()
    ]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": entries})
    place = place_of(server, "opened/parts")
    for number, data in parts.items():
        sealed, out = blob_of(server, "opened/parts", number), tmp_path / str(number)
        assert opened(server, sealed, place, out, number).returncode == 0
        assert out.read_bytes() == data
    swapped = opened(server, blob_of(server, "opened/parts", 3), place, tmp_path / "swapped", 9)
    assert swapped.returncode == 1 and b"Refused" in swapped.stderr


def test_the_keyring_keeps_the_context_that_the_catalog_s_row_gives(filled):
    place = place_of(filled, "opened/5000")
    assert place.kept_context == place.context(DATA_KEY)


def test_another_object_s_context_opens_nothing(filled, tmp_path):
    place, other = place_of(filled, "opened/5000"), place_of(filled, "opened/1025")
    done = opened(filled, blob_of(filled, "opened/5000"), place, tmp_path / "out", context=other.context(STREAM))
    assert done.returncode == 1 and b"Refused" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_opens_nothing(filled, tmp_path):
    sealed = bytearray(blob_of(filled, "opened/5000").read_bytes())
    sealed[len(sealed) // 2] ^= 1
    (tmp_path / "sealed").write_bytes(sealed)
    done = opened(filled, tmp_path / "sealed", place_of(filled, "opened/5000"), tmp_path / "out")
    assert done.returncode == 1 and b"Refused" in done.stderr
    assert not (tmp_path / "out").exists()
