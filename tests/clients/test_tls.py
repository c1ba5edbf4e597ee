"""TLS: every client with a check of the certificate, a new certificate without a restart, and pairs that are refused."""

import os
import signal
import ssl
import socket
import threading

import pytest
from cryptography import x509

from certificates import DAY, Authority, Pair
from painted import painted
from refusal import body
from server import poll
from test_startup import check_refuses_to_start


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls_server(make_server, authority):
    authority.write(authority.pair())
    return make_server(arguments=authority.arguments, authority=authority.path).start()


def context(server, **settings) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(server.authority))
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def handshake(server, made: ssl.SSLContext) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    return made.wrap_socket(raw, server_hostname="127.0.0.1")


def served_serial(server) -> int:
    with handshake(server, context(server)) as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True)).serial_number


def test_clients_that_check_the_certificate_work_over_tls(tls_server, tmp_path):
    s3 = tls_server.s3()
    s3.create_bucket(Bucket="bbb")
    content = painted(3 << 20)
    s3.put_object(Bucket="bbb", Key="k", Body=content)
    assert body(s3, "bbb", "k") == content
    (tmp_path / "file").write_bytes(content)
    tls_server.aws("s3", "cp", str(tmp_path / "file"), "s3://bbb/cli")
    tls_server.aws("s3", "cp", "s3://bbb/cli", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content
    assert "https://" in tls_server.log_text(), "the lines to paste name the scheme"


def test_plain_http_is_not_served_beside_it(tls_server):
    with socket.create_connection(("127.0.0.1", tls_server.port), timeout=20) as plain:
        plain.sendall(b"GET /-/health/live HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = b""
        while piece := plain.recv(4096):
            answer += piece
    assert not answer.startswith(b"HTTP")
    assert tls_server.health("live") == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(tls_server, version):
    made = context(tls_server, minimum_version=version, maximum_version=version)
    with handshake(tls_server, made) as connection:
        assert connection.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_tls_1_1_is_refused(tls_server):
    made = context(tls_server)
    made.set_ciphers("ALL:@SECLEVEL=0")
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(tls_server, made)


@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)])
def test_the_handshake_settles_the_version_of_http(tls_server, offered, chosen):
    made = context(tls_server)
    if offered:
        made.set_alpn_protocols(offered)
    with handshake(tls_server, made) as connection:
        assert connection.selected_alpn_protocol() == chosen


def test_a_new_certificate_is_taken_up_while_requests_go_on(tls_server, authority):
    s3 = tls_server.s3(retries={"mode": "standard", "total_max_attempts": 1})
    s3.create_bucket(Bucket="bbb")
    s3.put_object(Bucket="bbb", Key="k", Body=b"x")
    ended, failed, answered = threading.Event(), [], []

    def ask():
        while not ended.is_set():
            # A client of its own each time, so that there is a handshake each time.
            try:
                answered.append(body(tls_server.s3(), "bbb", "k"))
            except Exception as error:
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with handshake(tls_server, context(tls_server)) as old:
            for _ in range(3):
                fresh = authority.write(authority.pair())
                poll("the new certificate is served", lambda: served_serial(tls_server) == fresh.serial)
            old.sendall(b"GET /-/health/live HTTP/1.1\r\nHost: h\r\n\r\n")
            assert old.recv(4096).startswith(b"HTTP/1.1 200"), "a connection keeps what it began with"
        seen = len(answered)
        poll("requests go on", lambda: len(answered) > seen)
    finally:
        ended.set()
        asking.join()
    assert failed == [] and set(answered) == {b"x"}


def test_a_signal_has_the_files_read_again(tls_server, authority):
    before = tls_server.log_text().count("new certificate")
    os.kill(tls_server.serve_pid(), signal.SIGHUP)
    poll("it says so", lambda: tls_server.log_text().count("new certificate") == before + 1)
    assert tls_server.health("live") == 200


def bad_pairs(authority: Authority) -> dict[str, tuple[Pair, str]]:
    good, other = authority.pair(), authority.pair()
    return {
        "of two that do not belong together": (Pair(good.cert, other.key, good.serial), "together"),
        "expired": (authority.pair(begins=-2 * DAY, ends=-DAY), "expired"),
        "of the future": (authority.pair(begins=DAY, ends=2 * DAY), "not valid yet"),
        "without a certificate": (Pair(b"nothing\n", good.key, 0), "certificate"),
        "without a key": (Pair(good.cert, b"nothing\n", 0), "private key"),
    }


NAMES = ["of two that do not belong together", "expired", "of the future", "without a certificate", "without a key"]


@pytest.mark.parametrize("which", NAMES)
def test_a_bad_pair_is_refused_at_the_start(make_server, authority, which):
    pair, words = bad_pairs(authority)[which]
    authority.write(pair)
    check_refuses_to_start(make_server(arguments=authority.arguments, authority=authority.path), words)


def test_a_bad_new_pair_keeps_the_old_one_and_is_told_in_the_log(tls_server, authority):
    serial = served_serial(tls_server)
    for name, (pair, words) in bad_pairs(authority).items():
        told = tls_server.log_text().count(words)
        authority.write(pair)
        poll(f"the log tells of a pair {name}", lambda: tls_server.log_text().count(words) > told)
        assert served_serial(tls_server) == serial, name
    assert "BEGIN" not in tls_server.log_text()
    fresh = authority.write(authority.pair())
    poll("a good one comes through again", lambda: served_serial(tls_server) == fresh.serial)


def test_a_private_key_that_others_can_read_is_refused(make_server, authority):
    authority.write(authority.pair())
    authority.key.chmod(0o640)
    server = make_server(arguments=authority.arguments, authority=authority.path)
    check_refuses_to_start(server, "chmod 600", str(authority.key))
    authority.key.chmod(0o600)
    server.start()
    authority.key.chmod(0o604)
    poll("the log tells of it", lambda: "mode 0604" in server.log_text())
    assert server.health("live") == 200


def test_the_configuration_file_names_the_pair_beside_itself(make_server, authority, tmp_path):
    authority.write(authority.pair())
    config = tmp_path / "strongroom.toml"
    config.write_text("[tls]\ncert = 'cert.pem'\nkey = 'key.pem'\n")
    server = make_server(arguments=("--config", str(config)), authority=authority.path).start()
    server.s3().create_bucket(Bucket="bbb")
