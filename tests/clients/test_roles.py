"""Administrators of keys and administrators of data: real users of this machine, told apart by its kernel.

Run as root, the only one who can be somebody else; without, these tests are skipped, and say so.
"""

import json
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from administer import allow, done, new_key, put_policy, refused, run
from server import BINARY, Server, poll
from test_startup import check_refuses_to_start

KEYS, DATA, NOBODY = 61_001, 61_002, 61_003

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED HERE: other users can be tried by root only")


@pytest.fixture
def keyfile(tmp_path) -> tuple[str, ...]:
    """Master keys without an HSM, and without what --dev allows."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse")
    passphrase.chmod(0o600)
    return ("--keyfile", str(tmp_path / "keys"), "--passphrase-file", str(passphrase), "--init")


def written(tmp_path: Path, *lines: str) -> tuple[str, ...]:
    path = tmp_path / "strongroom.toml"
    path.write_text("[administrators]\n" + "\n".join(lines) + "\n")
    return ("--config", str(path))


class Office:
    """A server with administrators of both kinds, and a way to be each of them."""

    def __init__(self, server: Server, lobby: Path):
        self.server, self.socket = server, lobby / "admin.sock"
        # Where everybody may go, and run it.
        self.binary = lobby / "strongroom"
        shutil.copy(BINARY, self.binary)
        self.binary.chmod(0o755)

    def as_uid(self, uid: int) -> dict:
        """For the commands of administer.py."""
        person = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "env", "-C", "/")
        return {"prefix": person, "program": str(self.binary), "place": ("--admin-socket", str(self.socket))}


@pytest.fixture
def lobby():
    folder = Path(tempfile.mkdtemp(prefix="lobby-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def office(make_server, keyfile, tmp_path, lobby) -> Office:
    config = written(tmp_path, f"keys = [{KEYS}]", f"data = [{DATA}]")
    arguments = ("--admin-socket", str(lobby / "admin.sock"), *config)
    server = make_server(options=keyfile, arguments=arguments, roles_apart=True).start()
    return Office(server, lobby)


def events(server: Server) -> list[dict]:
    told = map(json.loads, (server.data / "audit.log").read_text().splitlines())
    return [event for event in told if event["event"] == "administration"]


@as_root
def test_each_role_does_its_own_work_and_not_the_other_s(office):
    keys, data, server = office.as_uid(KEYS), office.as_uid(DATA), office.server
    assert [key["alias"] for key in done(server, "keys", "list", **keys)] == ["default"]
    done(server, "keys", "create", "payroll", **keys)
    done(server, "users", "create", "alice", **data)
    new_key(server, "alice", **data)
    for command in (["list"], ["describe", "default"], ["create", "other"], ["rotate", "default"], ["disable", "default/1"], ["cache"]):
        refused(server, "keys", *command, words=("administrator of keys", f"uid:{DATA}"), **data)
    refused(server, "keys", "invalidate", "bbb", "--yes", words=("administrator of keys",), **data)
    access_key = done(server, "users", "keys", "list", "alice", **keys)[0]["access_key"]
    for command in (["create", "bob"], ["delete", "alice"], ["keys", "create", "alice"]):
        refused(server, "users", *command, words=("administrator of data", f"uid:{KEYS}"), **keys)
    refused(server, "users", "keys", "delete", "alice", access_key, words=("administrator of data",), **keys)
    refused(server, "users", "keys", "disable", "alice", access_key, words=("administrator of data",), **keys)
    assert {key["alias"] for key in done(server, "keys", "list", **keys)} == {"default", "payroll"}
    assert len(done(server, "users", "keys", "list", "alice", **data)) == 1


@as_root
def test_a_policy_is_put_and_deleted_by_those_who_administer_what_it_speaks_of(office):
    keys, data, server = office.as_uid(KEYS), office.as_uid(DATA), office.server
    done(server, "users", "create", "alice", **data)
    s3, kms = allow("s3:GetObject"), allow("kms:Decrypt")
    put_policy(server, "alice", "s3", s3, **data)
    put_policy(server, "alice", "kms", kms, **keys)

    def put_refused(name, *statements, **who):
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        words = ("administrator of",)
        refused(server, "users", "policy", "put", "alice", name, stdin=document, words=words, **who)

    for who in (keys, data):
        put_refused("both", s3, kms, **who)
        put_refused("all", allow("*"), **who)
        put_refused("but", {"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": "*"}, **who)
    put_refused("other", kms, **data)
    put_refused("other", s3, **keys)
    # Nor in the place of a policy of the others, nor away with it.
    put_refused("kms", s3, **data)
    put_refused("s3", kms, **keys)
    refused(server, "users", "policy", "delete", "alice", "kms", words=("administrator of keys",), **data)
    refused(server, "users", "policy", "delete", "alice", "s3", words=("administrator of data",), **keys)
    assert done(server, "users", "policy", "list", "alice", **data) == ["kms", "s3"]
    assert "kms:Decrypt" in done(server, "users", "policy", "get", "alice", "kms", **data)["document"]
    done(server, "users", "policy", "delete", "alice", "kms", **keys)
    done(server, "users", "policy", "delete", "alice", "s3", **data)


@as_root
def test_nobody_alone_makes_an_access_key_for_a_user_who_may_use_master_keys(office):
    keys, data, server = office.as_uid(KEYS), office.as_uid(DATA), office.server
    done(server, "users", "create", "alice", **data)
    new_key(server, "alice", **data)
    put_policy(server, "alice", "use", allow("kms:Decrypt"), **keys)
    refused(server, "users", "keys", "create", "alice", words=("administrator of keys",), **data)
    refused(server, "users", "keys", "create", "alice", words=("administrator of data",), **keys)
    done(server, "users", "policy", "delete", "alice", "use", **keys)
    new_key(server, "alice", **data)


@as_root
def test_everybody_else_is_turned_away_before_a_byte_is_read(office):
    server = office.server
    assert stat.S_IMODE(office.socket.stat().st_mode) == 0o666
    for uid in (NOBODY, 0):
        words = ("administers nothing", str(uid))
        refused(server, "keys", "list", words=words, **office.as_uid(uid))
        refused(server, "users", "list", words=words, **office.as_uid(uid))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(20)
        silent.connect(str(office.socket))
        assert b"administers nothing" in silent.recv(4096), "it does not wait for a command"
    assert [event for event in events(server) if event["who"] in ("uid:0", f"uid:{NOBODY}")] == []


@as_root
def test_every_change_and_every_refusal_leaves_an_event_with_uid_and_role(office):
    server = office.server
    done(server, "users", "create", "alice", **office.as_uid(DATA))
    done(server, "keys", "rotate", "default", **office.as_uid(KEYS))
    refused(server, "users", "delete", "alice", **office.as_uid(KEYS))
    poll("three events", lambda: len(events(server)) >= 3)
    told = [(event["who"], event["role"], event["result"] == "done") for event in events(server)]
    assert told == [(f"uid:{DATA}", "data", True), (f"uid:{KEYS}", "keys", True), (f"uid:{KEYS}", "keys", False)]


@as_root
def test_whoever_cannot_reach_the_socket_is_told_where_it_is_to_be(office):
    who = {**office.as_uid(KEYS), "place": ("--data", str(office.server.data))}
    refused(office.server, "keys", "list", words=("--admin-socket",), **who)


def test_where_nobody_is_named_the_server_s_own_user_administers_data_only(make_server, keyfile):
    server = make_server(options=keyfile, roles_apart=True).start()
    assert stat.S_IMODE((server.data / "admin.sock").stat().st_mode) == 0o600
    done(server, "users", "create", "alice")
    for command in (["list"], ["rotate", "default"]):
        refused(server, "keys", *command, words=("[administrators]", "keys"))
    put_policy(server, "alice", "read", allow("s3:GetObject"))
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow("kms:Decrypt")]})
    refused(server, "users", "policy", "put", "alice", "use", stdin=document, words=("keys",))
    server.terminate()
    # Without a server the files and the PIN decide.
    assert len(done(server, "keys", "list", *keyfile[:-1])) == 1


def test_one_administrator_is_a_setting_that_is_told_loudly(make_server, keyfile, tmp_path):
    server = make_server(options=keyfile).start()
    done(server, "keys", "rotate", "default")
    done(server, "users", "create", "alice")
    put_policy(server, "alice", "all", allow("*"))
    assert "ONE ADMINISTRATOR" in server.log_text()
    server.terminate()
    server.roles = written(tmp_path, "one-administrator = true")
    server.start()
    done(server, "keys", "list")


def test_dev_has_one_administrator_and_says_so(make_server):
    server = make_server(roles_apart=True).start()
    done(server, "keys", "list")
    done(server, "users", "list")
    assert "ONE ADMINISTRATOR" in server.log_text()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["keys = [61001]", "data = [61001]"], ("61001", "--one-administrator")),
        (["keys = ['root']", "data = [0]"], ("uid 0", "--one-administrator")),
        (["keys = ['nobody-of-this-name']"], ("nobody-of-this-name",)),
        (["keys = [61001]"], ("61001", "--admin-socket")),
        (["key = [61001]"], ("line 2", "key")),
        (["keys = [-1]"], ("line 2",)),
    ],
)
def test_administrators_that_cannot_be_meant_are_refused_at_the_start(make_server, keyfile, tmp_path, lines, words):
    server = make_server(options=keyfile, arguments=written(tmp_path, *lines), roles_apart=True)
    check_refuses_to_start(server, *words)
    assert not (server.data / "catalog.sqlite").exists()


def test_a_command_that_finds_neither_server_nor_store_makes_nothing(make_server, tmp_path):
    server = make_server()
    refused(server, "keys", "list", words=("no server", str(server.data)))
    assert not server.data.exists()
    assert run(server, "users", "list").returncode == 1
