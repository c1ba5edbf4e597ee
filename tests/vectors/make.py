"""Writes the vectors of docs/format.md, one file per case. Written from that page, apart from the Rust code.

usage: make.py [FOLDER]     default: the folder of this file

The same files come out of every run. They are frozen: a change that alters one is a change of the format.
"""

import hashlib
import pathlib
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

FOLDER = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
written = set()


def fixed(name, length=32):
    """Bytes that look random and are the same in every run."""
    return hashlib.sha256(b"strongroom vectors: " + name.encode()).digest()[:length]


def painted(length):
    """A prime period, so that no two blocks look alike."""
    return bytes(at % 251 for at in range(length))


KEY = fixed("data key")
KEY_ID = fixed("key id", 16)
CONTEXT = {
    "kind": 1,
    "store-id": fixed("store id", 16),
    "bucket-id": fixed("bucket id", 16),
    "object-key": "letters/ä 1.txt".encode(),
    "write-id": fixed("write id", 16),
    "part-number": 0,
    "layer": 0,
}
FILE_CONTEXT = {**CONTEXT, "kind": 9, "store-id": b"", "bucket-id": b"", "object-key": b"", "write-id": KEY_ID}


def digest(context):
    part_number, layer = context["part-number"].to_bytes(4, "big"), bytes([context["layer"]])
    texts = [context[name] for name in ("store-id", "bucket-id", "object-key", "write-id")] + [part_number, layer]
    canonical = bytes([context["kind"]])
    for text in texts:
        canonical += len(text).to_bytes(4, "big") + text
    return hashlib.sha256(canonical).digest()


def derive(key, prefix, context):
    okm = HKDFExpand(hashes.SHA256(), 128, b"strongroom/1" + prefix + digest(context)).derive(key)
    return {"enc": okm[:32], "iv": okm[32:64], "mac": okm[64:96], "commit": okm[96:]}


def pad(text):
    count = 16 - len(text) % 16
    return text + bytes([count]) * count


class Stream:
    """A sealed stream in pieces, which a case may break before it is joined."""

    def __init__(self, plain, shift=9, context=CONTEXT, key=KEY, salt="salt"):
        self.plain, self.context, self.key = plain, context, key
        self.prefix = b"SRM1" + bytes([1, shift]) + bytes(10) + KEY_ID + fixed(salt)
        self.keys = derive(key, self.prefix, context)
        chunks = [plain[at:at + (1 << shift)] for at in range(0, len(plain), 1 << shift)] or [b""]
        self.segments = [self.segment(pad(chunk), index, index == len(chunks) - 1)
                         for index, chunk in enumerate(chunks)]

    def segment(self, padded, index, final):
        iv = Cipher(algorithms.AES(self.keys["iv"]), modes.ECB()).encryptor().update(index.to_bytes(16, "big"))
        ciphertext = Cipher(algorithms.AES(self.keys["enc"]), modes.CBC(iv)).encryptor().update(padded)
        nonce = index.to_bytes(8, "big") + int(final).to_bytes(4, "big")
        return ciphertext + AESGCM(self.keys["mac"]).encrypt(nonce, b"", ciphertext)

    def header(self):
        return self.prefix + self.keys["commit"]

    def joined(self):
        return self.header() + b"".join(self.segments)


def write(name, fields):
    assert name not in written, name
    written.add(name)
    lines = []
    for field, value in fields:
        value = value.hex() if isinstance(value, bytes) else str(value)
        lines.append(f"{field + ':':<13} {value}".rstrip())
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")


def spaced(sealed, shift):
    """The header by its fields, then a segment after the other."""
    ends = [4, 5, 6, 16, 32, 64, 96] + list(range(96 + (1 << shift) + 32, len(sealed), (1 << shift) + 32))
    starts = [0] + ends
    pieces = [sealed[start:end].hex() for start, end in zip(starts, ends + [len(sealed)])]
    return " ".join(piece for piece in pieces if piece)


def case(name, expect, why, stream, sealed=None, key=None, context=None):
    """`key` and `context` are what the reader comes with; `sealed` what it finds."""
    sealed = stream.joined() if sealed is None else sealed
    key, context = key or stream.key, context or stream.context
    derived = derive(key, sealed[:64], context) if len(sealed) >= 64 else {}
    fields = [("form", "stream"), ("expect", expect), ("why", why), ("key", key)]
    fields += context.items()
    fields += [("context", digest(context))]
    fields += [("derived", " ".join(f"{name}={value.hex()}" for name, value in derived.items()))]
    if expect == "opened":
        fields += [("salt", sealed[32:64]), ("key-id", sealed[16:32]), ("shift", sealed[5]), ("plain", stream.plain)]
    write(name, fields + [("sealed", spaced(sealed, stream.prefix[5]))])


def flip(sealed, at, bit=0):
    return sealed[:at] + bytes([sealed[at] ^ 1 << bit]) + sealed[at + 1:]


def opened_cases():
    why = {
        0: "an empty object: one segment of one block, all padding",
        1: "one byte",
        15: "the block is filled by one byte of padding",
        16: "a whole block takes another one of padding",
        17: "one byte into the second block",
        511: "one byte less than a segment",
        512: "exactly a segment: it is padded too, and it is the last",
        513: "one byte into the second segment",
        1024: "two full segments: the last one is full, none is empty",
        1536: "three full segments",
        1700: "three full segments and a rest",
    }
    for length, text in why.items():
        case(f"opened-{length:04}", "opened", text, Stream(painted(length)))
    case("opened-shift-10", "opened", "4 KiB in four segments of 1 KiB, as a writer cuts it", Stream(painted(4096), 10))
    case("opened-shift-20", "opened", "the longest segments there are, one of them, not full", Stream(painted(999), 20))
    part = {**CONTEXT, "part-number": 10000, "layer": 1}
    case("opened-part", "opened", "a part of a multipart object, second layer", Stream(painted(600), context=part))
    case("opened-file", "opened", "a file sealed by itself", Stream(painted(600), context=FILE_CONTEXT))


def header_cases():
    stream = Stream(painted(600))
    sealed = stream.joined()
    for name, at, bit, expect, why in [
        ("magic", 0, 0, "unknown-format", "another magic"),
        ("version", 3, 1, "unknown-format", "the magic of a later version"),
        ("suite", 4, 1, "refused", "an unknown suite"),
        ("shift-8", 5, 0, "refused", "a shift below 9"),
        ("shift-21", 5, 4, "refused", "a shift above 20"),
        ("shift-13", 5, 2, "refused", "a shift that may be, but is not the one sealed: the commitment notices"),
        ("reserved-first", 6, 0, "refused", "the first reserved byte is not zero"),
        ("reserved-last", 15, 7, "refused", "the last reserved byte is not zero"),
        ("key-id", 31, 0, "refused", "another key id: the commitment notices"),
        ("salt", 32, 7, "refused", "another salt: the commitment notices"),
        ("commitment-first", 64, 0, "refused", "the first bit of the commitment"),
        ("commitment-last", 95, 7, "refused", "the last bit of the commitment"),
    ]:
        case(f"header-{name}", expect, why, stream, flip(sealed, at, bit))


def segment_cases():
    stream = Stream(painted(1100))
    sealed, header, (one, two, three) = stream.joined(), stream.header(), stream.segments
    case("flip-ciphertext-first", "refused", "the first bit of a ciphertext", stream, flip(sealed, 96, 7))
    case("flip-ciphertext-last", "refused", "the last bit of the last ciphertext", stream, flip(sealed, -17 + len(sealed)))
    case("flip-tag-first", "refused", "the first bit of a tag", stream, flip(sealed, 96 + 528, 7))
    case("flip-tag-last", "refused", "the last bit of the last tag", stream, flip(sealed, len(sealed) - 1))
    case("swapped", "refused", "segments 0 and 1 traded places; both are full, so every length is still right", stream,
         header + two + one + three)
    case("duplicated", "refused", "segment 0 stands in the place of segment 1 too", stream, header + one + one + three)
    case("inserted", "refused", "segment 0 stands there twice, the others moved on", stream,
         header + one + one + two + three)
    case("dropped-first", "refused", "the first segment is missing", stream, header + two + three)
    case("dropped-final", "refused", "cut at the border of a segment: what is last now was not sealed as last", stream,
         header + one + two)
    case("dropped-all", "refused", "only the header is left", stream, header)
    other = Stream(painted(1100), salt="another salt")
    case("spliced", "refused", "segment 1 of another sealing of the same plaintext under the same key", stream,
         header + one + other.segments[1] + three)
    case("header-of-another", "refused", "the segments of one sealing behind the header of another", stream,
         other.header() + one + two + three)
    case("final-flag-missing", "refused", "the last segment was tagged as not the last", stream,
         header + one + two + stream.segment(pad(stream.plain[1024:]), 2, False))
    case("final-flag-early", "refused", "a segment before the last was tagged as the last", stream,
         header + one + stream.segment(pad(stream.plain[512:1024]), 1, True) + three)
    whole = Stream(painted(1024))
    case("extended", "refused", "a stream that ended with a full segment was followed by one more", whole,
         whole.joined() + whole.segment(pad(b"more"), 2, True))


def length_cases():
    stream = Stream(painted(600))
    sealed = stream.joined()
    for name, found, why in [
        ("empty", b"", "nothing at all"),
        ("95", sealed[:95], "one byte less than a header"),
        ("97", sealed[:97], "one byte more than a header"),
        ("half-segment", sealed[:96 + 16], "less than the shortest segment"),
        ("tag-cut", sealed[:-1], "the last byte is missing"),
        ("one-more", sealed + b"\0", "one byte too many"),
    ]:
        case(f"length-{name}", "refused", why, stream, found)
    case("length-block-cut", "refused", "the last block is missing; the length could be right", stream, sealed[:-16])
    case("length-block-more", "refused", "one block too many; the length could be right", stream, sealed + bytes(16))


def reader_cases():
    stream = Stream(painted(600))
    case("wrong-key", "refused", "another data key", stream, key=fixed("another data key"))
    for name, value in [("kind", 9), ("store-id", fixed("another", 16)), ("bucket-id", fixed("another", 16)),
                        ("object-key", b"letters/2.txt"), ("write-id", fixed("another", 16)), ("part-number", 1),
                        ("layer", 1)]:
        case(f"wrong-{name}", "refused", f"another {name.replace('-', ' ')} in the context", stream,
             context={**CONTEXT, name: value})
    moved = {**CONTEXT, "store-id": CONTEXT["store-id"] + CONTEXT["bucket-id"][:1],
             "bucket-id": CONTEXT["bucket-id"][1:]}
    case("wrong-border", "refused", "the same bytes, with the border between two fields of the context moved", stream,
         context=moved)


def padding_cases():
    """Only a holder of the key can make these: every tag is right."""
    stream, header = Stream(painted(530)), Stream(painted(530)).header()
    first, rest = stream.segments[0], stream.plain[512:]
    for name, end, why in [
        ("zero", rest[:14].ljust(15, b"x") + b"\0", "a padding length of 0"),
        ("17", bytes([17]) * 16, "a padding length of 17"),
        ("255", bytes([255]) * 16, "a padding length of 255"),
        ("uneven", bytes(11) + b"\5\5\5\4\5", "a padding of 5 whose bytes are not all 5"),
        ("first-byte", b"\0" + bytes([16]) * 15, "a padding of 16 whose first byte is not 16"),
    ]:
        case(f"padding-{name}", "refused", why + ", behind a right tag", stream,
             header + first + stream.segment(rest[:16] + end, 1, True))
    case("padding-empty-last", "refused", "the last segment is empty, though the object is not", stream,
         header + first + stream.segment(pad(b""), 1, True))
    case("padding-not-full", "refused", "a segment before the last whose padding leaves 513 bytes", stream,
         header + stream.segment(stream.plain[:513] + bytes([15]) * 15, 0, False) + stream.segments[1])
    case("padding-overfull-last", "refused", "a last segment whose padding leaves 513 bytes", stream,
         header + stream.segment(stream.plain[:513] + bytes([15]) * 15, 0, True))


def small(name, expect, why, plain, label="strongroom/1 test", change=None, reader_label=None):
    context = {**CONTEXT, "kind": 6}
    random = fixed("small random")
    key = HKDFExpand(hashes.SHA256(), 32, label.encode() + random + digest(context)).derive(KEY)
    sealed = random + AESGCM(key).encrypt(bytes(12), plain, None)
    fields = [("form", "small"), ("expect", expect), ("why", why), ("key", KEY), *context.items(),
              ("context", digest(context)), ("label", reader_label or label), ("derived", f"key={key.hex()}")]
    if expect == "opened":
        fields += [("plain", plain)]
    sealed = sealed if change is None else change(sealed)
    write(f"small-{name}", fields + [("sealed", f"{sealed[:32].hex()} {sealed[32:].hex()}".strip())])


def small_cases():
    small("opened-0", "opened", "nothing but a tag", b"")
    small("opened-40", "opened", "forty bytes", painted(40))
    small("random", "refused", "a bit of the random bytes", painted(40), change=lambda sealed: flip(sealed, 0))
    small("ciphertext", "refused", "a bit of the ciphertext", painted(40), change=lambda sealed: flip(sealed, 32))
    small("tag", "refused", "the last bit of the tag", painted(40), change=lambda sealed: flip(sealed, len(sealed) - 1))
    small("short", "refused", "a byte less than random bytes and tag", b"", change=lambda sealed: sealed[:-1])
    small("label", "refused", "another label", painted(40), reader_label="strongroom/1 tess")


if __name__ == "__main__":
    opened_cases()
    header_cases()
    segment_cases()
    length_cases()
    reader_cases()
    padding_cases()
    small_cases()
    print(f"{len(written)} vectors in {FOLDER}")
