"""The life of master keys and of what is wrapped under them, as an administrator lives it: `strongroom keys`."""

import json
import os
import shutil
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import audit
from disk import files, keyring, rows
from painted import painted
from refusal import body, refused
from server import BINARY, poll

DEADLINE_S = 120


def run(server, *arguments, code: int | None = 0) -> subprocess.CompletedProcess:
    command = [BINARY, "keys", *arguments, "--data", str(server.data)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
    assert code is None or ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
    assert "panicked" not in ended.stderr
    return ended


def keys(server, *arguments, code: int | None = 0):
    return json.loads(run(server, *arguments, "--json", code=code).stdout)


def version(server, number: int) -> dict:
    (found,) = [key for key in keys(server, "list") if key["version"] == number]
    return found


@pytest.fixture
def filled(own_server):
    """A server with one bucket and twenty objects."""
    s3 = own_server.s3()
    s3.create_bucket(Bucket="bbb")
    for number in range(20):
        s3.put_object(Bucket="bbb", Key=f"k{number}", Body=painted(1000, seed=number))
    return own_server


def check_all_read(server) -> None:
    s3 = server.s3()
    for number in range(20):
        assert body(s3, "bbb", f"k{number}") == painted(1000, seed=number)


# Shown


def test_the_list_shows_what_lies_under_each_version(filled):
    (only,) = keys(filled, "list")
    assert (only["alias"], only["version"], only["current"], only["state"]) == ("default", 1, True, "enabled")
    assert only["wrapped"] == 22, "20 objects, one bucket, the store"
    assert len(bytes.fromhex(only["id"])) == 16
    assert "default" in run(filled, "list").stdout and "22" in run(filled, "list").stdout


def test_a_description_is_of_an_alias_or_of_one_version_and_holds_what_the_list_holds(filled):
    keys(filled, "rotate", "default")
    keys(filled, "create", "default/2/copy")
    keys(filled, "rotate", "default", "--every", "90")
    listed = [key for key in keys(filled, "list") if key["alias"] == "default"]
    assert keys(filled, "describe", "default") == listed and len(listed) == 2
    assert keys(filled, "describe", "default/2") == [version(filled, 2)]
    old = keys(filled, "describe", "default/1")[0]
    assert (old["wrapped"], old["current"], old["rotation_days"], old["provider"]) == (22, False, 90, "dev")
    keys(filled, "rewrap", "default")
    run(filled, "schedule-destruction", "default/1", "--days", "7")
    words = run(filled, "describe", "default/1").stdout
    for told in (old["id"], "pending-destruction", "may be destroyed after 20", "90 days", "created"):
        assert told in words, (told, words)
    for unknown in ("payroll", "default/3"):
        ended = run(filled, "describe", unknown, code=1)
        assert f"no master key {unknown}:" in ended.stderr and ended.stdout == ""


def test_the_list_shows_the_wraps_of_a_version_beside_the_keys_under_it(filled):
    only = version(filled, 1)
    names, row = run(filled, "list").stdout.splitlines()
    assert names.split()[-2:] == ["WRAPS", "CKA_ID"] and only["wraps"] > 0
    assert row.split() == ["default", "1", "current", "22", str(only["wraps"]), only["id"]]


def test_commands_work_the_same_without_a_server(filled):
    with_server = keys(filled, "list")
    filled.terminate()
    assert keys(filled, "list") == keys(filled, "describe", "default") == with_server
    assert "no master key payroll" in run(filled, "describe", "payroll", code=1).stderr
    keys(filled, "rotate", "default")
    assert version(filled, 2)["current"]
    filled.start()
    check_all_read(filled)


def test_nobody_else_reaches_the_socket(filled):
    socket = filled.data / "admin.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    filled.terminate()
    assert not socket.exists()


# Rotated and moved


def test_after_a_rotation_new_keys_lie_under_the_new_version_and_old_ones_read(filled):
    assert keys(filled, "rotate", "default")["version"] == 2
    assert (version(filled, 1)["current"], version(filled, 2)["current"]) == (False, True)
    filled.s3().put_object(Bucket="bbb", Key="new", Body=b"new")
    assert (version(filled, 1)["wrapped"], version(filled, 2)["wrapped"]) == (22, 1)
    check_all_read(filled)
    check_all_read(filled.restart())


def test_a_rewrap_moves_every_key_and_a_second_one_writes_nothing(filled):
    keys(filled, "rotate", "default")
    moved = keys(filled, "rewrap", "default")
    assert (moved["moved"], moved["skipped"], moved["failed"]) == (22, 0, 0)
    assert (version(filled, 1)["wrapped"], version(filled, 2)["wrapped"]) == (0, 22)
    assert version(filled, 2)["wraps"] == 2**20, "wraps are set aside once, for all keys that move at a time"
    before = keyring(filled).read_bytes()
    again = keys(filled, "rewrap", "default")
    assert (again["moved"], again["skipped"], again["failed"]) == (0, 22, 0)
    assert keyring(filled).read_bytes() == before
    check_all_read(filled)
    check_all_read(filled.restart())


def test_no_old_wrapped_key_is_left_after_a_rewrap(filled):
    old = [row["wrapped"] for row in rows(keyring(filled), "SELECT wrapped FROM wrapped_key")]
    keys(filled, "rotate", "default")
    keys(filled, "rewrap", "default")
    held = {path: path.read_bytes() for path in files(filled) if "keyring" in path.name}
    assert [path for path, content in held.items() for one in old if one[-32:] in content] == []


def test_a_rewrap_that_is_killed_is_simply_run_again(filled):
    keys(filled, "rotate", "default")
    filled.terminate()
    for _ in range(10):
        command = [BINARY, "keys", "rewrap", "default", "--per-second", "10", "--data", str(filled.data)]
        under_old = count_under_old(filled)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        poll("a key was moved", lambda: process.poll() is not None or count_under_old(filled) < under_old)  # noqa: B023
        os.kill(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait(timeout=10)
    last = keys(filled, "rewrap", "default")
    assert last["failed"] == 0 and last["moved"] + last["skipped"] == 22
    check_all_read(filled.start())


def test_a_rewrap_whose_caller_is_gone_stops_and_says_so_in_the_audit_log(filled):
    keys(filled, "rotate", "default")
    command = [BINARY, "keys", "rewrap", "default", "--per-second", "1", "--data", str(filled.data)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    poll("some keys were moved", lambda: count_under_old(filled) < 22)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)

    def ended() -> list[str]:
        events = [event for event in audit.events(filled) if event["event"] == "administration"]
        return [event["result"] for event in events if event["command"]["command"] == "rewrap"]

    assert "hung up" in poll("the run is over", ended)[0]
    assert count_under_old(filled) > 0, "a key a second: most are still where they were"
    assert keys(filled, "rewrap", "default")["failed"] == 0
    check_all_read(filled)


def count_under_old(server) -> int:
    current = rows(keyring(server), "SELECT id FROM master_key WHERE current = 1")[0]["id"]
    return len(rows(keyring(server), "SELECT id FROM wrapped_key WHERE parent <> ?", current))


def test_writes_deletes_and_reads_go_on_during_rotations_and_rewraps(filled):
    stop, failures = threading.Event(), []

    def work(worker: int) -> None:
        s3, turn = filled.s3(), 0
        while not stop.is_set():
            turn += 1
            try:
                key = f"w{worker}-{turn % 5}"
                s3.put_object(Bucket="bbb", Key=key, Body=painted(500, seed=turn))
                assert body(s3, "bbb", key) == painted(500, seed=turn)
                if turn % 3 == 0:
                    s3.delete_object(Bucket="bbb", Key=key)
            except Exception as error:
                failures.append(repr(error))
                return

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(4):
            keys(filled, "rotate", "default")
            assert keys(filled, "rewrap", "default")["failed"] == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert failures == []
    check_all_read(filled)
    assert keys(filled, "verify")["unreadable"] == []


def test_a_slow_upload_outlives_rotation_rewrap_and_the_end_of_its_version(filled):
    s3 = filled.s3()
    upload = s3.create_multipart_upload(Bucket="bbb", Key="slow")["UploadId"]
    etag = s3.upload_part(Bucket="bbb", Key="slow", UploadId=upload, PartNumber=1, Body=painted(5 << 20))["ETag"]
    keys(filled, "rotate", "default")
    keys(filled, "rewrap", "default")
    keys(filled, "schedule-destruction", "default/1", "--days", "0")
    keys(filled, "destroy", "default/1", "--yes")
    last = s3.upload_part(Bucket="bbb", Key="slow", UploadId=upload, PartNumber=2, Body=b"end")["ETag"]
    parts = [{"PartNumber": 1, "ETag": etag}, {"PartNumber": 2, "ETag": last}]
    s3.complete_multipart_upload(Bucket="bbb", Key="slow", UploadId=upload, MultipartUpload={"Parts": parts})
    assert body(s3, "bbb", "slow") == painted(5 << 20) + b"end"


def test_a_version_that_is_old_enough_is_rotated_by_itself_and_leaves_an_event(filled):
    keys(filled, "rotate", "default", "--every", "90")
    filled.terminate()
    rows(keyring(filled), "UPDATE master_key SET created_ms = created_ms - 91 * 86400000")
    filled.start()
    poll("another version wraps", lambda: [key["version"] for key in keys(filled, "list") if key["current"]] != [1], 60)
    check_all_read(filled)
    told = [event for event in audit.events(filled) if event["event"] == "administration"]
    rotated = [event for event in told if event["command"]["command"] == "rotate-key"]
    assert [(event["who"], event["result"]) for event in rotated][-1:] == [("-", "done")]


# Disabled and destroyed


def test_a_disabled_version_neither_wraps_nor_unwraps_until_it_is_enabled(filled):
    s3 = filled.s3()
    run(filled, "disable", "default/1")
    with refused("KMS.DisabledException", status=400):
        s3.get_object(Bucket="bbb", Key="k0")
    with refused("KMS.DisabledException", status=400):
        s3.put_object(Bucket="bbb", Key="new", Body=b"x")
    run(filled, "enable", "default/1")
    check_all_read(filled)
    s3.put_object(Bucket="bbb", Key="new", Body=b"x")


def test_a_version_is_destroyed_only_when_nothing_is_under_it_and_its_time_has_come(filled):
    assert "rotate" in run(filled, "schedule-destruction", "default/1", code=1).stderr
    keys(filled, "rotate", "default")
    assert "22 wrapped keys" in run(filled, "schedule-destruction", "default/1", code=1).stderr
    keys(filled, "rewrap", "default")
    assert "schedule" in run(filled, "destroy", "default/1", "--yes", code=1).stderr
    assert "copies" in run(filled, "schedule-destruction", "default/1", "--days", "7").stderr
    again = run(filled, "schedule-destruction", "default/1", "--days", "0", code=1)
    assert "cancel-destruction first" in again.stderr
    assert version(filled, 1)["state"] == "pending-destruction"
    assert "7 days" in run(filled, "destroy", "default/1", "--yes", code=1).stderr
    run(filled, "cancel-destruction", "default/1")
    assert version(filled, 1)["state"] == "enabled"
    run(filled, "schedule-destruction", "default/1", "--days", "0")
    run(filled, "destroy", "default/1", code=2)
    run(filled, "destroy", "default/1", "--yes")
    assert version(filled, 1)["state"] == "destroyed"
    check_all_read(filled.restart())
    assert keys(filled, "rotate", "default")["version"] == 3


def test_who_makes_an_alias_that_another_makes_at_the_same_moment_hears_that_it_was_made(filled):
    for number in range(10):
        alias = f"team/{number}"
        with ThreadPoolExecutor() as pool:
            both = list(pool.map(lambda _: run(filled, "create", alias, code=None), range(2)))
        (loser,) = [one for one in both if one.returncode != 0]
        assert loser.returncode == 1 and "another node rotated" not in loser.stderr, loser.stderr
        assert f"made alias {alias} " in loser.stderr or "at the same moment" not in loser.stderr, loser.stderr


# Looked at


def test_what_cannot_be_unwrapped_is_named(filled):
    assert keys(filled, "verify") == {"readable": 22, "skipped": 0, "unreadable": [], "missing": 0}
    assert keys(filled, "verify", "--sample", "11")["skipped"] == 20
    filled.terminate()
    (row,) = rows(keyring(filled), "SELECT id, wrapped FROM wrapped_key ORDER BY id DESC LIMIT 1")
    spoilt = row["wrapped"][:-1] + bytes([row["wrapped"][-1] ^ 1])
    rows(keyring(filled), "UPDATE wrapped_key SET wrapped = ? WHERE id = ?", spoilt, row["id"])
    found = keys(filled, "verify", code=1)
    assert (found["readable"], [one["key_id"] for one in found["unreadable"]]) == (21, [row["id"].hex()])


def test_the_impact_of_a_version_is_what_lies_under_it(filled):
    impact = keys(filled, "impact", "default")
    assert (impact["store"], impact["buckets"], impact["object_count"]) == (True, ["bbb"], 20)
    keys(filled, "rotate", "default")
    filled.s3().put_object(Bucket="bbb", Key="new", Body=b"x")
    filled.s3().create_multipart_upload(Bucket="bbb", Key="open")
    impact = keys(filled, "impact", "default/2")
    assert (impact["store"], impact["buckets"], impact["upload_count"]) == (False, [], 1)
    assert impact["objects"] == [{"bucket": "bbb", "key": "new"}]
    assert "no master key" in run(filled, "impact", "other", code=1).stderr


# Copied and destroyed


def test_a_keyring_that_was_lost_comes_back_and_what_was_erased_stays_erased(filled, tmp_path):
    s3 = filled.s3()
    copy = tmp_path / "copy.sqlite"
    run(filled, "backup", str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    s3.delete_object(Bucket="bbb", Key="k19")
    run(filled, "invalidate", "bbb", "k18", "--yes")
    filled.terminate()
    assert "move it away" in run(filled, "restore", str(copy), code=1).stderr
    (filled.data / "keyring.sqlite").unlink()
    restored = keys(filled, "restore", str(copy))
    assert restored == {"kept": 20, "erased_again": 2, "missing": 0, "not_held": []}
    assert list(filled.data.glob("keyring.sqlite.restoring*")) == []
    filled.start()
    for number in range(18):
        assert body(s3, "bbb", f"k{number}") == painted(1000, seed=number)
    with refused("InvalidObjectState", status=403):
        s3.get_object(Bucket="bbb", Key="k18")


def test_what_was_made_since_the_copy_is_counted_as_missing(filled, tmp_path):
    s3 = filled.s3()
    run(filled, "backup", str(tmp_path / "copy"))
    for number in range(4):
        s3.put_object(Bucket="bbb", Key=f"since{number}", Body=b"x")
    s3.delete_object(Bucket="bbb", Key="since2")
    s3.create_multipart_upload(Bucket="bbb", Key="open")
    s3.create_bucket(Bucket="since")
    assert keys(filled, "verify")["missing"] == 0
    filled.terminate()
    catalog = filled.data / "catalog.sqlite"
    rows(catalog, "INSERT INTO condemned (kind, name) SELECT 1, data_key FROM version WHERE key = ?", b"since3")
    rows(catalog, "DELETE FROM version WHERE key = ?", b"since3")
    (filled.data / "keyring.sqlite").unlink()
    restored = run(filled, "restore", str(tmp_path / "copy"))
    assert "missing: 4\n" in restored.stdout and "4 keys" in restored.stderr
    assert "missing 4\n" in run(filled, "verify", code=1).stdout
    filled.start()
    assert keys(filled, "verify", code=1)["missing"] == 4
    filled.s3().delete_object(Bucket="bbb", Key="since0")
    assert keys(filled, "verify", code=1)["missing"] == 3


def test_a_copy_with_keys_under_a_version_that_was_destroyed_says_so(filled, tmp_path):
    run(filled, "backup", str(tmp_path / "copy"))
    keys(filled, "rotate", "default")
    keys(filled, "rewrap", "default")
    run(filled, "schedule-destruction", "default/1", "--days", "0")
    assert "copies" in run(filled, "destroy", "default/1", "--yes").stderr
    filled.terminate()
    (filled.data / "keyring.sqlite").unlink()
    restored = run(filled, "restore", str(tmp_path / "copy"), "--json")
    assert json.loads(restored.stdout)["not_held"] == ["default/1"]
    assert "default/1" in restored.stderr


def test_a_keyring_is_restored_while_the_hsm_is_away(filled, tmp_path):
    run(filled, "backup", str(tmp_path / "copy"))
    filled.terminate()
    (filled.data / "keyring.sqlite").unlink()
    (filled.data / "token").rename(tmp_path / "away")
    restored = run(filled, "restore", str(tmp_path / "copy"), "--json")
    assert json.loads(restored.stdout) == {"kept": 22, "erased_again": 0, "missing": 0, "not_held": None}


def test_nothing_of_a_restore_that_fails_or_was_killed_is_left(filled, tmp_path):
    run(filled, "backup", str(tmp_path / "copy"))
    filled.terminate()
    (filled.data / "keyring.sqlite").unlink()
    for ending in ("", "-wal", "-shm"):
        (filled.data / f"keyring.sqlite.restoring{ending}").write_bytes(b"left by one that was killed")
    shutil.copy(filled.data / "catalog.sqlite", tmp_path / "other")
    assert "is no strongroom keyring" in run(filled, "restore", str(tmp_path / "other"), code=1).stderr
    assert list(filled.data.glob("keyring.sqlite*restoring*")) == []
    assert keys(filled, "restore", str(tmp_path / "copy"))["kept"] == 22
    assert list(filled.data.glob("keyring.sqlite*restoring*")) == []
    check_all_read(filled.start())


def test_the_log_of_a_lost_keyring_is_not_taken_for_the_copys(filled, tmp_path):
    run(filled, "backup", str(tmp_path / "copy"))
    keys(filled, "rotate", "default")
    filled.kill9()
    (filled.data / "keyring.sqlite").unlink()
    log = (filled.data / "keyring.sqlite-wal").read_bytes()
    assert log, "the rotation is in it"
    restored = run(filled, "restore", str(tmp_path / "copy"))
    assert "keyring.sqlite-wal.lost" in restored.stderr
    assert (filled.data / "keyring.sqlite-wal.lost").read_bytes() == log, "nothing is lost"
    assert [key["version"] for key in keys(filled, "list") if key["current"]] == [1]
    (filled.data / "keyring.sqlite").rename(filled.data / "keyring.sqlite-wal")
    again = run(filled, "restore", str(tmp_path / "copy"), code=1).stderr
    assert "keyring.sqlite-wal.lost is there: move it away" in again
    (filled.data / "keyring.sqlite-wal").unlink()
    assert keys(filled, "restore", str(tmp_path / "copy"))["kept"] == 22


def test_a_copy_of_another_store_is_refused(filled, make_server, tmp_path):
    other = make_server().start()
    run(other, "backup", str(tmp_path / "copy"))
    filled.terminate()
    (filled.data / "keyring.sqlite").unlink()
    assert "different stores" in run(filled, "restore", str(tmp_path / "copy"), code=1).stderr
    assert list(filled.data.glob("keyring.sqlite*")) == [filled.data / "keyring.sqlite.tokens"]


def test_an_invalidated_object_is_gone_for_good_and_the_others_are_not(filled):
    s3 = filled.s3()
    (kept,) = rows(
        keyring(filled),
        "SELECT wrapped FROM wrapped_key WHERE id = ?",
        rows(filled.data / "catalog.sqlite", "SELECT data_key FROM version WHERE key = ?", b"k3")[0]["data_key"],
    )
    run(filled, "invalidate", "bbb", "k3", code=2)
    assert body(s3, "bbb", "k3") == painted(1000, seed=3), "it was not asked for"
    run(filled, "invalidate", "bbb", "k3", "--yes")
    with refused("InvalidObjectState", status=403):
        s3.get_object(Bucket="bbb", Key="k3")
    assert [path for path in files(filled) if kept["wrapped"][-32:] in path.read_bytes()] == []
    assert body(s3, "bbb", "k4") == painted(1000, seed=4)
    s3.put_object(Bucket="bbb", Key="k3", Body=b"anew")
    assert body(s3, "bbb", "k3") == b"anew"


def test_an_invalidated_bucket_reads_no_more(filled):
    s3 = filled.s3()
    s3.create_bucket(Bucket="other")
    s3.put_object(Bucket="other", Key="k", Body=b"x")
    assert keys(filled, "invalidate", "bbb", "--yes") == {"destroyed": 20}
    with refused("InvalidObjectState", status=403):
        s3.get_object(Bucket="bbb", Key="k0")
    assert body(s3, "other", "k") == b"x"


def test_who_did_what_to_a_master_key_is_in_the_audit_log(filled):
    run(filled, "rotate", "default")
    run(filled, "disable", "default/9", code=1)
    told = [event for event in audit.events(filled) if event["event"] == "administration"]
    assert [event["command"]["command"] for event in told] == ["rotate-key", "disable-key"]
    assert {event["who"] for event in told} == {f"uid:{os.getuid()}"}
    assert told[0]["result"] == "done" and "no master key" in told[1]["result"]
