"""What users may do: nothing until a policy says so; and the use of master keys apart from the objects under them."""

import json

import pytest

from administer import allow, client, done, new_key, put_policy
from certificates import Authority
from painted import painted
from refusal import body, refused


def denied():
    return refused("AccessDenied", status=403)


@pytest.fixture
def alice(own_server):
    """A user who may do nothing yet, and a bucket with two objects of the owner's."""
    done(own_server, "users", "create", "alice")
    owner = own_server.s3()
    owner.create_bucket(Bucket="photos")
    for key in ("alice/cat", "bob/dog"):
        owner.put_object(Bucket="photos", Key=key, Body=painted(1000))
    return client(own_server, new_key(own_server, "alice"))


def test_a_new_user_may_do_nothing(own_server, alice):
    with denied():
        alice.list_buckets()
    with denied():
        alice.get_object(Bucket="photos", Key="alice/cat")
    with denied():
        alice.put_object(Bucket="photos", Key="alice/new", Body=b"x")
    with denied():
        alice.delete_object(Bucket="photos", Key="alice/cat")
    with denied():
        alice.create_bucket(Bucket="mine")
    assert [entry["Key"] for entry in own_server.s3().list_objects_v2(Bucket="photos")["Contents"]] == [
        "alice/cat",
        "bob/dog",
    ]


def test_a_policy_allows_what_it_says_at_once_and_no_more_when_it_is_gone(own_server, alice):
    put_policy(own_server, "alice", "read", allow("s3:GetObject", resource="arn:aws:s3:::photos/*"))
    assert body(alice, "photos", "bob/dog") == painted(1000)
    with denied():
        alice.put_object(Bucket="photos", Key="alice/new", Body=b"x")
    with denied():
        alice.list_objects_v2(Bucket="photos")
    put_policy(own_server, "alice", "read", allow("s3:ListBucket", resource="arn:aws:s3:::photos"))
    assert alice.list_objects_v2(Bucket="photos")["KeyCount"] == 2
    with denied():
        alice.get_object(Bucket="photos", Key="bob/dog")
    done(own_server, "users", "policy", "delete", "alice", "read")
    with denied():
        alice.list_objects_v2(Bucket="photos")


def test_a_denial_wins_whichever_policy_it_stands_in(own_server, alice):
    put_policy(own_server, "alice", "all", allow("s3:*"))
    put_policy(own_server, "alice", "but", allow("s3:GetObject", resource="arn:aws:s3:::photos/bob/*", effect="Deny"))
    assert body(alice, "photos", "alice/cat") == painted(1000)
    with denied():
        alice.get_object(Bucket="photos", Key="bob/dog")
    # The owner is stopped by its own denials, too.
    put_policy(own_server, "owner", "but", allow("s3:GetObject", resource="arn:aws:s3:::photos/bob/*", effect="Deny"))
    with denied():
        own_server.s3().get_object(Bucket="photos", Key="bob/dog")


def test_a_variable_stands_for_the_user_s_own_name(own_server, alice):
    own = "arn:aws:s3:::photos/${aws:username}/*"
    for user in ("alice", "bob"):
        if user == "bob":
            done(own_server, "users", "create", "bob")
        put_policy(own_server, user, "own", allow("s3:GetObject", "s3:PutObject", resource=own))
    bob = client(own_server, new_key(own_server, "bob"))
    assert body(alice, "photos", "alice/cat") == painted(1000)
    assert body(bob, "photos", "bob/dog") == painted(1000)
    with denied():
        alice.get_object(Bucket="photos", Key="bob/dog")
    with denied():
        bob.put_object(Bucket="photos", Key="alice/cat", Body=b"x")


def test_a_bucket_s_policy_allows_a_user_by_name_and_denies_in_spite_of_the_user_s_own(own_server, alice):
    done(own_server, "users", "create", "bob")
    bob = client(own_server, new_key(own_server, "bob"))
    put_policy(own_server, "bob", "all", allow("s3:*"))
    named = {"AWS": "arn:aws:iam::000000000000:user/alice"}
    statements = [
        {"Effect": "Allow", "Principal": named, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*"},
        {
            "Effect": "Deny",
            "NotPrincipal": {"AWS": [named["AWS"], "arn:aws:iam::000000000000:root"]},
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::photos/alice/*",
        },
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    own_server.s3().put_bucket_policy(Bucket="photos", Policy=document)
    assert body(alice, "photos", "alice/cat") == body(bob, "photos", "bob/dog") == painted(1000)
    with denied():
        bob.get_object(Bucket="photos", Key="alice/cat")
    with denied():
        alice.put_object(Bucket="photos", Key="alice/cat", Body=b"x")


def test_who_may_read_the_bucket_but_not_use_the_key_is_refused_whatever_state_the_key_is_in(own_server, alice):
    done(own_server, "keys", "create", "payroll")
    done(own_server, "keys", "create", "other")
    mode = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/payroll"}
    own_server.s3().put_object(Bucket="photos", Key="secret", Body=painted(1000), **mode)
    put_policy(own_server, "alice", "all", allow("s3:*"))
    assert body(alice, "photos", "alice/cat") == painted(1000), "SSE-S3 takes no permission on a key"
    key = "arn:aws:kms:us-east-1:000000000000:alias/{}"

    def refuses_both():
        with denied():
            alice.get_object(Bucket="photos", Key="secret")
        with denied():
            alice.put_object(Bucket="photos", Key="new", Body=b"x", **mode)

    refuses_both()
    put_policy(own_server, "alice", "use", allow("kms:*", resource=key.format("other")))
    refuses_both()
    done(own_server, "keys", "disable", "payroll/1")
    refuses_both()
    done(own_server, "keys", "enable", "payroll/1")
    put_policy(own_server, "alice", "use", allow("kms:Decrypt", resource=key.format("payroll")))
    assert body(alice, "photos", "secret") == painted(1000)
    with denied():
        alice.put_object(Bucket="photos", Key="new", Body=b"x", **mode)
    put_policy(own_server, "alice", "use", allow("kms:GenerateDataKey", resource=key.format("payroll")))
    alice.put_object(Bucket="photos", Key="new", Body=b"x", **mode)
    with denied():
        alice.get_object(Bucket="photos", Key="secret")


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
