"""Starting: one command makes everything once and finds it ever after; what is in its way gets one clear line."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from painted import painted
from refusal import body, refused
from server import BINARY, children, poll
from wire import exchange, sign


def check_refuses_to_start(server, *words: str) -> None:
    """Ends by itself with an error, and says why in one line that a person can act on."""
    server.spawn()
    code = poll("serve gives up", lambda: server.process.poll() is not None and (server.process.returncode,), 30)[0]
    assert code not in (0, -6, -11), f"ended with {code}:\n{server.log_tail()}"
    lines = [line for line in server.log_text().splitlines() if all(word.lower() in line.lower() for word in words)]
    assert lines, f"no line says {words}:\n{server.log_tail()}"
    assert "panicked" not in server.log_text()


# First and later starts


def test_the_first_start_makes_the_three_elements_apart(own_server):
    names = {path.name for path in own_server.data.iterdir()}
    assert {"credentials", "blobs", "catalog.sqlite", "keyring.sqlite", "token"} <= names


def test_what_is_secret_is_the_owner_s_alone(own_server):
    own_server.s3().create_bucket(Bucket="bbb")
    own_server.s3().put_object(Bucket="bbb", Key="k", Body=b"x")
    assert stat.S_IMODE((own_server.data / "credentials").stat().st_mode) == 0o600

    def open_to_others(path: Path) -> bool:
        # Below a folder that nobody else may enter, a file's own mode decides nothing.
        return all(one.lstat().st_mode & 0o077 for one in (path, *path.parents) if one.is_relative_to(own_server.data))

    assert [path for path in own_server.data.rglob("*") if open_to_others(path)] == []


def test_the_lines_that_the_first_start_prints_upload_and_download_a_file(own_server, tmp_path):
    lines = [line.strip().removeprefix("$ ") for line in own_server.log_text().splitlines()]
    pasted = [line for line in lines if re.match(r"(export |[A-Z_]+=\S+ aws |aws |echo |head |cmp )", line)]
    assert any(" cp " in line or "put-object" in line for line in pasted), own_server.log_text()
    done = subprocess.run(
        ["bash", "-euc", "\n".join(pasted)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    )
    assert done.returncode == 0, f"{pasted}\n{done.stdout}{done.stderr}"
    s3 = own_server.s3()
    stored = [
        entry
        for bucket in s3.list_buckets()["Buckets"]
        for entry in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", [])
    ]
    assert stored


def test_a_later_start_makes_nothing_anew(own_server):
    def made():
        return {name: (own_server.data / name).read_bytes() for name in ("credentials",)} | {
            "token": sorted(path.name for path in (own_server.data / "token").rglob("*"))
        }

    before = made()
    own_server.restart()
    assert made() == before


def test_the_credentials_are_the_owner_s_copy_only(own_server):
    """The server works without them."""
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    (own_server.data / "credentials").unlink()
    own_server.restart()
    s3.put_object(Bucket="bbb", Key="k", Body=b"x")
    assert body(s3, "bbb", "k") == b"x"
    assert not (own_server.data / "credentials").exists()


def test_the_secret_is_not_printed(own_server):
    assert own_server.credentials().secret_key not in own_server.log_text()


def test_the_worker_ends_with_the_server(own_server):
    workers = children(own_server.serve_pid())
    assert workers, "the HSM worker is a process of its own"
    own_server.kill9()
    poll("the worker has ended", lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in workers), 20)


def test_the_environment_and_arguments_hold_no_secret(own_server):
    secret = own_server.credentials().secret_key.encode()
    pin = (own_server.data / "token/pin").read_bytes().strip()
    for pid in [own_server.serve_pid(), *children(own_server.serve_pid())]:
        for name in ("environ", "cmdline"):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            assert secret not in content and pin not in content


# Health


def test_health_needs_no_signature(server):
    assert (server.health("live"), server.health("ready")) == (200, 200)
    assert server.health("other") in (400, 403, 404)


def test_health_is_no_bucket(server, s3):
    assert "-" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert exchange(server, sign(server, "PUT", "/-/health/live", body=b"x")).status in (400, 403, 404, 405)


# What is in the way


def test_a_port_in_use_is_told(make_server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check_refuses_to_start(make_server(port=port), f"127.0.0.1:{port}")


@pytest.mark.parametrize("place", ["/proc/strongroom", "{tmp}/file/data", "{tmp}/file"])
def test_a_folder_that_cannot_be_written_is_told(make_server, tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    data = Path(place.format(tmp=tmp_path))
    server = make_server(data)
    server.log_path = tmp_path / "log"
    check_refuses_to_start(server, str(data))


def test_a_folder_already_in_use_is_told(own_server, make_server):
    check_refuses_to_start(make_server(own_server.data), str(own_server.data))
    assert own_server.health("ready") == 200


def test_a_pin_that_cannot_be_read_is_told(own_server):
    own_server.terminate()
    (own_server.data / "token/pin").unlink()
    own_server.log_path.unlink()
    check_refuses_to_start(own_server, "pin")


@pytest.mark.parametrize("gone, kept", [("catalog.sqlite", "keyring"), ("keyring.sqlite", "catalog")])
def test_a_database_gone_while_the_other_is_there_is_told_and_not_made_anew(own_server, gone, kept):
    own_server.s3().create_bucket(Bucket="bbb")
    own_server.terminate()
    for path in own_server.data.glob(f"{gone}*"):
        path.unlink()
    own_server.log_path.unlink()
    check_refuses_to_start(own_server, kept)


def test_a_damaged_database_is_told(own_server):
    own_server.terminate()
    (own_server.data / "catalog.sqlite").write_bytes(b"no database at all" * 1000)
    own_server.log_path.unlink()
    check_refuses_to_start(own_server, "catalog")


def test_a_token_gone_while_its_keyring_is_there_is_told_and_served_without(own_server, tmp_path):
    """The node starts degraded: live, not ready, 503 for all that needs a key, nothing made anew, nothing lost."""
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=painted(1000))
    own_server.terminate()
    shutil.move(own_server.data / "token", tmp_path / "token")
    own_server.log_path.unlink()

    own_server.spawn()
    poll("the degraded server is live", lambda: own_server.health("live") == 200, 30)
    assert own_server.health("ready") == 503
    assert [line for line in own_server.log_text().splitlines() if "token" in line.lower()]
    for call in (
        lambda: s3.get_object(Bucket="bbb", Key="k"),
        lambda: s3.put_object(Bucket="bbb", Key="new", Body=b"x"),
    ):
        with refused(status=503):
            call()
    assert not (own_server.data / "token").exists()
    own_server.terminate()

    shutil.move(tmp_path / "token", own_server.data / "token")
    own_server.start()
    assert body(s3, "bbb", "k") == painted(1000)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="bbb")["Contents"]] == ["k"]


def test_a_command_that_is_not_known_is_told():
    done = subprocess.run([BINARY, "sevre"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "sevre" in done.stderr
