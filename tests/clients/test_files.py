"""Files sealed and opened with no server: whole or not at all, whatever interrupts, and never over what is there."""

import os
import signal
import stat
import subprocess

import pytest

from files import Desk
from painted import painted
from server import poll

MIB = 1 << 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for all: its token takes longer to make than a test to run."""
    desk = Desk(tmp_path_factory.mktemp("store"))
    desk.path("first").write_bytes(b"x")
    desk.done("seal", "--dev", "first")
    return desk.data


@pytest.fixture
def desk(store, tmp_path) -> Desk:
    desk = Desk(tmp_path)
    desk.data = store
    return desk


@pytest.fixture
def sealed(desk) -> Desk:
    """A desk with a file of 3 MiB and what sealing makes of it."""
    desk.path("plain").write_bytes(painted(3 * MIB + 5))
    desk.done("seal", "plain")
    return desk


# Round trips


@pytest.mark.parametrize("length", [0, 1, 4096, 256 * 1024, 5 * MIB + 17])
def test_a_file_that_was_sealed_opens_again(desk, length):
    plain = painted(length)
    desk.path("plain").write_bytes(plain)
    told = desk.done("seal", "plain")
    assert (told["sealed"], told["key_file"], told["plain_len"]) == ("plain.sealed", "plain.sealed.key", length)
    assert told["sealed_len"] == desk.path("plain.sealed").stat().st_size
    assert desk.path("plain").read_bytes() == plain, "the file itself stays as it is"
    desk.path("plain").unlink()
    assert desk.done("open", "plain.sealed") == {"opened": "plain", "key_id": told["key_id"], "plain_len": length}
    assert desk.path("plain").read_bytes() == plain
    assert desk.names() == ["plain", "plain.sealed", "plain.sealed.key"]


def test_people_are_told_what_was_made_and_what_to_keep(desk):
    desk.path("plain").write_bytes(b"letters")
    ended = desk.run("seal", "plain")
    assert ended.returncode == 0 and ended.stderr == ""
    assert "7 bytes" in ended.stdout and "plain.sealed.key" in ended.stdout
    ended = desk.run("open", "plain.sealed", "--output", "again")
    assert ended.returncode == 0 and "again" in ended.stdout


def test_what_is_made_is_the_owner_s_alone(sealed):
    for name in ["plain.sealed", "plain.sealed.key"]:
        assert stat.S_IMODE(sealed.path(name).stat().st_mode) == 0o600


def test_the_plaintext_does_not_show(sealed):
    assert painted(64) not in sealed.path("plain.sealed").read_bytes()
    key = sealed.path("plain.sealed.key").read_text()
    assert key.startswith("strongroom-keys/1\n") and key.count("\n") == 2


def test_every_sealing_has_a_key_of_its_own(sealed):
    again = sealed.done("seal", "plain", "--output", "again")
    lines = [sealed.path(name).read_text().splitlines()[1] for name in ["plain.sealed.key", "again.key"]]
    assert lines[0] != lines[1] and lines[1].startswith(again["key_id"])


def test_the_wrapped_key_may_be_kept_elsewhere(desk, tmp_path):
    desk.path("plain").write_bytes(b"letters")
    keys = str(tmp_path / "keys")
    for name in ["one", "two"]:
        desk.done("seal", "plain", "--output", name, "--key-file", keys)
    assert desk.names() == ["one", "plain", "two"]
    for name in ["one", "two"]:
        desk.done("open", name, "--key-file", keys, "--output", f"{name}.opened")
        assert desk.path(f"{name}.opened").read_bytes() == b"letters"


def test_files_open_while_a_server_has_the_store(make_server, tmp_path):
    server = make_server().start()
    desk = Desk(tmp_path)
    desk.data = server.data
    desk.path("plain").write_bytes(painted(MIB))
    desk.done("seal", "plain")
    desk.done("open", "plain.sealed", "--output", "opened")
    assert desk.path("opened").read_bytes() == painted(MIB)


# What is refused


@pytest.mark.parametrize("at", [8, 17, 40, 70, 96, MIB, -1])
def test_a_sealed_file_that_was_altered_is_refused(sealed, at):
    altered = bytearray(sealed.path("plain.sealed").read_bytes())
    altered[at] ^= 1
    sealed.path("plain.sealed").write_bytes(altered)
    before = sealed.names()
    sealed.refused("open", "plain.sealed", "--output", "opened")
    assert sealed.names() == before


@pytest.mark.parametrize("left", [0, 95, 96, MIB, 3 * MIB])
def test_a_sealed_file_that_was_cut_short_is_refused(sealed, left):
    os.truncate(sealed.path("plain.sealed"), left)
    sealed.refused("open", "plain.sealed", "--output", "opened")
    assert not sealed.path("opened").exists()


def test_a_wrapped_key_that_was_altered_is_refused(sealed):
    path = sealed.path("plain.sealed.key")
    text = path.read_text()
    for altered in [text[:-2] + ("0" if text[-2] != "0" else "1") + "\n", text[:-1], text + text, ""]:
        path.write_text(altered)
        sealed.refused("open", "plain.sealed", "--output", "opened")
    path.unlink()
    assert "no key" in sealed.refused("open", "plain.sealed", "--output", "opened")
    assert not sealed.path("opened").exists()


def test_the_key_of_another_sealed_file_is_refused(sealed):
    sealed.done("seal", "plain", "--output", "other")
    assert "other.key" in sealed.refused("open", "plain.sealed", "--key-file", "other.key", "--output", "opened")


def test_another_store_s_token_opens_nothing(sealed, tmp_path):
    sealed.data = tmp_path / "other"
    assert "master key" in sealed.refused("open", "--dev", "plain.sealed", "--output", "opened")
    assert not sealed.path("opened").exists()


def test_a_typing_mistake_founds_nothing(desk, tmp_path):
    desk.data = tmp_path / "nothing"
    desk.path("plain").write_bytes(b"x")
    desk.refused("seal", "plain", code=2)
    desk.refused("seal", "--dev", "plian")
    assert not desk.data.exists() and desk.names() == ["plain"]


# What is there stays


def test_an_output_that_is_there_is_not_overwritten(sealed):
    before = {name: sealed.path(name).read_bytes() for name in sealed.names()}
    assert "there already" in sealed.refused("seal", "plain")
    assert "there already" in sealed.refused("open", "plain.sealed")
    assert {name: sealed.path(name).read_bytes() for name in sealed.names()} == before


def test_with_force_it_is_replaced_and_its_old_key_goes(sealed):
    old = sealed.path("plain.sealed.key").read_text().splitlines()[1]
    sealed.path("plain").write_bytes(b"new")
    sealed.done("seal", "plain", "--force")
    assert old not in sealed.path("plain.sealed.key").read_text()
    sealed.done("open", "plain.sealed", "--force")
    assert sealed.path("plain").read_bytes() == b"new"
    assert sealed.names() == ["plain", "plain.sealed", "plain.sealed.key"]


def test_a_file_that_is_no_key_file_is_not_written_over(desk):
    desk.path("plain").write_bytes(b"x")
    desk.path("plain.sealed.key").write_text("my diary\n")
    assert "plain.sealed.key" in desk.refused("seal", "plain")
    assert desk.names() == ["plain", "plain.sealed.key"]
    assert desk.path("plain.sealed.key").read_text() == "my diary\n"


# Interrupted


@pytest.fixture
def large(desk) -> Desk:
    """A desk with a file that takes long enough to be interrupted: holes cost no disk."""
    with desk.path("plain").open("wb") as file:
        file.truncate(2 << 30)
    return desk


def begun(desk: Desk, *arguments: str) -> subprocess.Popen:
    """Starts a command and waits until it writes."""
    process = subprocess.Popen(
        desk.command(*arguments), cwd=desk.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def written() -> bool:
        assert process.poll() is None, f"it ended before it was interrupted: {process.communicate()}"
        with open(f"/proc/{process.pid}/io") as counters:
            return int(counters.read().split("wchar: ")[1].split()[0]) > 4 * MIB

    poll("it writes", written, every_s=0.005)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_and_leaves_nothing(large, number):
    process = begun(large, "seal", "plain")
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "") and "cancelled" in error
    assert large.names() == ["plain"]


def test_a_killed_sealing_leaves_nothing_under_the_final_name(large):
    process = begun(large, "seal", "plain")
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert {"plain.sealed", "plain.sealed.key"}.isdisjoint(large.names())
    # On file systems that know nameless files, not even a temporary one is left.
    assert large.names() == ["plain"] or all(name.startswith((".strongroom-", "plain")) for name in large.names())


def test_a_killed_opening_leaves_what_was_there(desk):
    with desk.path("plain").open("wb") as file:
        file.truncate(1 << 30)
    desk.done("seal", "plain")
    desk.path("plain").unlink()
    desk.path("plain").write_bytes(b"old")
    process = begun(desk, "open", "plain.sealed", "--force")
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert desk.path("plain").read_bytes() == b"old"


def test_a_source_that_shrinks_meanwhile_is_an_error_and_no_signal(large):
    process = begun(large, "seal", "plain", "--json")
    os.truncate(large.path("plain"), MIB)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 1 and out == "" and "cut short" in error, (process.returncode, error)
    assert large.names() == ["plain"]
