"""A proxy before the server: its word on a client counts if an administrator has called it a proxy, and else never.

The test is the proxy: it comes from 127.0.0.1 and writes what a proxy writes.
"""

import base64
import hashlib

import pytest

from administer import allow, done, put_policy
from refusal import refused
from test_startup import check_refuses_to_start
from wire import exchange, sign

CLIENT = "192.0.2.9"
FROM_OFFICE = {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
ENCRYPTED = {"Bool": {"aws:SecureTransport": "false"}}


def deny_unless(condition: dict) -> dict:
    return {**allow("s3:GetObject", effect="Deny"), "Condition": condition}


def filled(server):
    server.start()
    server.s3().create_bucket(Bucket="bbb")
    server.s3().put_object(Bucket="bbb", Key="k", Body=b"x")
    return server


@pytest.fixture
def behind(make_server):
    return filled(make_server(arguments=("--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/24")))


def status(server, **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return exchange(server, sign(server, "GET", "/bbb/k", headers=sent)).status


def test_the_address_that_a_proxy_saw_is_the_client_s(behind):
    put_policy(behind, "owner", "office", deny_unless(FROM_OFFICE))
    assert status(behind) == 403, "the proxy itself is not in the office"
    assert status(behind, X_Forwarded_For=CLIENT) == 200
    assert status(behind, X_Forwarded_For=f"9.9.9.9, {CLIENT}, 10.0.0.8") == 200, "by two proxies"
    assert status(behind, X_Forwarded_For=f"{CLIENT}, 9.9.9.9") == 403, "what a client claims stands further left"
    assert status(behind, X_Forwarded_For="unknown") == 403


def test_a_request_that_came_to_the_proxy_in_the_clear_is_not_encrypted(behind):
    put_policy(behind, "owner", "tls", deny_unless(ENCRYPTED))
    assert status(behind, X_Forwarded_For=CLIENT, X_Forwarded_Proto="https") == 200
    assert status(behind, X_Forwarded_For=CLIENT, X_Forwarded_Proto="http") == 403
    assert status(behind, X_Forwarded_For=CLIENT) == 403
    assert status(behind, X_Forwarded_For=CLIENT, X_Forwarded_Proto="https, http") == 403


def test_a_customer_s_key_that_came_to_the_proxy_in_the_clear_is_refused(behind):
    key = bytes(range(32))
    customer = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(key).decode(),
        "x-amz-server-side-encryption-customer-key-MD5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }

    def answer(proto: str):
        sent = {**customer, "X-Forwarded-For": CLIENT, "X-Forwarded-Proto": proto}
        return exchange(behind, sign(behind, "PUT", "/bbb/c", headers=sent, body=b"x"))

    assert answer("http").status == 400
    # A new bucket takes no such keys, which is found out later.
    assert answer("https").status == 403
    with refused("404", status=404):
        behind.s3().head_object(Bucket="bbb", Key="c")


def test_from_anybody_else_such_headers_mean_nothing(make_server):
    for arguments in ((), ("--trusted-proxy", "10.0.0.7")):
        server = filled(make_server(arguments=arguments))
        put_policy(server, "owner", "office", deny_unless(FROM_OFFICE))
        claims = {"Forwarded": f"for={CLIENT};proto=https", "X-Real-IP": CLIENT}
        assert status(server, X_Forwarded_For=CLIENT, X_Forwarded_Proto="https", **claims) == 403
        done(server, "users", "policy", "delete", "owner", "office")
        put_policy(server, "owner", "tls", deny_unless(ENCRYPTED))
        assert status(server, X_Forwarded_For=CLIENT, X_Forwarded_Proto="https") == 403


@pytest.mark.parametrize("text", ["0.0.0.0/0", "proxy.example.com", ""])
def test_a_proxy_that_could_be_anybody_is_refused_at_the_start(make_server, text):
    check_refuses_to_start(make_server(arguments=(f"--trusted-proxy={text}",)), "proxy")
