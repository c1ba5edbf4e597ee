"""While the audit log cannot be written, no master key is used; once it can be, nothing is missing from it."""

import json
import os
import resource
import subprocess

import pytest

from painted import painted
from refusal import body, refused
from server import BINARY, poll
from test_keys import keys, run

WHY = ("audit log", "No space left on device")


class Pipe:
    """A log that fails while nobody reads it: a pipe, and a reader that comes and goes."""

    def __init__(self, path):
        self.path, self.text = path, b""
        os.mkfifo(path)
        self.read_again()

    def read_again(self):
        self.reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def events(self) -> list[dict]:
        try:
            while more := os.read(self.reader, 1 << 16):
                self.text += more
        except BlockingIOError:
            pass
        whole = self.text[: self.text.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def leave(self):
        self.events()
        os.close(self.reader)


@pytest.fixture
def filled(own_server):
    """A server that was stopped, with one object."""
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=painted(1000))
    own_server.terminate()
    return own_server


@pytest.fixture
def switched(filled, tmp_path):
    """A log whose path leads to a full device, until it is led to a file."""
    log = tmp_path / "switched.log"
    log.symlink_to("/dev/full")
    filled.arguments = ("--audit-log", str(log))
    return log


def test_a_full_disk_stops_uses_of_keys_at_once_and_room_on_it_lets_them_go_on(filled, switched, tmp_path):
    filled.spawn_degraded(*WHY, str(switched))
    for number in range(3):
        with refused("ServiceUnavailable", status=503):
            filled.s3().put_object(Bucket="bbb", Key=f"k{number}", Body=b"x")
    with refused("ServiceUnavailable", status=503):
        filled.s3().get_object(Bucket="bbb", Key="k")
    assert "cannot write the audit log" in filled.log_text() and "HSM" not in filled.trouble()
    (tmp_path / "roomy").touch()
    (tmp_path / "next").symlink_to(tmp_path / "roomy")
    os.rename(tmp_path / "next", switched)
    poll("the server is ready again", lambda: filled.health("ready") == 200)
    s3 = filled.s3()
    s3.put_object(Bucket="bbb", Key="later", Body=b"x")
    assert body(s3, "bbb", "k") == painted(1000)
    filled.terminate()
    told = [json.loads(line) for line in switched.read_text().splitlines()]
    assert told[0]["event"] == "start", "what waited is written"
    written = [event["object"] for event in told if event.get("operation") == "wrap"]
    assert written == ["later"], "nothing was wrapped before"


def test_a_log_that_fails_later_stops_uses_of_keys_and_every_acknowledged_one_is_told(filled, tmp_path):
    pipe = Pipe(tmp_path / "pipe")
    filled.arguments = ("--audit-log", str(pipe.path))
    s3 = filled.start().s3()
    s3.put_object(Bucket="bbb", Key="before", Body=b"x")
    poll("the event", lambda: any(event.get("object") == "before" for event in pipe.events()))
    pipe.leave()
    acknowledged = []

    def put_until_refused() -> bool:
        try:
            s3.put_object(Bucket="bbb", Key=f"k{len(acknowledged)}", Body=b"x")
        except s3.exceptions.ClientError as error:
            return error.response["Error"]["Code"] == "ServiceUnavailable"
        acknowledged.append(f"k{len(acknowledged)}")
        return False

    poll("refused", put_until_refused, every_s=0.01)
    assert len(acknowledged) < 50, "as many as fit between a failed write and the next look"
    assert "audit" in filled.trouble()
    pipe.read_again()
    poll("the server is ready again", lambda: filled.health("ready") == 200)
    filled.s3().put_object(Bucket="bbb", Key="after", Body=b"x")
    poll("the event", lambda: any(event.get("object") == "after" for event in pipe.events()))
    told = [event["object"] for event in pipe.events() if event.get("operation") == "wrap"]
    assert told == ["before", *acknowledged, "after"]


@pytest.mark.parametrize("command", [("rotate", "default"), ("invalidate", "bbb", "k", "--yes"), ("list",)])
def test_a_command_that_nobody_would_hear_of_is_not_done(filled, command):
    ended = run(filled, *command, "--audit-log", "/dev/full", code=1)
    assert "/dev/full" in ended.stderr and "No space left" in ended.stderr and ended.stdout == ""
    assert [key["version"] for key in keys(filled, "list")] == [1]
    filled.start()
    assert body(filled.s3(), "bbb", "k") == painted(1000)


def test_nor_is_it_done_by_a_server(filled, switched):
    filled.spawn_degraded(*WHY)
    assert "No space left" in run(filled, "rotate", "default", code=1).stderr
    filled.close()
    assert [key["version"] for key in keys(filled, "list")] == [1]


def test_a_file_is_not_sealed(filled, tmp_path):
    (tmp_path / "letter").write_text("dear")
    command = [BINARY, "seal", "--data", filled.data, "--audit-log", "/dev/full", tmp_path / "letter"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1 and "No space left" in ended.stderr
    assert list(tmp_path.glob("letter?*")) == []


def test_a_store_is_not_founded(make_server):
    server = make_server(arguments=("--audit-log", "/dev/full"))
    assert server.spawn().process.wait(timeout=30) == 1
    assert "No space left" in server.log_text()
    assert not (server.data / "token").exists()


def test_a_server_whose_last_events_are_not_written_says_so(filled, switched):
    filled.spawn_degraded(*WHY)
    filled.process.terminate()
    assert filled.process.wait(timeout=30) == 1
    assert "cannot write the audit log" in filled.log_tail(1)


def test_a_command_whose_event_is_not_written_after_all_says_so(filled, tmp_path):
    log = tmp_path / "nearly.log"
    log.touch()
    os.truncate(log, 64 << 20)
    room = (64 << 20) + 200

    def no_file_beyond_it():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    # Room for the first event and no other. The signal that goes with the limit is ignored here, and so by the child.
    command = [BINARY, "keys", "list", "--data", filled.data, "--audit-log", log]
    ended = subprocess.run(command, capture_output=True, text=True, restore_signals=False, preexec_fn=no_file_beyond_it)
    assert ended.returncode == 1 and "missing from the audit log" in ended.stderr.splitlines()[-1]
