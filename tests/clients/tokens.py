"""Tokens of a test's own: SoftHSM or kryoptic behind the forwarding module, which goes wrong when it is told to.

Holds the folder, the PIN and the configuration of one store on such tokens. What a machine does not have is a reason to
skip, told by `need`. The PIN is random, so that a test can look for it everywhere.
"""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keys import MODULES
from server import REPOSITORY

EXAMPLES = Path(os.environ.get("STRONGROOM_EXAMPLES", REPOSITORY / "target/debug/examples"))
FORWARDING = EXAMPLES / "libforwarding.so"
KRYOPTIC = Path(os.environ.get("STRONGROOM_KRYOPTIC", REPOSITORY / "target/tokens/release/libkryoptic.so"))


def need(what: str, path) -> Path:
    """The path, or the end of this test."""
    if path is None or not Path(path).exists():
        pytest.skip(f"{what} is absent here")
    return Path(path)


def softhsm() -> Path:
    return need("SoftHSM", next((path for path in MODULES if Path(path).exists()), None))


class SoftTokens:
    """A folder of SoftHSM tokens, reached through the forwarding module."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.real = softhsm()
        self.module = need("the forwarding module (cargo build -p strongroom-hsm --example forwarding)", FORWARDING)
        self.pin = secrets.token_hex(8)
        self.pin_file = folder / "pin"
        self.tokens = folder / "tokens"
        self.environment = {"SOFTHSM2_CONF": str(folder / "softhsm2.conf")}
        self.tokens.mkdir(parents=True)
        self.configure(self.tokens)
        self.write_pin(self.pin)
        self.fault()

    def configure(self, tokens: Path) -> None:
        (self.folder / "softhsm2.conf").write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )

    def write_pin(self, pin: str) -> None:
        fresh = self.folder / "pin.new"
        fresh.write_text(pin)
        fresh.chmod(0o600)
        fresh.rename(self.pin_file)

    def fault(self, *lines: str) -> None:
        """From now on these things go wrong, and no others."""
        fresh = self.folder / "fault.new"
        fresh.write_text("\n".join((str(self.real), *lines)))
        fresh.rename(self.folder / "fault")

    def login_count(self) -> int:
        logins = self.folder / "logins"
        return logins.stat().st_size if logins.exists() else 0

    def make(self, label: str) -> str:
        """A new token; its serial."""
        before = set(self.serials())
        self._softhsm("--init-token", "--free", "--label", label, "--so-pin", self.pin, "--pin", self.pin)
        (serial,) = set(self.serials()) - before
        return serial

    def serials(self) -> list[str]:
        lines = [line.split(":", 1) for line in self._softhsm("--show-slots").splitlines() if "Serial number" in line]
        return [serial.strip() for _, serial in lines if serial.strip()]

    def _softhsm(self, *arguments: str) -> str:
        program = need("softhsm2-util", shutil.which("softhsm2-util"))
        done = subprocess.run(
            [program, *arguments], env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def change_pin(self, label: str, new: str) -> None:
        """As another tool does it; the PIN file stays as it is."""
        program = "import pkcs11, sys\nm, l, old, new = sys.stdin.read().split()\n"
        program += "t = pkcs11.lib(m).get_token(token_label=l)\n"
        program += "with t.open(rw=True, user_pin=old) as s: s.set_pin(old, new)\n"
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=f"{self.real} {label} {self.pin} {new}",
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        self.pin = new

    def masters(self, label: str = "store", name: str = "hsm", **options) -> str:
        """One of [[masters]] in a configuration file."""
        told = {"module": str(self.module), "label": label, "pin-file": str(self.pin_file), **options}
        told = {field.replace("_", "-"): value for field, value in told.items() if value is not None}
        lines = [f"{field} = {toml(value)}" for field, value in told.items()]
        return "\n".join(["[[masters]]", f'name = "{name}"', 'kind = "pkcs11"', *lines, ""])


def toml(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(toml(one) for one in value)}]"
    return str(value) if isinstance(value, int) else f"'{value}'"
