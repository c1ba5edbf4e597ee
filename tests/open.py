"""Opens a sealed stream of Strongroom, version 1. Written from docs/format.md alone; knows nothing of the Rust code.

usage: open.py SEALED --out FILE (--context-sha256 HEX | --kind N [--store-id HEX] [--bucket-id HEX]
               [--object-key HEX] [--write-id HEX] [--part-number N] [--layer N]) < 32 bytes of data key

The data key comes by standard input and goes nowhere else: no message of this program is made from a secret, and an
error that nobody foresaw shows only its type. Exit 0: opened, FILE is whole. Exit 1: one line says why not, and FILE
was removed.
"""

import argparse
import hashlib
import hmac
import os
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HEADER_LEN = 96
BLOCK_LEN = 16
TAG_LEN = 16
PLAIN_LEN_MAX = 1 << 48
WRAP_KINDS = (2, 3, 4, 5)


class Refused(Exception):
    """Wrong key, other object, or altered bytes."""


class UnknownFormat(Exception):
    """Another magic."""


def context_sha256(kind, store_id=b"", bucket_id=b"", object_key=b"", write_id=b"", part_number=0, layer=0,
                   encryption_context=b""):
    """Section "Context": kind, then each field behind its length."""
    fields = [store_id, bucket_id, object_key, write_id, part_number.to_bytes(4, "big"), bytes([layer])]
    if kind in WRAP_KINDS:
        fields.append(encryption_context)
    canonical = bytes([kind]) + b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return hashlib.sha256(canonical).digest()


def expand(key, info, length):
    return HKDFExpand(algorithm=hashes.SHA256(), length=length, info=info).derive(key)


def open_stream(file, sealed_len, key, context):
    """Yields the plaintext of each segment, in order, the last segment having been authenticated first."""
    if sealed_len < HEADER_LEN:
        raise Refused
    header = file.read(HEADER_LEN)
    shift = header[5]
    if header[:4] != b"SRM1":
        raise UnknownFormat
    if header[4] != 1 or not 9 <= shift <= 20 or any(header[6:16]):
        raise Refused
    derived = expand(key, b"strongroom/1" + header[:64] + context, 128)
    enc, iv, mac, commitment = (derived[at:at + 32] for at in range(0, 128, 32))
    if not hmac.compare_digest(commitment, header[64:]):
        raise Refused

    full = (1 << shift) + BLOCK_LEN + TAG_LEN
    count = max(1, -(-(sealed_len - HEADER_LEN) // full))
    last_len = sealed_len - HEADER_LEN - (count - 1) * full
    if last_len < BLOCK_LEN + TAG_LEN or last_len % BLOCK_LEN or (count - 1) << shift >= PLAIN_LEN_MAX:
        raise Refused

    def segment(index):
        file.seek(HEADER_LEN + index * full)
        sealed = file.read(last_len if index == count - 1 else full)
        return open_segment(sealed, index, index == count - 1, 1 << shift, enc, iv, mac)

    segment(count - 1)
    return map(segment, range(count))


def open_segment(sealed, index, final, segment_len, enc, iv, mac):
    """Authenticates one segment, then decrypts it, then takes its padding off."""
    ciphertext, tag = sealed[:-TAG_LEN], sealed[-TAG_LEN:]
    nonce = index.to_bytes(8, "big") + (b"\0\0\0\1" if final else b"\0\0\0\0")
    try:
        AESGCM(mac).decrypt(nonce, tag, ciphertext)
    except InvalidTag:
        raise Refused from None
    block = Cipher(algorithms.AES(iv), modes.ECB()).encryptor().update(index.to_bytes(16, "big"))
    padded = Cipher(algorithms.AES(enc), modes.CBC(block)).decryptor().update(ciphertext)
    padding = padded[-1]
    if not 1 <= padding <= BLOCK_LEN or padded[-padding:] != bytes([padding]) * padding:
        raise Refused
    plain = padded[:-padding]
    if final and (len(plain) > segment_len or (not plain and index > 0)):
        raise Refused
    if not final and len(plain) != segment_len:
        raise Refused
    return plain


def open_small(sealed, parent, label, context):
    """Section "Small sealing"."""
    if len(sealed) < 48:
        raise Refused
    try:
        return AESGCM(expand(parent, label + sealed[:32] + context, 32)).decrypt(bytes(12), sealed[32:], None)
    except InvalidTag:
        raise Refused from None


def arguments():
    parser = argparse.ArgumentParser(description="Open a sealed stream; the 32-byte data key comes by standard input.")
    parser.add_argument("sealed")
    parser.add_argument("--out", required=True)
    parser.add_argument("--context-sha256", type=bytes.fromhex)
    parser.add_argument("--kind", type=int, choices=range(1, 10))
    for field in ("--store-id", "--bucket-id", "--object-key", "--write-id"):
        parser.add_argument(field, type=bytes.fromhex, default=b"")
    for field in ("--part-number", "--layer"):
        parser.add_argument(field, type=int, default=0)
    options = parser.parse_args()
    if (options.context_sha256 is None) == (options.kind is None):
        parser.error("say --context-sha256 or --kind, one of them")
    return options


def main():
    options = arguments()
    key = sys.stdin.buffer.read(33)
    if len(key) != 32:
        raise SystemExit("a data key of exactly 32 bytes is expected on standard input")
    context = options.context_sha256 or context_sha256(
        options.kind, options.store_id, options.bucket_id, options.object_key, options.write_id,
        options.part_number, options.layer)
    with open(options.sealed, "rb") as sealed:
        segments = open_stream(sealed, os.fstat(sealed.fileno()).st_size, key, context)
        with open(options.out, "wb") as out:
            try:
                out.writelines(segments)
            except BaseException:
                os.unlink(options.out)
                raise


if __name__ == "__main__":
    try:
        main()
    except (Refused, UnknownFormat) as refusal:
        raise SystemExit(f"not opened: {type(refusal).__name__}: {refusal.__doc__}") from None
    except OSError as error:
        raise SystemExit(f"not opened: {error.strerror}: {error.filename}") from None
    except Exception as error:  # a traceback could show a secret
        raise SystemExit(f"not opened: {type(error).__name__}") from None
