"""One running `strongroom serve`: started, awaited, killed, started again.

Holds the real binary with a folder and a port of its own, and the clients that talk to it. Never looks into the
folder beyond `credentials`, the file the operator is told to use (disk.py looks at the rest). Whatever `start` began,
`close` ends: the process and the HSM worker it spawned share a process group of their own.
"""

import configparser
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import boto3
import botocore.config
import botocore.credentials

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("STRONGROOM_BIN", str(REPOSITORY / "target/debug/strongroom"))
LOG_LEVEL_VARIABLE = "STRONGROOM_LOG"
READY_WAIT_S = 60
TERMINATE_WAIT_S = 35
REGION = "us-east-1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def poll(promise: str, check, wait_s: float = 30, every_s: float = 0.05):
    """Waits until `check()` is true and returns what it gave; fails with `promise` if that never comes."""
    deadline = time.monotonic() + wait_s
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {wait_s} s: {promise}")
        time.sleep(every_s)


class Server:
    def __init__(
        self,
        data: Path,
        *,
        log_level: str = "info",
        wrapper: tuple[str, ...] = (),
        port: int | None = None,
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = ("--dev",),
        arguments: tuple[str, ...] = (),
        authority: Path | None = None,
        roles_apart: bool = False,
    ):
        self.data = Path(data)
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        # The certificate of whoever signed the server's own: it speaks TLS then, and its clients check it.
        self.authority = authority
        self.url = f"{'https' if authority else 'http'}://{self.address}"
        self.log_path = self.data.parent / f"{self.data.name}.log"
        self.process: subprocess.Popen | None = None
        self._wrapper = wrapper
        self.options = options
        self.arguments = arguments
        # Most tests are about something else: one person administers keys and data.
        self.roles = () if roles_apart else ("--one-administrator",)
        self._environment = {**os.environ, LOG_LEVEL_VARIABLE: log_level, **(environment or {})}

    # Life

    def spawn(self) -> "Server":
        """Starts the process and returns at once: ready or not, alive or not."""
        command = [*self._wrapper, BINARY, "serve", *self.options, "--data", str(self.data), "--listen", self.address]
        command += [*self.roles, *self.arguments]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        return self

    def start(self) -> "Server":
        self.spawn()
        poll(f"GET /-/health/ready answers 200; log:\n{self.log_tail()}", self._ready_or_dead, READY_WAIT_S)
        return self

    def _ready_or_dead(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode} before it was ready:\n{self.log_tail()}")
        return self.health("ready") == 200

    def connection(self) -> http.client.HTTPConnection:
        if self.authority is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        context = ssl.create_default_context(cafile=str(self.authority))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)

    def health(self, which: str) -> int | None:
        """Status of a health endpoint, None where nobody answers."""
        connection = self.connection()
        try:
            connection.request("GET", f"/-/health/{which}")
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def trouble(self) -> str | None:
        """Why it is not ready: the answer of the health endpoint; None while it is ready."""
        connection = self.connection()
        try:
            connection.request("GET", "/-/health/ready")
            answer = connection.getresponse()
            return None if answer.status == 200 else answer.read().decode()
        except OSError as error:
            return str(error)
        finally:
            connection.close()

    def spawn_degraded(self, *words: str) -> "Server":
        """Starts it where it cannot become ready, and waits until it says so in these words."""
        self.spawn()
        return self.await_trouble(*words)

    def await_trouble(self, *words: str) -> "Server":
        def said() -> bool:
            assert self.process.poll() is None, f"serve ended:\n{self.log_tail()}"
            trouble = self.trouble() or ""
            return all(word in trouble for word in words)

        poll(f"the health endpoint says {words}; log:\n{self.log_tail()}", said, READY_WAIT_S)
        return self

    def kill9(self) -> None:
        """What a power cut does to a process: no handler runs."""
        os.kill(self.serve_pid(), signal.SIGKILL)
        self.process.wait(timeout=10)

    def terminate(self) -> None:
        os.kill(self.serve_pid(), signal.SIGTERM)
        code = self.process.wait(timeout=TERMINATE_WAIT_S)
        assert code == 0, f"SIGTERM must end in exit code 0, not {code}:\n{self.log_tail()}"

    def restart(self) -> "Server":
        """A planned restart on the same folder and port."""
        self.terminate()
        return self.start()

    def close(self) -> None:
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(timeout=10)

    def serve_pid(self) -> int:
        """The server itself, also where a tracer stands in front of it."""
        if not self._wrapper:
            return self.process.pid
        return poll("the tracer has started the server", lambda: next(iter(children(self.process.pid)), None))

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_):
        self.close()

    # Log

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    # Clients

    def credentials(self) -> botocore.credentials.Credentials:
        parsed = configparser.ConfigParser(interpolation=None)
        parsed.read(self.data / "credentials")
        default = parsed["default"]
        return botocore.credentials.Credentials(default["aws_access_key_id"], default["aws_secret_access_key"])

    def s3(self, *, access_key: str | None = None, secret_key: str | None = None, **config):
        """A boto3 client that tries once, so that every answer is the first one."""
        own = self.credentials()
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            verify=str(self.authority) if self.authority else None,
            region_name=REGION,
            aws_access_key_id=access_key or own.access_key,
            aws_secret_access_key=secret_key or own.secret_key,
            config=botocore.config.Config(
                **{
                    "s3": {"addressing_style": "path"},
                    "signature_version": "s3v4",
                    "retries": {"mode": "standard", "total_max_attempts": 1},
                    "max_pool_connections": 32,
                    "read_timeout": 120,
                    **config,
                }
            ),
        )

    def aws(self, *arguments: str, check: bool = True, config: Path | None = None) -> subprocess.CompletedProcess:
        """The AWS CLI, as the lines that `serve --dev` prints use it; `config` is a configuration file of its own."""
        program = Path(sys.executable).with_name("aws")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data.parent),
            "AWS_CONFIG_FILE": str(config or os.devnull),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.data / "credentials"),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
            "LC_ALL": "C.UTF-8",
        }
        trusted = ["--ca-bundle", str(self.authority)] if self.authority else []
        done = subprocess.run(
            [str(program), "--endpoint-url", self.url, *trusted, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"aws {' '.join(map(str, arguments))}: {done.stderr or done.stdout}"
        return done


def children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
