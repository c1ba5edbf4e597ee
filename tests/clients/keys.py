"""Data keys of a test's own server, got back through the token: to look for them, or to hand them to the opener."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from disk import catalog, keyring, rows
from server import REPOSITORY, Server

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
)
OPENER = REPOSITORY / "tests/open.py"
HERE = Path(__file__).parent
STREAM, DATA_KEY = 1, 2


def context_sha256(
    kind: int,
    store: bytes,
    bucket: bytes,
    key: bytes,
    write_id: bytes,
    part: int = 0,
    layer: int = 0,
    encryption_context: bytes = b"",
) -> bytes:
    """The canonical bytes of docs/format.md, digested."""
    fields = [store, bucket, key, write_id, part.to_bytes(4, "big"), bytes([layer])]
    if kind == DATA_KEY:
        fields.append(encryption_context)
    return hashlib.sha256(bytes([kind]) + b"".join(len(f).to_bytes(4, "big") + f for f in fields)).digest()


@dataclasses.dataclass
class Place:
    """What the catalog says in the clear about one object."""

    store: bytes
    bucket: bytes
    key: bytes
    write_id: bytes
    wrapped: bytes
    kept_context: bytes

    def context(self, kind: int, part: int = 0, layer: int = 0, encryption_context: bytes = b"") -> bytes:
        named = (self.store, self.bucket, self.key, self.write_id)
        return context_sha256(kind, *named, part, layer, encryption_context)


def place_of(server: Server, key: str) -> Place:
    (store,) = rows(catalog(server), "SELECT id FROM store")
    (version,) = rows(catalog(server), "SELECT * FROM version WHERE key = ?", key.encode())
    (kept,) = rows(keyring(server), "SELECT * FROM wrapped_key WHERE id = ?", version["data_key"])
    return Place(store["id"], version["bucket"], version["key"], version["write_id"], kept["wrapped"], kept["context"])


def unwrapped(server: Server, wanted: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The keys in these wrapped keys, each under its context."""
    module = next(path for path in MODULES if Path(path).exists())
    done = subprocess.run(
        [sys.executable, str(HERE / "hsm_unwrap.py"), module, str(server.data / "token/pin")],
        input="".join(f"{wrapped.hex()} {context.hex()}\n" for wrapped, context in wanted).encode(),
        capture_output=True,
        env={**os.environ, "SOFTHSM2_CONF": str(server.data / "token/softhsm2.conf")},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    keys = [done.stdout[at : at + 32] for at in range(0, len(done.stdout), 32)]
    assert len(keys) == len(wanted)
    return keys


def all_keys(server: Server) -> dict[str, bytes]:
    """Every key in the keyring, by its id."""
    kept = rows(keyring(server), "SELECT id, wrapped, context FROM wrapped_key")
    keys = unwrapped(server, [(row["wrapped"], row["context"]) for row in kept])
    return {row["id"].hex(): key for row, key in zip(kept, keys, strict=True)}


def opened(
    server: Server, sealed: Path, place: Place, out: Path, part: int = 0, *, context: bytes | None = None
) -> subprocess.CompletedProcess:
    """Runs the opener that knows nothing of the server's code; the key goes from one pipe into the other."""
    (key,) = unwrapped(server, [(place.wrapped, place.context(DATA_KEY))])
    wanted = context or place.context(STREAM, part)
    return subprocess.run(
        [sys.executable, str(OPENER), str(sealed), "--out", str(out), "--context-sha256", wanted.hex()],
        input=key,
        capture_output=True,
        timeout=120,
    )
