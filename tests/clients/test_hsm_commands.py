"""`strongroom hsm doctor` and `hsm bench`: beside a server that runs, and on tokens that are not there."""

import json
import os
import subprocess

import pytest

from server import BINARY, poll


def hsm(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, "hsm", *arguments], capture_output=True, text=True, timeout=180)


def test_the_doctor_finds_the_token_of_a_running_server_sound(own_server):
    done = hsm("doctor", "--data", str(own_server.data), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["token"] == "strongroom"
    assert [rung["rung"] for rung in report["rungs"] if rung["works"]] == ["aes-gcm"]
    assert [(key["alias"], key["version"]) for key in report["master_keys"]] == [("default", 1)]
    assert all(key["extractable"] is False and key["sensitive"] is True for key in report["master_keys"])
    assert {finding["severity"] for finding in report["findings"]} == {"good"}
    ways_out = {"key reads back", "key becomes extractable", "key becomes readable", "C_CopyObject", "C_WrapKey"}
    assert ways_out <= {finding["about"] for finding in report["findings"]}


def test_the_bench_measures_beside_a_running_server_and_leaves_its_keys_alone(own_server):
    counts = ("--workers", "1,2", "--sessions", "1", "--each", "100")
    done = hsm("bench", "--data", str(own_server.data), "--json", *counts)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["rung"] == "aes-gcm" and report["best_workers"] in (1, 2)
    for row in report["in_process"] + report["through_workers"]:
        assert all(row[f"{what}_per_second"] > 0 for what in ("wraps", "unwraps", "rewraps")), row
    keys = json.loads(hsm("doctor", "--data", str(own_server.data), "--json").stdout)["master_keys"]
    assert [(key["alias"], key["version"]) for key in keys] == [("default", 1)]
    own_server.s3().create_bucket(Bucket="still-works")
    assert done.stderr == "", "what it does itself is nothing to be warned of"


def test_a_bench_destroys_what_a_killed_one_left_and_no_other_key(own_server):
    def on_token() -> list[tuple[str, int]]:
        report = json.loads(hsm("doctor", "--data", str(own_server.data), "--json").stdout)
        return sorted((key["alias"], key["version"]) for key in report["master_keys"])

    place = ("--data", str(own_server.data))
    subprocess.run([BINARY, "keys", "create", "strongroom-bench", *place], check=True, timeout=60)
    ours = [("default", 1), ("strongroom-bench", 1)]
    killed = subprocess.Popen([BINARY, "hsm", "bench", *place, "--each", "60000"], stderr=subprocess.DEVNULL)
    poll("the bench has made its key", lambda: ("strongroom-bench", 0) in on_token())
    killed.kill()
    killed.wait(60)
    assert len(on_token()) == 3
    done = hsm("bench", *place, "--workers", "1", "--sessions", "1", "--each", "50")
    assert done.returncode == 0 and "earlier bench" in done.stderr
    assert on_token() == ours, "its own is gone, and what somebody uses is not"


@pytest.mark.parametrize("option", ["--workers", "--sessions", "--each"])
def test_a_bench_of_nothing_is_refused(own_server, option):
    done = hsm("bench", "--data", str(own_server.data), option, "0")
    assert done.returncode == 2
    assert option in done.stderr and "0 is not in 1..=" in done.stderr


@pytest.mark.parametrize("command", ["doctor", "bench"])
def test_a_token_that_is_not_there_is_one_line_that_says_what_to_give(tmp_path, command):
    done = hsm(command, "--data", str(tmp_path))
    assert done.returncode == 2
    assert "--pkcs11-module" in done.stderr and done.stderr.count("\n") == 1


def test_master_keys_in_a_file_are_no_hsm_to_look_at(tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse")
    place = ("--data", str(tmp_path), "--keyfile", str(tmp_path / "keys"), "--passphrase-file", str(passphrase))
    done = hsm("doctor", *place)
    assert done.returncode == 1
    assert "no HSM is configured: the master keys lie in files (keyfile)" in done.stderr
    done = hsm("doctor", *place, "--provider", "vault")
    assert done.returncode == 1
    assert "no provider has the name vault: there are keyfile" in done.stderr


def test_what_is_not_well_has_an_exit_code_and_advice(own_server):
    pin_file = own_server.data / "token" / "pin"
    module = "/usr/lib/softhsm/libsofthsm2.so"
    environment = os.environ | {"SOFTHSM2_CONF": str(own_server.data / "token" / "softhsm2.conf")}
    arguments = ["--pkcs11-module", module, "--token-label", "another", "--pin-file", str(pin_file)]
    done = subprocess.run([BINARY, "hsm", "doctor", *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "BAD" in done.stdout and "->" in done.stdout
    assert pin_file.read_text() not in done.stdout + done.stderr
