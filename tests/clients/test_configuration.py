"""Where the master keys are: told by a file or by options, by label, serial or slot; one provider, or several."""

import json
import os
import subprocess

import pytest

from painted import painted
from refusal import body
from server import BINARY, poll
from tokens import SoftTokens
from test_startup import check_refuses_to_start


@pytest.fixture
def soft(tmp_path) -> SoftTokens:
    return SoftTokens(tmp_path / "soft")


def strongroom(*arguments, soft: SoftTokens | None = None, code: int = 0) -> subprocess.CompletedProcess:
    environment = {**os.environ, **(soft.environment if soft else {})}
    done = subprocess.run(
        [BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "panicked" not in done.stderr
    return done


def written(tmp_path, text: str):
    path = tmp_path / "strongroom.toml"
    path.write_text(text)
    return path


def check_works(server) -> None:
    s3 = server.s3()
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=painted(1000))
    assert body(s3, "bbb", "k") == painted(1000)


def test_a_file_tells_all_and_the_command_line_comes_before_it(make_server, soft, tmp_path):
    soft.make("store")
    places = f"[places]\nkeyring = 'ring/keyring.sqlite'\ndata = '{tmp_path / 'elsewhere'}'\n"
    config = written(tmp_path, f"listen = '127.0.0.1:1'\nlog = 'debug'\n{places}{soft.masters()}")
    server = make_server(options=("--config", str(config), "--init"), environment=soft.environment).start()
    check_works(server)
    assert (tmp_path / "ring/keyring.sqlite").exists(), "a path in the file starts at the file"
    assert (server.data / "catalog.sqlite").exists() and not (tmp_path / "elsewhere").exists()
    listed = json.loads(strongroom("keys", "list", "--json", "--config", config, "--data", server.data).stdout)
    assert [key["wrapped"] for key in listed] == [3]
    server.terminate()
    again = strongroom("keys", "list", "--json", "--config", config, "--data", server.data, soft=soft).stdout
    assert json.loads(again) == listed


@pytest.mark.parametrize(
    ("from_text", "to_text", "line"),
    [("log = 'info'", "logs = 'info'", 1), ("workers = 2", "worker = 2", 8), ("kind = 'pkcs11'", "kind = 'tpm'", 5)],
)
def test_what_the_file_says_and_nobody_knows_is_refused_with_its_line(tmp_path, from_text, to_text, line):
    text = "log = 'info'\n\n[[masters]]\nname = 'hsm'\nkind = 'pkcs11'\nmodule = '/m'\nlabel = 'l'\nworkers = 2\n"
    config = written(tmp_path, text.replace(from_text, to_text))
    for command in (["serve"], ["keys", "list"], ["hsm", "doctor"], ["hsm", "bench"], ["seal", str(config)]):
        done = strongroom(*command, "--config", config, "--data", tmp_path / "data", code=1)
        assert f"line {line}:" in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_pin_in_the_file_is_refused_and_not_repeated(tmp_path):
    config = written(tmp_path, "[[masters]]\nname = 'hsm'\nkind = 'pkcs11'\npin = '31415926'\n")
    done = strongroom("serve", "--config", config, "--data", tmp_path / "data", code=1)
    assert "line 4" in done.stderr and "31415926" not in done.stderr + done.stdout


def test_an_ambiguous_label_is_refused_with_the_serials_in_one_line_and_a_serial_settles_it(make_server, soft):
    serials = [soft.make("store"), soft.make("store")]
    options = ("--pkcs11-module", str(soft.module), "--pin-file", str(soft.pin_file))
    server = make_server(options=(*options, "--token-label", "store", "--init"), environment=soft.environment)
    check_refuses_to_start(server, "more than one token", *serials)
    told = (*options, "--token-serial", serials[1], "--init")
    server = make_server(options=told, environment=soft.environment).start()
    check_works(server)
    doctor = json.loads(strongroom("hsm", "doctor", "--json", *told[:-1], soft=soft).stdout)
    assert len(doctor["master_keys"]) == 1


def test_a_slot_names_a_token(soft):
    soft.make("store")
    slots = [line.split()[1] for line in soft._softhsm("--show-slots").splitlines() if line.startswith("Slot ")]
    options = ("--pkcs11-module", soft.module, "--pin-file", soft.pin_file, "--json")
    doctor = json.loads(strongroom("hsm", "doctor", *options, "--token-slot", slots[0], soft=soft).stdout)
    assert doctor["token"] == "store"


def test_several_providers_each_have_their_aliases(make_server, soft, tmp_path):
    soft.make("store")
    (tmp_path / "passphrase").write_text("correct horse")
    (tmp_path / "passphrase").chmod(0o600)
    laptop = "[[masters]]\nname = 'laptop'\nkind = 'keyfile'\naliases = ['lesser']\nfile = 'keys'\n"
    laptop += "passphrase-file = 'passphrase'\nmake = true\n"
    config = written(tmp_path, soft.masters() + laptop)
    server = make_server(options=("--config", str(config), "--init"), environment=soft.environment).start()
    check_works(server)
    strongroom("keys", "create", "lesser", "--data", server.data)
    strongroom("keys", "create", "greater", "--data", server.data)
    doctor = strongroom("hsm", "doctor", "--json", "--config", config, "--data", server.data, soft=soft)
    on_token = {key["alias"] for key in json.loads(doctor.stdout)["master_keys"]}
    assert on_token == {"default", "greater"}
    listed = json.loads(strongroom("keys", "list", "--json", "--data", server.data).stdout)
    assert {key["alias"] for key in listed} == {"default", "greater", "lesser"}
    named = strongroom("hsm", "doctor", "--config", config, "--provider", "laptop", soft=soft, code=1)
    assert "no HSM" in named.stderr
    server.restart()
    strongroom("keys", "rotate", "lesser", "--data", server.data)


def test_a_key_file_alone_serves_and_says_at_each_start_that_it_is_no_hsm(make_server, tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse")
    passphrase.chmod(0o600)
    options = ("--keyfile", str(tmp_path / "keys"), "--passphrase-file", str(passphrase))
    server = make_server(options=(*options, "--init")).start()
    check_works(server)
    server.terminate()
    assert server.log_text().count("NOT IN AN HSM") == 1
    server.options = options
    server.start()
    assert server.log_text().count("NOT IN AN HSM") == 2
    assert body(server.s3(), "bbb", "k") == painted(1000)
    server.terminate()
    passphrase.write_text("wrong")
    check_refuses_to_start(server, "passphrase")
    (tmp_path / "keys").unlink()
    passphrase.write_text("correct horse")
    check_refuses_to_start(server, str(tmp_path / "keys"))
    assert not (tmp_path / "keys").exists(), "one that is lost is never made again"


def test_another_token_under_the_same_label_is_refused_by_name_unless_it_holds_the_keys(make_server, soft, tmp_path):
    first = soft.make("store")
    config = written(tmp_path, soft.masters())
    server = make_server(options=("--config", str(config), "--init"), environment=soft.environment).start()
    check_works(server)
    server.terminate()
    soft.tokens.rename(tmp_path / "away")
    soft.tokens.mkdir()
    second = soft.make("store")
    server.spawn_degraded(first, second)
    server.terminate()
    # It is not enough to allow it: the keys must be there.
    server.options = ("--config", str(config), "--accept-moved-token")
    server.spawn().await_trouble("hsm")
    server.terminate()
    remembered = server.data / "keyring.sqlite.tokens"
    assert json.loads(remembered.read_text()) == {"default": first}
    # Moved to new hardware: the same keys under another serial.
    soft.tokens.rename(tmp_path / "second")
    (tmp_path / "away").rename(soft.tokens)
    remembered.write_text(json.dumps({"default": second}))
    server.options = ("--config", str(config))
    server.spawn_degraded(first, second)
    server.terminate()
    server.options = ("--config", str(config), "--accept-moved-token")
    server.start()
    assert body(server.s3(), "bbb", "k") == painted(1000)
    poll("the new serial is remembered", lambda: json.loads(remembered.read_text()) == {"default": first})
    server.options = ("--config", str(config))
    server.restart()
