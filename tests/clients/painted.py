"""Bytes that are known, cheap to make again, and nowhere alike; and the digests S3 speaks of."""

import base64
import functools
import hashlib
import io
import random

from awscrt import checksums as crt


def painted(length: int, seed: int = 0) -> bytes:
    return random.Random(seed * 1_000_003 + length).randbytes(length)


class _Blocks(io.RawIOBase):
    def __init__(self, block_len: int, block_count: int):
        self._block_len, self._len, self._at = block_len, block_len * block_count, 0
        self._block = functools.lru_cache(maxsize=2)(lambda index: painted(block_len, index))

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._len}[whence]
        return self._at

    def readinto(self, buffer):
        if self._at >= self._len:
            return 0
        index, skip = divmod(self._at, self._block_len)
        piece = self._block(index)[skip : skip + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def painted_file(block_len: int, block_count: int) -> io.BufferedReader:
    """`painted(block_len, 0)`, `painted(block_len, 1)`, ... as a file that is never whole in memory."""
    return io.BufferedReader(_Blocks(block_len, block_count), 1 << 20)


def base64_text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def md5_hex(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def md5_base64(data: bytes) -> str:
    return base64_text(hashlib.md5(data).digest())


RAW_CHECKSUMS = {
    "CRC32": lambda data: crt.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: crt.crc32c(data).to_bytes(4, "big"),
    "CRC64NVME": lambda data: crt.crc64nvme(data).to_bytes(8, "big"),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}
ALGORITHMS = tuple(RAW_CHECKSUMS)


def checksum(algorithm: str, data: bytes) -> str:
    """As S3 writes it in a header: base64 of the big-endian value."""
    return base64_text(RAW_CHECKSUMS[algorithm](data))


def multipart_etag(parts: list[bytes]) -> str:
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f'"{md5_hex(digests)}-{len(parts)}"'
