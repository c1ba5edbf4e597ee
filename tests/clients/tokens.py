"""Tokens of a test's own: SoftHSM or kryoptic behind the forwarding module, which goes wrong when it is told to.

Holds the folder, the PIN and the configuration of one store on such tokens. What a machine does not have is a reason to
skip, told by `need`. The PIN is random, so that a test can look for it everywhere.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keys import MODULES
from server import REPOSITORY, poll

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


class Tokens:
    """What a server must be told of tokens: module, environment, PIN."""

    def __init__(self, folder: Path, module: Path, environment: dict[str, str]):
        folder.mkdir(parents=True)
        self.folder, self.module, self.environment = folder, module, environment
        self.pin = secrets.token_hex(8)
        self.pin_file = folder / "pin"
        self.write_pin(self.pin)

    def write_pin(self, pin: str) -> None:
        fresh = self.folder / "pin.new"
        fresh.write_text(pin)
        fresh.chmod(0o600)
        fresh.rename(self.pin_file)

    def masters(self, label: str = "store", name: str = "hsm", **options) -> str:
        """One of [[masters]] in a configuration file."""
        told = {"module": str(self.module), "label": label, "pin-file": str(self.pin_file), **options}
        lines = [f"{field.replace('_', '-')} = {toml(value)}" for field, value in told.items()]
        return "\n".join(["[[masters]]", f'name = "{name}"', 'kind = "pkcs11"', *lines, ""])


class SoftTokens(Tokens):
    """A folder of SoftHSM tokens, reached through the forwarding module."""

    def __init__(self, folder: Path):
        self.real = softhsm()
        module = need("the forwarding module (cargo build -p strongroom-hsm --example forwarding)", FORWARDING)
        super().__init__(folder, module, {"SOFTHSM2_CONF": str(folder / "softhsm2.conf")})
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        (folder / "softhsm2.conf").write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.fault()

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


class LockingToken(Tokens):
    """opencryptoki's soft token, which locks after three wrong PINs. It is this machine's only one: emptied, not made."""

    LABEL, PIN, SO_PIN = "strongroom-tokens", "87651234", "76543210"

    def __init__(self, folder: Path):
        module = need("opencryptoki", "/usr/lib/x86_64-linux-gnu/pkcs11/libopencryptoki.so")
        if os.environ.get("STRONGROOM_OPENCRYPTOKI") != "1":
            pytest.skip("STRONGROOM_OPENCRYPTOKI is not 1: it would initialise this machine's token")
        super().__init__(folder, module, {})
        self.write_pin(self.PIN)
        self.pin = self.PIN

    def make(self, label: str) -> None:
        program = need("init_token (cargo build -p strongroom-hsm --example init_token)", EXAMPLES / "init_token")
        arguments = [program, self.module, "3", self.LABEL, self.SO_PIN, self.PIN]
        subprocess.run(arguments, check=True, timeout=60)

    def log_in(self) -> None:
        """As its owner does it with another tool; the token's count of wrong PINs starts anew."""
        program = "import pkcs11, sys\nm, l, pin = sys.stdin.read().split()\n"
        program += "t = pkcs11.lib(m).get_token(token_label=l)\nwith t.open(user_pin=pin): pass\n"
        given = f"{self.module} {self.LABEL} {self.PIN}"
        done = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def masters(self, label: str = LABEL, name: str = "hsm", **options) -> str:
        return super().masters(label, name, **options)


class RemoteToken(Tokens):
    """A kryoptic token behind `p11-kit server`: the key is in another process, as it would be on another host."""

    def __init__(self, folder: Path):
        self.program = need("p11-kit", shutil.which("p11-kit"))
        self.kryoptic = need("kryoptic (ci/test builds it)", KRYOPTIC)
        self.socket = folder / "socket"
        client = need("p11-kit's client module", "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so")
        super().__init__(folder, client, {"P11_KIT_SERVER_ADDRESS": f"unix:path={self.socket}"})
        conf = folder / "kryoptic.conf"
        conf.write_text(f"[[slots]]\nslot = 42\ndbtype = 'sqlite'\ndbargs = '{folder / 'token.sql'}'\n")
        self._environment = {**os.environ, "KRYOPTIC_CONF": str(conf)}
        self.server: subprocess.Popen | None = None

    def make(self, label: str) -> None:
        program = need("init_token (cargo build -p strongroom-hsm --example init_token)", EXAMPLES / "init_token")
        # A token of this test alone, which is gone with its folder: here the PIN may be an argument.
        arguments = [program, self.kryoptic, "-", label, self.pin, self.pin]
        subprocess.run(arguments, env=self._environment, check=True, timeout=60)
        self.start()

    def start(self) -> None:
        # Of its own group: it makes a child for each connection, which holds the token, and both are to be killed.
        command = [self.program, "server", "-f", "-n", self.socket, "--provider", self.kryoptic, "pkcs11:"]
        self.server = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        poll("the p11-kit server listens", self.socket.exists)

    def kill(self) -> None:
        if self.server:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait(timeout=10)
            self.server = None
            self.socket.unlink(missing_ok=True)


def toml(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(toml(one) for one in value)}]"
    return str(value) if isinstance(value, int) else f"'{value}'"
