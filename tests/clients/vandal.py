"""What somebody who can write below DIR does to it, behind the server's back."""

import contextlib
from pathlib import Path

from disk import HEADER_LEN, catalog, database, segment_len
from server import Server


def flip(path: Path, offset: int) -> None:
    """Flips one bit in place; a negative offset counts from the end."""
    with path.open("r+b") as file:
        file.seek(offset, 0 if offset >= 0 else 2)
        at = file.tell()
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x01]))


def cut_off(path: Path, byte_count: int) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - byte_count)


def rewrite(path: Path, change) -> None:
    """In place: the same file, other bytes."""
    with path.open("r+b") as file:
        changed = change(file.read())
        file.seek(0)
        file.write(changed)
        file.truncate()


def segments(sealed: bytes) -> list[bytes]:
    length = segment_len(sealed)
    return [sealed[at : at + length] for at in range(HEADER_LEN, len(sealed), length)]


def swap_segments(sealed: bytes, one: int, two: int) -> bytes:
    pieces = segments(sealed)
    pieces[one], pieces[two] = pieces[two], pieces[one]
    return sealed[:HEADER_LEN] + b"".join(pieces)


def without_segment(sealed: bytes, index: int) -> bytes:
    pieces = segments(sealed)
    return sealed[:HEADER_LEN] + b"".join(pieces[:index] + pieces[index + 1 :])


def segment_twice(sealed: bytes, index: int) -> bytes:
    pieces = segments(sealed)
    return sealed[:HEADER_LEN] + b"".join(pieces[: index + 1] + pieces[index:])


@contextlib.contextmanager
def behind_its_back(server: Server):
    """The catalog, open to be changed while no server runs; the server starts again after."""
    server.terminate()
    with database(catalog(server)) as connection:
        yield connection
    server.start()
