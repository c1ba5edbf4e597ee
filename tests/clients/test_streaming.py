"""Bodies in chunks: every kind that SigV4 knows, cut anywhere; and with one thing wrong, nothing is stored."""

import pytest

from chunks import SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, cut, streaming
from painted import ALGORITHMS, checksum, md5_hex, painted
from refusal import absent, body
from wire import Wire, exchange, sign

DATA = painted(200_003)
KINDS = [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER]


def trailer_for(kind: str, data: bytes, algorithm: str = "CRC32") -> tuple[str, str] | None:
    return None if kind == SIGNED else (f"x-amz-checksum-{algorithm.lower()}", checksum(algorithm, data))


def put(server, bucket, kind, pieces, **options):
    options.setdefault("trailer", trailer_for(kind, b"".join(pieces)))
    return exchange(server, streaming(server, f"/{bucket}/k", kind, pieces, **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_len", [8192, 8193, 16384, 65536, 100_001, len(DATA)])
def test_a_body_cut_into_chunks_is_one_object(server, s3, bucket, kind, chunk_len):
    answer = put(server, bucket, kind, cut(DATA, chunk_len))
    assert (answer.status, answer.headers.get("etag")) == (200, f'"{md5_hex(DATA)}"')
    assert body(s3, bucket, "k") == DATA
    assert "ContentEncoding" not in s3.head_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_len", [1, 7, 100])
def test_chunks_smaller_than_s3_allows_are_taken_right_or_refused(server, s3, bucket, kind, chunk_len):
    data = DATA[:1000]
    answer = put(server, bucket, kind, cut(data, chunk_len))
    if answer.status == 200:
        assert body(s3, bucket, "k") == data
    else:
        assert (answer.status, answer.code) == (403, "InvalidChunkSizeError")
        assert absent(s3, bucket, "k")


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_body_in_chunks_is_an_empty_object(server, s3, bucket, kind):
    assert put(server, bucket, kind, []).status == 200
    assert body(s3, bucket, "k") == b""


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_that_arrives_byte_by_byte_is_one_object(server, s3, bucket, kind):
    data = DATA[:600]
    raw = streaming(server, f"/{bucket}/k", kind, [data], trailer=trailer_for(kind, data)).bytes()
    with Wire(server) as wire:
        for at in range(len(raw)):
            wire.send(raw[at : at + 1])
        assert wire.answer().status == 200
    assert body(s3, bucket, "k") == data


def test_an_unsigned_payload_is_taken(server, s3, bucket):
    request = sign(server, "PUT", f"/{bucket}/k", body=DATA, payload_hash="UNSIGNED-PAYLOAD")
    assert exchange(server, request).status == 200
    assert body(s3, bucket, "k") == DATA


@pytest.mark.parametrize("kind", [SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checksum_in_the_trailer_is_kept(server, s3, bucket, kind, algorithm):
    answer = put(server, bucket, kind, cut(DATA, 65536), trailer=trailer_for(kind, DATA, algorithm))
    assert answer.status == 200
    assert answer.headers[f"x-amz-checksum-{algorithm.lower()}"] == checksum(algorithm, DATA)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == checksum(algorithm, DATA)


def test_a_part_may_come_in_chunks(server, s3, bucket):
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    target = f"/{bucket}/k?partNumber=1&uploadId={upload_id}"
    request = streaming(server, target, SIGNED, cut(DATA, 65536))
    etag = exchange(server, request).headers["etag"]
    assert etag == f'"{md5_hex(DATA)}"'
    s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}
    )
    assert body(s3, bucket, "k") == DATA


def test_a_trailer_upload_without_a_trailer_is_legal(server, s3, bucket):
    assert put(server, bucket, UNSIGNED_TRAILER, cut(DATA, 65536), trailer=None).status == 200
    assert body(s3, bucket, "k") == DATA


# One thing wrong


def check_refused(server, s3, bucket, kind, *codes, pieces=None, **options):
    answer = put(server, bucket, kind, pieces or cut(DATA, 65536), **options)
    assert answer.status is None or answer.status in (400, 403, 411), answer
    assert answer.status is None or answer.code in codes, answer
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize("kind", [SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_in_the_trailer_stores_nothing(server, s3, bucket, kind, algorithm):
    check_refused(server, s3, bucket, kind, "BadDigest", trailer=trailer_for(kind, DATA + b"!", algorithm))


@pytest.mark.parametrize("value", ["", "AAAA", "not base64!"])
def test_a_malformed_checksum_in_the_trailer_stores_nothing(server, s3, bucket, value):
    check_refused(
        server,
        s3,
        bucket,
        UNSIGNED_TRAILER,
        "BadDigest",
        "InvalidRequest",
        "InvalidDigest",
        "MalformedTrailerError",
        trailer=("x-amz-checksum-crc32", value),
    )


def test_an_announced_trailer_that_never_comes_stores_nothing(server, s3, bucket):
    def without_trailer(frames):
        return [*frames[:-1], b"0\r\n\r\n"]

    check_refused(
        server,
        s3,
        bucket,
        UNSIGNED_TRAILER,
        "MalformedTrailerError",
        "InvalidRequest",
        "BadDigest",
        "IncompleteBody",
        spoil=without_trailer,
    )


def test_a_trailer_other_than_the_announced_one_stores_nothing(server, s3, bucket):
    check_refused(
        server,
        s3,
        bucket,
        UNSIGNED_TRAILER,
        "MalformedTrailerError",
        "InvalidRequest",
        "BadDigest",
        headers={"x-amz-trailer": "x-amz-checksum-sha256"},
        announce_trailer=False,
    )


def flip_data(index):
    def spoil(frames):
        spoiled = bytearray(frames[index])
        spoiled[-3] ^= 1
        return [*frames[:index], bytes(spoiled), *frames[index + 1 :]]

    return spoil


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_TRAILER])
@pytest.mark.parametrize(
    "name, spoil",
    {
        "data of the first chunk": flip_data(0),
        "data of a later chunk": flip_data(2),
        "a signature": lambda frames: [frames[0].replace(b"chunk-signature=", b"chunk-signature=0", 1), *frames[1:]],
        "order": lambda frames: [frames[1], frames[0], *frames[2:]],
        "a chunk twice": lambda frames: [frames[0], *frames],
        "a chunk left out": lambda frames: [frames[0], *frames[2:]],
        "no signature": lambda frames: [b"10000\r\n" + frames[0].split(b"\r\n", 1)[1], *frames[1:]],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_signed_chunk_that_was_changed_stores_nothing(server, s3, bucket, kind, name, spoil):
    check_refused(server, s3, bucket, kind, "SignatureDoesNotMatch", "IncompleteBody", "InvalidRequest", spoil=spoil)


def test_a_changed_signature_of_the_trailer_stores_nothing(server, s3, bucket):
    def spoil(frames):
        return [*frames[:-1], frames[-1].replace(b"x-amz-trailer-signature:", b"x-amz-trailer-signature:00")]

    check_refused(
        server,
        s3,
        bucket,
        SIGNED_TRAILER,
        "SignatureDoesNotMatch",
        "MalformedTrailerError",
        "InvalidRequest",
        "IncompleteBody",
        spoil=spoil,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name, spoil",
    {
        "size is no number": lambda frames: [b"zz" + frames[0], *frames[1:]],
        "size is negative": lambda frames: [b"-" + frames[0], *frames[1:]],
        "size is beyond 64 bits": lambda frames: [b"f" * 30 + frames[0], *frames[1:]],
        "size too small": lambda frames: [frames[0].replace(b"10000", b"0ffff", 1), *frames[1:]],
        "size too large": lambda frames: [frames[0].replace(b"10000", b"10001", 1), *frames[1:]],
        "no line end after data": lambda frames: [frames[0][:-2], *frames[1:]],
        "no last chunk": lambda frames: frames[:-1],
        "cut in a chunk": lambda frames: [*frames[:2], frames[2][:1000]],
        "an endless line": lambda frames: [b"0" * 100_000 + frames[0], *frames[1:]],
        "bytes after the last chunk": lambda frames: [*frames, b"more"],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_framing_stores_nothing(server, s3, bucket, kind, name, spoil):
    check_refused(
        server,
        s3,
        bucket,
        kind,
        "IncompleteBody",
        "InvalidRequest",
        "SignatureDoesNotMatch",
        "InvalidChunkSizeError",
        "MalformedTrailerError",
        "BadDigest",
        spoil=spoil,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("difference", [-1, 1, -len(DATA)])
def test_a_decoded_length_other_than_the_chunks_stores_nothing(server, s3, bucket, kind, difference):
    check_refused(
        server,
        s3,
        bucket,
        kind,
        "IncompleteBody",
        "InvalidRequest",
        "SignatureDoesNotMatch",
        decoded_len=len(DATA) + difference,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_without_a_decoded_length_are_refused(server, s3, bucket, kind):
    request = sign(
        server, "PUT", f"/{bucket}/k", headers={"Content-Encoding": "aws-chunked"}, body=b"0\r\n\r\n", payload_hash=kind
    )
    answer = exchange(server, request)
    assert (answer.status, answer.code) in {(411, "MissingContentLength"), (400, "InvalidRequest")}
    assert absent(s3, bucket, "k")
