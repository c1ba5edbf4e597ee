"""The owner: all of S3 but what a policy denies, master keys by a grant, and the connection that its requests come by."""

import json

from administer import allow, done, put_policy
from certificates import Authority
from refusal import body, refused


def denied():
    return refused("AccessDenied", status=403)


def test_the_owner_is_stopped_by_denials_of_its_own(own_server):
    owner = own_server.s3()
    owner.create_bucket(Bucket="bbb")
    for key in ("open/k", "shut/k"):
        owner.put_object(Bucket="bbb", Key=key, Body=b"x")
    put_policy(own_server, "owner", "shut", allow("s3:GetObject", resource="arn:aws:s3:::bbb/shut/*", effect="Deny"))
    assert body(owner, "bbb", "open/k") == b"x"
    with denied():
        owner.get_object(Bucket="bbb", Key="shut/k")
    done(own_server, "users", "policy", "delete", "owner", "shut")
    assert body(owner, "bbb", "shut/k") == b"x"


def test_the_owner_uses_master_keys_by_a_grant_unless_one_administrator_has_both_roles(make_server, tmp_path):
    (tmp_path / "passphrase").write_text("correct horse")
    (tmp_path / "passphrase").chmod(0o600)
    keyfile = ("--keyfile", str(tmp_path / "keys"), "--passphrase-file", str(tmp_path / "passphrase"))
    server = make_server(options=(*keyfile, "--init")).start()
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/default"}
    server.s3().create_bucket(Bucket="bbb")
    server.s3().put_object(Bucket="bbb", Key="k", Body=b"x", **mode)
    server.terminate()
    server.options, server.roles = keyfile, ()
    server.start()
    with denied():
        server.s3().put_object(Bucket="bbb", Key="l", Body=b"x", **mode)
    with denied():
        server.s3().get_object(Bucket="bbb", Key="k")
    server.s3().put_object(Bucket="bbb", Key="l", Body=b"x")
    server.terminate()
    # Whoever has the files and what opens the master keys grants it without a server.
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow("kms:*")]})
    done(server, "users", "policy", "put", "owner", "use", *keyfile, stdin=document)
    server.start()
    server.s3().put_object(Bucket="bbb", Key="m", Body=b"x", **mode)
    assert body(server.s3(), "bbb", "k") == b"x"


def test_a_condition_on_secure_transport_tells_tls_from_plain_http(make_server, tmp_path):
    authority = Authority(tmp_path)
    authority.write(authority.pair())
    server = make_server(arguments=authority.arguments, authority=authority.path).start()
    server.s3().create_bucket(Bucket="bbb")
    server.s3().put_object(Bucket="bbb", Key="k", Body=b"x")
    insecure = {**allow("s3:*", effect="Deny"), "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    put_policy(server, "owner", "tls", insecure)
    assert body(server.s3(), "bbb", "k") == b"x"
    server.terminate()
    plain = make_server(server.data).start()
    with denied():
        plain.s3().get_object(Bucket="bbb", Key="k")
    done(plain, "users", "policy", "delete", "owner", "tls")
    assert body(plain.s3(), "bbb", "k") == b"x"
