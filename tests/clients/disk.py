"""What lies below DIR, seen as a thief or a vandal sees it: files, and SQLite files opened with SQLite.

Nothing here goes through the server, and nothing holds a key.
"""

import contextlib
import re
import sqlite3
from pathlib import Path

from server import Server

HEADER_LEN = 96
MAGIC = b"SRM1"
TAG_LEN = 16


def files(server: Server) -> list[Path]:
    return sorted(path for path in server.data.rglob("*") if path.is_file() and not path.is_symlink())


def blobs(server: Server) -> set[Path]:
    """Every file below `blobs/`, whole or not."""
    return {path for path in (server.data / "blobs").rglob("*") if path.is_file()}


def stream_key_id(sealed: bytes) -> bytes:
    assert sealed[:4] == MAGIC
    return sealed[16:32]


def segment_len(sealed: bytes) -> int:
    """Bytes of a full sealed segment: padded plaintext and tag."""
    return (1 << sealed[5]) + 16 + TAG_LEN


def catalog(server: Server) -> Path:
    return server.data / "catalog.sqlite"


def keyring(server: Server) -> Path:
    return server.data / "keyring.sqlite"


@contextlib.contextmanager
def database(path: Path):
    connection = sqlite3.connect(path, timeout=30)
    connection.row_factory = sqlite3.Row
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def rows(path: Path, sql: str, *values) -> list[sqlite3.Row]:
    with database(path) as connection:
        return connection.execute(sql, values).fetchall()


def blob_path(server: Server, name: bytes) -> Path:
    """`<session>/<last byte of the stream's name>/<stream>`, in hexadecimal."""
    session, stream = name[:16].hex(), name[16:].hex()
    return server.data / "blobs" / session / stream[-2:] / stream


def blob_of(server: Server, key: str, part: int | None = None) -> Path:
    """Where the stream of an object, or of one part of a multipart object, lies."""
    (version,) = rows(catalog(server), "SELECT write_id, blob FROM version WHERE key = ?", key.encode())
    if part is None:
        return blob_path(server, version["blob"])
    (row,) = rows(catalog(server), "SELECT blob FROM part WHERE write_id = ? AND number = ?", version["write_id"], part)
    return blob_path(server, row["blob"])


def orphans(server: Server) -> set[str]:
    """Blobs and data keys that no row of the catalog names; keys that are not there although a row names them."""
    named_blobs = rows(catalog(server), "SELECT blob FROM version WHERE blob IS NOT NULL UNION SELECT blob FROM part")
    named_keys = rows(
        catalog(server),
        "SELECT data_key AS id FROM version UNION SELECT data_key FROM upload UNION SELECT catalog_key FROM bucket",
    )
    kept_keys = rows(keyring(server), "SELECT id FROM wrapped_key WHERE kind <> 3 AND id <> (SELECT store_key FROM identity)")
    stray_blobs = blobs(server) ^ {blob_path(server, row["blob"]) for row in named_blobs}
    stray_keys = {row["id"] for row in kept_keys} ^ {row["id"] for row in named_keys}
    return {str(path) for path in stray_blobs} | {id.hex() for id in stray_keys}


def pins(server: Server) -> set[str]:
    """Whatever a file named like a PIN holds."""
    named = [path for path in files(server) if re.search(r"(^|[._-])(so-?)?pin($|[._-])", path.name.lower())]
    return {path.read_text().strip() for path in named if path.read_text().strip()}
