"""Checksums of multipart uploads: of each part, of the parts' checksums (composite), and of the whole object."""

import pytest

from painted import ALGORITHMS, RAW_CHECKSUMS, base64_text, checksum, painted
from refusal import absent, refused

PARTS = [painted(5 << 20, 1), painted(12345, 2)]
WHOLE = b"".join(PARTS)
FULL_OBJECT = ("CRC32", "CRC32C", "CRC64NVME")
COMPOSITE = ("CRC32", "CRC32C", "SHA1", "SHA256")


def uploaded(s3, bucket, algorithm, kind) -> tuple[str, list[dict]]:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)[
        "UploadId"
    ]
    entries, field = [], f"Checksum{algorithm}"
    for number, data in enumerate(PARTS, 1):
        answer = s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=data, ChecksumAlgorithm=algorithm
        )
        assert answer[field] == checksum(algorithm, data)
        entries.append({"PartNumber": number, "ETag": answer["ETag"], field: answer[field]})
    return upload_id, entries


def complete(s3, bucket, upload_id, entries, **options):
    return s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": entries}, **options
    )


@pytest.mark.parametrize("algorithm", COMPOSITE)
def test_a_composite_checksum_is_that_of_the_parts_checksums(s3, bucket, algorithm):
    upload_id, entries = uploaded(s3, bucket, algorithm, "COMPOSITE")
    done = complete(s3, bucket, upload_id, entries)
    digest = RAW_CHECKSUMS[algorithm]
    expected = f"{base64_text(digest(b''.join(map(digest, PARTS))))}-{len(PARTS)}"
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert done[f"Checksum{algorithm}"] == head[f"Checksum{algorithm}"] == expected
    assert done["ChecksumType"] == head["ChecksumType"] == "COMPOSITE"


@pytest.mark.parametrize("algorithm", FULL_OBJECT)
def test_a_full_object_checksum_is_that_of_all_bytes(s3, bucket, algorithm):
    upload_id, entries = uploaded(s3, bucket, algorithm, "FULL_OBJECT")
    done = complete(
        s3,
        bucket,
        upload_id,
        entries,
        ChecksumType="FULL_OBJECT",
        **{f"Checksum{algorithm}": checksum(algorithm, WHOLE)},
    )
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert done[f"Checksum{algorithm}"] == head[f"Checksum{algorithm}"] == checksum(algorithm, WHOLE)
    assert done["ChecksumType"] == head["ChecksumType"] == "FULL_OBJECT"


@pytest.mark.parametrize("algorithm", FULL_OBJECT)
def test_a_wrong_full_object_checksum_completes_nothing(s3, bucket, algorithm):
    upload_id, entries = uploaded(s3, bucket, algorithm, "FULL_OBJECT")
    with refused("BadDigest", status=400):
        complete(
            s3,
            bucket,
            upload_id,
            entries,
            ChecksumType="FULL_OBJECT",
            **{f"Checksum{algorithm}": checksum(algorithm, WHOLE + b"!")},
        )
    assert absent(s3, bucket, "k")


def test_a_wrong_composite_checksum_completes_nothing(s3, bucket):
    upload_id, entries = uploaded(s3, bucket, "SHA256", "COMPOSITE")
    with refused("BadDigest", "InvalidRequest", status=400):
        complete(s3, bucket, upload_id, entries, ChecksumSHA256=f"{checksum('SHA256', b'other')}-2")
    assert absent(s3, bucket, "k")


def test_a_wrong_checksum_of_a_part_at_complete_is_an_invalid_part(s3, bucket):
    upload_id, entries = uploaded(s3, bucket, "SHA256", "COMPOSITE")
    entries[0]["ChecksumSHA256"] = checksum("SHA256", b"other")
    with refused("InvalidPart", status=400):
        complete(s3, bucket, upload_id, entries)
    assert absent(s3, bucket, "k")


def test_complete_of_a_composite_upload_needs_the_parts_checksums(s3, bucket):
    upload_id, entries = uploaded(s3, bucket, "SHA256", "COMPOSITE")
    with refused("InvalidRequest", "InvalidPart", status=400):
        complete(s3, bucket, upload_id, [{k: entry[k] for k in ("PartNumber", "ETag")} for entry in entries])
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize(
    "algorithm, kind", [("SHA1", "FULL_OBJECT"), ("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")]
)
def test_a_kind_that_the_algorithm_does_not_have_is_refused(s3, bucket, algorithm, kind):
    with refused("InvalidRequest", status=400):
        s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)


def test_a_part_with_another_algorithm_than_the_upload_s_is_refused(s3, bucket):
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    with refused("InvalidRequest", status=400):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x", ChecksumAlgorithm="CRC32")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_part_with_a_wrong_checksum_is_not_stored(s3, bucket, algorithm):
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm)["UploadId"]
    with refused("BadDigest", status=400):
        s3.upload_part(
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            PartNumber=1,
            Body=b"x",
            **{f"Checksum{algorithm}": checksum(algorithm, b"y")},
        )
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)


def test_listed_parts_show_their_checksums(s3, bucket):
    upload_id, entries = uploaded(s3, bucket, "SHA256", "COMPOSITE")
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
    assert [part["ChecksumSHA256"] for part in listed["Parts"]] == [entry["ChecksumSHA256"] for entry in entries]
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ("SHA256", "COMPOSITE")
