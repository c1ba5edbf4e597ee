"""Users: made, shown, given access keys and policies; what is deleted, disabled or altered signs nothing."""

import configparser
import json
import stat

import pytest
from botocore.credentials import Credentials

from administer import allow, client, done, new_key, put_policy, refused, run
from disk import catalog, rows
from refusal import refused as s3_refused
from server import poll
from vandal import behind_its_back
from wire import exchange, sign


def signs(server, credentials: Credentials) -> bool:
    """Whether a signature of this access key is known: what its user may do is another question."""
    answer = exchange(server, sign(server, "GET", "/", credentials=credentials))
    assert answer.status in (200, 403), answer
    return answer.code not in ("InvalidAccessKeyId", "SignatureDoesNotMatch")


def test_a_user_signs_with_an_access_key_until_it_is_deleted(own_server):
    made = done(own_server, "users", "create", "alice")
    assert made["arn"] == "arn:aws:iam::000000000000:user/alice" and made["access_keys"] == []
    key, other = new_key(own_server, "alice"), new_key(own_server, "alice")
    assert signs(own_server, key) and signs(own_server, other)
    assert not signs(own_server, Credentials(key.access_key, other.secret_key))
    done(own_server, "users", "keys", "delete", "alice", key.access_key)
    assert not signs(own_server, key) and signs(own_server, other)
    done(own_server, "users", "delete", "alice")
    assert not signs(own_server, other)


def test_a_disabled_access_key_signs_nothing_until_it_is_enabled(own_server):
    done(own_server, "users", "create", "alice")
    key = new_key(own_server, "alice")
    assert signs(own_server, key)
    done(own_server, "users", "keys", "disable", "alice", key.access_key)
    assert not signs(own_server, key)
    (shown,) = done(own_server, "users", "keys", "list", "alice")
    assert shown["access_key"] == key.access_key and shown["enabled"] is False
    assert "(disabled)" in run(own_server, "users", "show", "alice").stdout
    done(own_server, "users", "keys", "enable", "alice", key.access_key)
    assert signs(own_server, key)


def test_a_user_made_again_is_another_and_old_access_keys_stay_dead(own_server):
    first = done(own_server, "users", "create", "alice")
    key = new_key(own_server, "alice")
    (kept,) = rows(catalog(own_server), "SELECT * FROM access_key WHERE id = ?", key.access_key.encode())
    done(own_server, "users", "delete", "alice")
    again = done(own_server, "users", "create", "alice")
    assert first["id"] != again["id"]
    with behind_its_back(own_server) as connection:
        connection.execute("INSERT INTO access_key VALUES (?, ?, ?, ?)", tuple(kept))
    answer = exchange(own_server, sign(own_server, "GET", "/", credentials=key))
    assert answer.status == 500 and answer.code == "InternalError"


def test_the_owner_has_the_first_access_key_and_cannot_be_deleted(own_server):
    owner = done(own_server, "users", "show", "owner")
    assert [key["access_key"] for key in owner["access_keys"]] == [own_server.credentials().access_key]
    assert owner["arn"] == "arn:aws:iam::000000000000:root"
    refused(own_server, "users", "delete", "owner", words=("owner",))
    refused(own_server, "users", "create", "owner", words=("exists",))
    second = new_key(own_server, "owner")
    done(own_server, "users", "keys", "delete", "owner", own_server.credentials().access_key)
    assert not signs(own_server, own_server.credentials()) and signs(own_server, second)
    client(own_server, second).create_bucket(Bucket="bbb")
    own_server.restart()
    assert not signs(own_server, own_server.credentials()) and signs(own_server, second)


def test_a_secret_goes_into_a_file_that_only_its_maker_can_read(own_server, tmp_path):
    done(own_server, "users", "create", "alice")
    path = tmp_path / "alice.credentials"
    ended = run(own_server, "users", "keys", "create", "alice", "--out", str(path))
    assert ended.returncode == 0, ended.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read(path)
    secret = parsed["default"]["aws_secret_access_key"]
    assert secret not in ended.stdout + ended.stderr
    assert signs(own_server, Credentials(parsed["default"]["aws_access_key_id"], secret))
    refused(own_server, "users", "keys", "create", "alice", "--out", str(path), words=(str(path),))
    assert len(done(own_server, "users", "keys", "list", "alice")) == 1
    fresh = tmp_path / "nobody.credentials"
    refused(own_server, "users", "keys", "create", "nobody", "--out", str(fresh), words=("nobody",))
    assert not fresh.exists()


def test_a_secret_is_nowhere_but_in_the_answer(own_server):
    done(own_server, "users", "create", "alice")
    key = new_key(own_server, "alice")
    assert signs(own_server, key)
    poll("the event is written", lambda: "create-key" in (own_server.data / "audit.log").read_text())
    for path in [own_server.log_path, *own_server.data.rglob("*")]:
        if path.is_file():
            assert key.secret_key.encode() not in path.read_bytes(), path


def test_policies_are_kept_as_they_were_put(own_server):
    done(own_server, "users", "create", "alice")
    text = '{ "Version": "2012-10-17",\n  "Statement": {"Effect":"Allow","Action":"s3:*","Resource":"*"} }\n'
    ended = run(own_server, "users", "policy", "put", "alice", "all", stdin=text)
    assert ended.returncode == 0, ended.stderr
    put_policy(own_server, "alice", "a-first", allow("s3:GetObject"))
    assert run(own_server, "users", "policy", "get", "alice", "all").stdout == text
    assert done(own_server, "users", "policy", "list", "alice") == ["a-first", "all"]
    put_policy(own_server, "alice", "all", allow("s3:PutObject"))
    assert "s3:PutObject" in run(own_server, "users", "policy", "get", "alice", "all").stdout
    done(own_server, "users", "policy", "delete", "alice", "all")
    assert done(own_server, "users", "policy", "list", "alice") == ["a-first"]
    own_server.restart()
    assert done(own_server, "users", "show", "alice")["policies"] == ["a-first"]


UNKNOWN = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Actions": "s3:*", "Resource": "*"}}'
TWICE = '{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Action": "kms:*", "Resource": "*"}}'
FOR_BUCKETS = '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}}'


@pytest.mark.parametrize("text", ["", "no JSON", "[", '{"Version": ', "{}", UNKNOWN, TWICE, FOR_BUCKETS])
def test_a_policy_that_cannot_be_read_is_not_put(own_server, text):
    done(own_server, "users", "create", "alice")
    refused(own_server, "users", "policy", "put", "alice", "bad", stdin=text, words=("policy",))
    assert done(own_server, "users", "policy", "list", "alice") == []


def test_policies_have_a_limit_together(own_server):
    done(own_server, "users", "create", "alice")
    long = json.dumps({"Version": "2012-10-17", "Statement": [allow("s3:GetObject", resource="x" * 9_000)]})
    for name in ("one", "two"):
        done(own_server, "users", "policy", "put", "alice", name, stdin=long.replace('"x', '"arn:aws:s3:::x'))
    more = long.replace('"x', '"arn:aws:s3:::x')
    refused(own_server, "users", "policy", "put", "alice", "three", stdin=more, words=("longer",))


def test_what_is_not_there_is_named(own_server):
    done(own_server, "users", "create", "alice")
    done(own_server, "users", "create", "bob")
    key = new_key(own_server, "bob")
    refused(own_server, "users", "create", "alice", words=("alice", "exists"))
    for command in (["show"], ["delete"], ["keys", "list"], ["keys", "create"], ["policy", "list"]):
        refused(own_server, "users", *command, "nobody", words=("nobody",))
    refused(own_server, "users", "policy", "get", "alice", "none", words=("none",))
    refused(own_server, "users", "policy", "delete", "alice", "none", words=("none",))
    for command in ("delete", "disable", "enable"):
        refused(own_server, "users", "keys", command, "alice", key.access_key, words=("alice", key.access_key))
    assert signs(own_server, key)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a*", "${aws:username}", "ä", "x" * 65])
def test_a_name_that_could_mean_more_in_a_policy_is_refused(own_server, name):
    ended = run(own_server, "users", "create", name)
    assert ended.returncode == 2 and "name" in ended.stderr


def test_without_a_server_the_command_opens_the_store_itself(own_server):
    own_server.terminate()
    done(own_server, "users", "create", "alice")
    key = new_key(own_server, "alice")
    assert {user["user"] for user in done(own_server, "users", "list")} == {"alice", "owner"}
    own_server.start()
    assert signs(own_server, key)


def test_a_row_that_was_altered_or_given_to_another_user_signs_nothing(own_server):
    keys = {}
    for name in ("alice", "bob"):
        done(own_server, "users", "create", name)
        keys[name] = new_key(own_server, name)
    mallory = keys["alice"].access_key.encode()
    for statement, values in (
        ("UPDATE access_key SET user = ? WHERE id = ?", (b"bob", mallory)),
        ("UPDATE access_key SET user = ? WHERE id = ?", (b"owner", mallory)),
        ("UPDATE access_key SET user = ? WHERE id = ?", (b"nobody", mallory)),
        ("UPDATE access_key SET sealed = (SELECT sealed FROM access_key WHERE user = ?) WHERE id = ?", (b"bob", mallory)),
        ("UPDATE user SET sealed = (SELECT sealed FROM user WHERE name = ?) WHERE name = ?", (b"bob", b"alice")),
        ("UPDATE user SET sealed = (SELECT sealed FROM user WHERE name = ?) WHERE name = ?", (b"owner", b"alice")),
        ("UPDATE user SET sealed = zeroblob(length(sealed)) WHERE name = ? OR name = ?", (b"alice", b"alice")),
        ("DELETE FROM user WHERE name = ? OR name = ?", (b"alice", b"alice")),
    ):
        assert signs(own_server, keys["alice"]), "as it was"
        with behind_its_back(own_server) as connection:
            kept = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("user", "access_key")]
            assert connection.execute(statement, values).rowcount == 1
        answer = exchange(own_server, sign(own_server, "GET", "/", credentials=keys["alice"]))
        assert answer.status == 500 and answer.code == "InternalError", (statement, answer)
        with behind_its_back(own_server) as connection:
            for table, before in zip(("user", "access_key"), kept, strict=True):
                connection.execute(f"DELETE FROM {table}")
                marks = ",".join("?" * len(before[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", map(tuple, before))
    assert signs(own_server, keys["bob"])


def test_every_command_leaves_an_event_without_a_secret(own_server):
    done(own_server, "users", "create", "alice")
    new_key(own_server, "alice")
    put_policy(own_server, "alice", "read", allow("s3:GetObject"))
    refused(own_server, "users", "delete", "owner")

    def events():
        lines = (own_server.data / "audit.log").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        return [event for event in told if event["event"] == "administration"]

    poll("four events", lambda: len(events()) >= 4)
    create, key, policy, delete = events()
    assert create["command"] == {"command": "users", "users": "create", "user": "alice"}
    assert key["command"]["users"] == "create-key" and policy["command"]["policy"] == "read"
    assert all(event["who"].startswith("uid:") and event["role"] for event in events())
    assert delete["result"] != "done" and policy["result"] == "done"


def test_an_unknown_access_key_is_refused_as_before(own_server):
    with s3_refused("InvalidAccessKeyId", status=403):
        client(own_server, Credentials("AKUNKNOWN", "x" * 40)).list_buckets()
