"""What happens to a real token while the server works: PINs, lost and hung and crashing modules, limits, races.

Each token is SoftHSM behind the forwarding module (kryoptic behind p11-kit where both are there). Afterwards every object
reads, no acknowledged write is lost, and the PIN is nowhere.
"""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from disk import keyring, rows
from painted import painted
from refusal import body, refused
from server import BINARY, Server, children, poll
from test_startup import check_refuses_to_start
from tokens import LockingToken, RemoteToken, SoftTokens

BACK_WITHIN_S = 5
DEVICE_ERROR, DEVICE_REMOVED = 0x30, 0x32


class Site:
    """A token, and servers on it."""

    def __init__(self, tmp_path: Path, make_server, kind=SoftTokens):
        self.soft = kind(tmp_path / "token")
        self.soft.make("store")
        self.pins = {self.soft.pin}
        self.folder = tmp_path
        self.config = tmp_path / "strongroom.toml"
        self.servers: list[Server] = []
        self._make_server = make_server
        self.told()

    def told(self, **options) -> None:
        self.config.write_text(self.soft.masters(**options))

    def server(self, *options: str) -> Server:
        options = ("--config", str(self.config), *options)
        self.servers.append(self._make_server(options=options, environment=self.soft.environment))
        return self.servers[-1]

    def keys(self, server: Server, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess:
        command = [BINARY, "keys", *arguments, "--json", "--config", str(self.config), "--data", str(server.data)]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=180,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.soft.environment},
        )
        assert code is None or ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
        assert all(pin not in ended.stdout + ended.stderr for pin in self.pins)
        return ended

    def check_pin_is_nowhere(self) -> None:
        for server in self.servers:
            assert all(pin not in server.log_text() for pin in self.pins), "a PIN is in the log"
            if server.process is None or server.process.poll() is not None:
                continue
            for pid in [server.serve_pid(), *children(server.serve_pid())]:
                for name in ("environ", "cmdline"):
                    try:
                        held = Path(f"/proc/{pid}/{name}").read_bytes()
                    except OSError:
                        continue
                    assert all(pin.encode() not in held for pin in self.pins), f"a PIN is in {name}"


@pytest.fixture
def site(tmp_path, make_server):
    """A site whose server is started and holds twenty objects; at the end no PIN may be anywhere."""
    site = Site(tmp_path, make_server)
    yield site
    site.check_pin_is_nowhere()


@pytest.fixture
def filled(site) -> Server:
    return fill(site.server("--init").start())


def fill(server: Server) -> Server:
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    for number in range(20):
        s3.put_object(Bucket="bbb", Key=f"k{number}", Body=painted(1000, seed=number))
    return server


def check_all_read(server: Server) -> None:
    s3 = server.s3()
    for number in range(20):
        assert body(s3, "bbb", f"k{number}") == painted(1000, seed=number)


def held(server: Server) -> tuple[int, int]:
    """Blobs and wrapped keys: what a write would add to."""
    blobs = sum(path.is_file() for path in (server.data / "blobs").rglob("*"))
    return blobs, len(rows(keyring(server), "SELECT id FROM wrapped_key"))


def check_back(server: Server) -> None:
    """All works again soon, in the same process."""
    pid = server.process.pid
    poll("the HSM is used again", lambda: server.health("ready") == 200, BACK_WITHIN_S)
    server.s3().put_object(Bucket="bbb", Key="back", Body=b"back")
    check_all_read(server)
    assert server.process.pid == pid and server.process.poll() is None


def check_away(server: Server) -> None:
    """Writes are answered 503 at once, with the time to come back; nothing is written; health answers soon."""
    before, s3 = held(server), server.s3()
    for attempt in (
        lambda: s3.put_object(Bucket="bbb", Key="away", Body=b"x" * 100_000),
        lambda: s3.create_multipart_upload(Bucket="bbb", Key="away"),
        lambda: s3.create_bucket(Bucket="away"),
    ):
        started = time.monotonic()
        with pytest.raises(ClientError) as caught:
            attempt()
        assert time.monotonic() - started < 2, "no caller waits for a deadline"
        answer = caught.value.response["ResponseMetadata"]
        assert answer["HTTPStatusCode"] == 503
        assert int(answer["HTTPHeaders"]["retry-after"]) > 0
    assert held(server) == before
    assert server.health("live") == 200
    assert min(timed(lambda: server.health("ready")) for _ in range(5)) < 0.1


def timed(act) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


# The PIN


def test_a_wrong_pin_is_tried_once_and_not_again_by_a_restart_loop(site, filled):
    filled.terminate()
    right, wrong = site.soft.pin, "9" * 16
    site.pins.add(wrong)
    site.soft.write_pin(wrong)
    before = site.soft.login_count()
    filled.spawn_degraded("PIN")
    for _ in range(3):
        filled.terminate()
        filled.spawn_degraded("PIN")
    check_away(filled)
    assert site.soft.login_count() - before == 1
    site.soft.write_pin(right)
    check_back(filled)


def test_a_token_that_locks_is_never_locked_by_wrong_pins_and_restarts(tmp_path, make_server):
    site = Site(tmp_path, make_server, LockingToken)
    server = fill(site.server("--init").start())
    for wrong in ("1" * 8, "2" * 8, "3" * 8, "4" * 8):
        server.terminate()
        site.pins.add(wrong)
        site.soft.write_pin(wrong)
        for _ in range(2):
            server.spawn_degraded("PIN")
            server.terminate()
        server.spawn_degraded("PIN")
    check_away(server)
    site.soft.write_pin(site.soft.PIN)
    server.await_trouble("by another tool")
    site.soft.log_in()
    check_back(server)
    site.check_pin_is_nowhere()


def test_a_pin_that_was_changed_elsewhere_costs_one_try_and_is_taken_from_its_file(site, filled):
    site.soft.change_pin("store", "8" * 16)
    site.pins.add("8" * 16)
    check_all_read(filled)
    before = site.soft.login_count()
    for worker in children(filled.serve_pid()):
        os.kill(worker, signal.SIGKILL)
    filled.await_trouble("PIN")
    check_away(filled)
    assert site.soft.login_count() - before == 1
    site.soft.write_pin(site.soft.pin)
    check_back(filled)


# The token


def test_a_token_that_is_deleted_and_restored_is_used_again_without_a_restart(site, filled):
    away = site.folder / "away"
    site.soft.tokens.rename(away)
    site.soft.tokens.mkdir()
    filled.await_trouble("hsm")
    check_away(filled)
    site.soft.tokens.rmdir()
    away.rename(site.soft.tokens)
    check_back(filled)


def test_the_server_starts_while_the_token_is_away_and_uses_it_when_it_comes(site, filled):
    filled.terminate()
    away = site.folder / "away"
    site.soft.tokens.rename(away)
    site.soft.tokens.mkdir()
    filled.spawn_degraded("no token with label")
    check_away(filled)
    site.soft.tokens.rmdir()
    away.rename(site.soft.tokens)
    check_back(filled)


def test_a_token_that_is_made_after_the_start_takes_its_aliases(site, filled):
    filled.terminate()
    other = site.soft.masters("late", name="late", aliases=["late"])
    site.config.write_text(site.config.read_text() + other)
    filled.spawn_degraded("late", "no token with label")
    check_all_read(filled)
    assert "HSM away" in site.keys(filled, "create", "late", code=1).stderr
    listed = site.keys(filled, "list")
    assert [key["provider"] for key in json.loads(listed.stdout)] == ["hsm"]
    assert "not shown: late: HSM away" in listed.stderr, "what is missing does not look like what is not there"
    described = site.keys(filled, "describe", "late", code=1)
    assert "not every HSM can be asked: late: HSM away" in described.stderr
    site.keys(filled, "rotate", "default")
    site.soft.make("late")
    check_back(filled)
    site.keys(filled, "create", "late")
    aliases = {key["alias"] for key in json.loads(site.keys(filled, "list").stdout)}
    assert aliases == {"default", "late"}


def test_a_store_is_not_founded_without_its_token(site):
    server = site.server("--init")
    site.soft.fault("lost")
    check_refuses_to_start(server, "HSM away")
    site.soft.fault()
    fill(server.start())


# The module


def test_an_hsm_that_is_lost_costs_a_503_and_comes_back(site, filled):
    site.soft.fault("lost")
    filled.await_trouble("hsm")
    check_away(filled)
    site.soft.fault()
    check_back(filled)


@pytest.mark.parametrize("function", ["C_EncryptInit", "C_DecryptInit", "C_OpenSession", "C_Login"])
def test_an_error_of_any_call_once_costs_nobody_anything(site, filled, function):
    site.soft.fault(f"error-once {function} {DEVICE_ERROR}")
    for worker in children(filled.serve_pid()) if function in ("C_OpenSession", "C_Login") else []:
        os.kill(worker, signal.SIGKILL)
    s3 = filled.s3()
    poll("the fault struck", lambda: write_one(s3) and "error-once" not in (site.soft.folder / "fault").read_text())
    check_back(filled)


def write_one(s3) -> bool:
    s3.put_object(Bucket="bbb", Key="more", Body=b"more")
    return body(s3, "bbb", "more") == b"more"


def test_a_module_that_hangs_costs_one_caller_the_deadline_and_nobody_else(site):
    site.told(deadline_ms=1500)
    server = fill(site.server("--init").start())
    site.soft.fault("hang-once")
    outcomes = at_once(8, lambda number: put(server, f"h{number}"))
    assert (site.soft.folder / "hanging").exists(), "the module hung"
    lost = [outcome for outcome in outcomes if outcome != 200]
    assert lost in ([], [503]), outcomes
    check_back(server)


def test_a_module_that_hangs_at_every_login_is_away_and_not_waited_for(site):
    site.told(open_deadline_ms=1000)
    server = fill(site.server("--init").start())
    site.soft.fault("hang-login")
    for worker in children(server.serve_pid()):
        os.kill(worker, signal.SIGKILL)
    server.await_trouble("hsm")
    check_away(server)
    site.soft.fault()
    check_back(server)


def test_a_module_that_crashes_costs_nobody_anything(site, filled):
    site.soft.fault("crash-once")
    outcomes = at_once(8, lambda number: put(filled, f"c{number}"))
    assert outcomes == [200] * 8
    check_back(filled)


def test_a_rotation_that_dies_half_way_stops_no_write_and_what_it_left_can_be_destroyed(site, filled):
    site.soft.fault("crash")
    assert site.keys(filled, "rotate", "default", code=1).returncode == 1
    site.soft.fault()
    check_back(filled)
    check_back(filled.restart())
    assert json.loads(site.keys(filled, "rotate", "default").stdout)["version"] == 3
    left = [key["version"] for key in json.loads(site.keys(filled, "list").stdout) if key["state"] == "unknown-to-keyring"]
    assert left == [2], "on the token, and not in the keyring"
    site.keys(filled, "adopt", "default/2")
    versions = json.loads(site.keys(filled, "list").stdout)
    assert [key["version"] for key in versions if key["current"]] == [3], "an older one does not take over"
    site.keys(filled, "schedule-destruction", "default/2", "--days", "0")
    site.keys(filled, "destroy", "default/2", "--yes")
    check_back(filled)


def test_a_module_that_crashes_every_time_is_away_until_it_does_not(site, filled):
    site.soft.fault("crash")
    filled_s3 = filled.s3()
    with refused(status=503):
        filled_s3.put_object(Bucket="bbb", Key="away", Body=b"x")
    filled.await_trouble("hsm")
    check_away(filled)
    site.soft.fault()
    check_back(filled)


def test_one_session_is_enough(site, filled):
    filled.terminate()
    site.soft.fault("sessions 1")
    filled.start()
    assert at_once(8, lambda number: put(filled, f"s{number}")) == [200] * 8
    check_back(filled)


def test_a_slow_module_is_slow_and_nothing_else(site, filled):
    site.soft.fault("slow 30")
    assert at_once(8, lambda number: put(filled, f"s{number}")) == [200] * 8
    check_all_read(filled)


def put(server: Server, key: str) -> int:
    try:
        server.s3().put_object(Bucket="bbb", Key=key, Body=painted(2000, seed=7))
        return 200
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def at_once(count: int, act) -> list:
    results: list = [None] * count

    def work(number: int) -> None:
        results[number] = act(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# A token on another host


@pytest.fixture
def remote(tmp_path, make_server):
    """A site whose token is kryoptic behind a p11-kit server."""
    site = Site(tmp_path, make_server, RemoteToken)
    yield site
    site.check_pin_is_nowhere()
    site.soft.kill()


def test_a_remote_hsm_that_is_killed_and_started_is_used_again(remote):
    server = fill(remote.server("--init").start())
    remote.soft.kill()
    server.await_trouble("hsm")
    check_away(server)
    remote.soft.start()
    check_back(server)
    remote.keys(server, "rotate", "default")
    assert json.loads(remote.keys(server, "rewrap", "default").stdout)["failed"] == 0
    check_all_read(server)


def test_a_lost_connection_to_a_remote_hsm_is_made_again(remote):
    server = fill(remote.server("--init").start())
    connections = poll("the p11-kit server has a child for each worker", lambda: children(remote.soft.server.pid))
    for connection in connections:
        os.kill(connection, signal.SIGKILL)
    poll("writes are taken again", lambda: put(server, "again") == 200, BACK_WITHIN_S)
    check_back(server)


# The keyring


def test_one_damaged_row_is_refused_and_nobody_else_notices(site, filled):
    filled.terminate()
    (row,) = rows(
        keyring(filled),
        "SELECT id, wrapped FROM wrapped_key WHERE id = ?",
        rows(filled.data / "catalog.sqlite", "SELECT data_key FROM version WHERE key = ?", b"k3")[0]["data_key"],
    )
    spoilt = row["wrapped"][:-1] + bytes([row["wrapped"][-1] ^ 1])
    rows(keyring(filled), "UPDATE wrapped_key SET wrapped = ? WHERE id = ?", spoilt, row["id"])
    filled.start()

    def read(number: int) -> int:
        try:
            return len(body(filled.s3(), "bbb", f"k{number % 4}"))
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"]

    for _ in range(5):
        for number, outcome in enumerate(at_once(8, read)):
            assert (outcome == 1000) == (number % 4 != 3), (number, outcome)
            assert outcome != 503, "damage is not an HSM that is away"
        assert filled.health("ready") == 200
    filled.s3().put_object(Bucket="bbb", Key="k3", Body=painted(1000, seed=3))
    check_all_read(filled)


# Races


class Load:
    """Writers that note what was acknowledged; what is noted must read afterwards."""

    def __init__(self, servers: list[Server], retried: bool = True):
        self.servers, self.retried = servers, retried
        self.acknowledged: dict[str, int] = {}
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(2 * len(servers))]

    def _work(self, worker: int) -> None:
        s3, turn = self.servers[worker % len(self.servers)].s3(), 0
        while not self._stop.is_set():
            turn += 1
            key, seed = f"w{worker}-{turn % 7}", worker * 100_000 + turn
            try:
                s3.put_object(Bucket="bbb", Key=key, Body=painted(700, seed=seed))
                self.acknowledged[key] = seed
                if body(s3, "bbb", key) != painted(700, seed=seed):
                    self.failures.append(f"{key} reads as something else")
            except (ClientError, BotoCoreError) as error:
                self.failures.append(f"{key}: {error}")

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self, server: Server) -> None:
        assert self.failures == []
        assert len(self.acknowledged) > 4
        s3 = server.s3()
        for key, seed in self.acknowledged.items():
            assert body(s3, "bbb", key) == painted(700, seed=seed), key


def test_rotations_and_rewraps_on_a_slow_hsm_lose_no_upload(site, filled):
    site.soft.fault("slow 3")
    with Load([filled]) as load:
        for _ in range(5):
            site.keys(filled, "rotate", "default")
            assert json.loads(site.keys(filled, "rewrap", "default").stdout)["failed"] == 0
    site.soft.fault()
    load.check(filled)
    check_all_read(filled)
    assert json.loads(site.keys(filled, "verify").stdout)["unreadable"] == []
    load.check(filled.restart())


def test_a_delete_wins_over_a_rewrap_that_moves_its_key(site, filled):
    s3 = filled.s3()
    for number in range(200):
        s3.put_object(Bucket="bbb", Key=f"d{number}", Body=b"x")
    site.keys(filled, "rotate", "default")
    site.soft.fault("slow 2")
    results = {}

    def rewrap() -> None:
        results["rewrap"] = json.loads(site.keys(filled, "rewrap", "default").stdout)

    mover = threading.Thread(target=rewrap)
    mover.start()
    for number in range(200):
        s3.delete_object(Bucket="bbb", Key=f"d{number}")
    mover.join()
    site.soft.fault()
    assert results["rewrap"]["failed"] == 0
    assert len(rows(keyring(filled), "SELECT id FROM wrapped_key")) == 22, "no deleted key came back"
    assert json.loads(site.keys(filled, "rewrap", "default").stdout)["failed"] == 0
    check_all_read(filled)


def test_two_servers_that_rotate_at_once_agree_and_lose_nothing(site):
    first = fill(site.server("--init").start())
    places = {name: str(first.data / file) for name, file in PLACES.items()}
    shared = [text for name, path in places.items() for text in (f"--{name}", path)]
    second = site.server(*shared).start()
    second.credentials = first.credentials
    rounds, made = 100, []
    with Load([first, second]) as load:
        for _ in range(rounds):
            both = at_once(2, lambda number: site.keys((first, second)[number], "rotate", "default", code=None))
            made += [json.loads(done.stdout)["version"] for done in both if done.returncode == 0]
            assert any(done.returncode == 0 for done in both), [done.stderr for done in both]
            for done in both:
                assert done.returncode in (0, 1) and "panicked" not in done.stderr
    assert len(set(made)) == len(made) >= rounds, "no version is made twice"
    for server in (first, second):
        load.check(server)
        check_all_read(server)
        listed = json.loads(site.keys(server, "list").stdout)
        assert [key["version"] for key in listed if key["current"]] == [max(made)]
        assert {key["state"] for key in listed} == {"enabled"}
    assert json.loads(site.keys(first, "rewrap", "default").stdout)["failed"] == 0
    assert json.loads(site.keys(second, "verify").stdout)["unreadable"] == []


def test_two_stores_with_one_alias_on_one_token_leave_each_other_alone(site, filled):
    site.keys(filled, "rotate", "default")
    other = fill(site.server("--init").start())
    for server in (filled, other):
        site.keys(server, "rotate", "default")
    for server, latest in ((filled, 3), (other, 2)):
        check_back(server.restart())
        listed = json.loads(site.keys(server, "list").stdout)
        assert [key["version"] for key in listed if key["current"]] == [latest]
        assert {key["state"] for key in listed} == {"enabled"}, "the other store's are not shown as lost ones"
    assert "made by another store" in site.keys(other, "adopt", "default/3", code=1).stderr
    assert json.loads(site.keys(filled, "rewrap", "default").stdout)["failed"] == 0
    check_all_read(filled)


PLACES = {"blobs": "blobs", "catalog": "catalog.sqlite", "keyring": "keyring.sqlite"}
