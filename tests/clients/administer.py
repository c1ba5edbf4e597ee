"""`strongroom users` and `strongroom keys`, run as an administrator runs them, and what they answer."""

import json
import subprocess

import botocore.credentials

from server import BINARY, Server


def run(
    server: Server,
    *arguments: str,
    stdin: str = "",
    prefix: tuple[str, ...] = (),
    program: str = BINARY,
    place: tuple[str, ...] | None = None,
) -> subprocess.CompletedProcess:
    """A command on the server's folder, or whatever `place` says; `prefix` runs it as somebody else."""
    place = place or ("--data", str(server.data))
    return subprocess.run(
        [*prefix, program, *map(str, arguments), *place], input=stdin, capture_output=True, text=True, timeout=120
    )


def done(server: Server, *arguments: str, **options):
    """One that must work; its report."""
    ended = run(server, *arguments, "--json", **options)
    assert ended.returncode == 0, (arguments, ended.stderr)
    return json.loads(ended.stdout)


def refused(server: Server, *arguments: str, words: tuple[str, ...] = (), **options) -> str:
    """One that must not; the one line that it says why."""
    ended = run(server, *arguments, **options)
    assert ended.returncode == 1, (arguments, ended.returncode, ended.stdout, ended.stderr)
    assert ended.stdout == "" and ended.stderr.count("\n") == 1 and "panicked" not in ended.stderr, ended.stderr
    for word in words:
        assert word in ended.stderr, (word, ended.stderr)
    return ended.stderr


def new_key(server: Server, user: str, **options) -> botocore.credentials.Credentials:
    made = done(server, "users", "keys", "create", user, **options)
    return botocore.credentials.Credentials(made["access_key"], made["secret"])


def put_policy(server: Server, user: str, name: str, *statements: dict, **options):
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return done(server, "users", "policy", "put", user, name, stdin=json.dumps(document), **options)


def allow(*actions: str, resource: str | list[str] = "*", effect: str = "Allow") -> dict:
    return {"Effect": effect, "Action": list(actions), "Resource": resource}


def client(server: Server, credentials: botocore.credentials.Credentials, **config):
    return server.s3(access_key=credentials.access_key, secret_key=credentials.secret_key, **config)
