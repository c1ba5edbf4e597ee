"""Policies of users: what each may do to buckets, objects and master keys, alone and beside the policy of a bucket."""

import uuid

import pytest

from administer import client, done, new_key, put_policy
from refusal import body
from test_bucket_policy import arn, both, denied, deny, policy
from wire import exchange, sign

KMS = "arn:aws:kms:us-east-1:000000000000:"


def statement(effect: str, action, resource, condition=None) -> dict:
    made = {"Effect": effect, "Action": action, "Resource": resource}
    return made | ({"Condition": condition} if condition else {})


def may(action, resource, condition=None) -> dict:
    return statement("Allow", action, resource, condition)


def may_not(action, resource, condition=None) -> dict:
    return statement("Deny", action, resource, condition)


class User:
    """A user with an access key, whose one policy a test sets."""

    def __init__(self, server):
        self.server, self.name = server, f"u-{uuid.uuid4().hex[:12]}"
        done(server, "users", "create", self.name)
        self.s3 = client(server, new_key(server, self.name))
        self.arn = f"arn:aws:iam::000000000000:user/{self.name}"

    def set(self, *statements: dict) -> None:
        put_policy(self.server, self.name, "policy", *statements)


@pytest.fixture
def ann(server) -> User:
    return User(server)


@pytest.fixture
def bob(server) -> User:
    return User(server)


@pytest.fixture(scope="module")
def alias(server) -> str:
    name = f"k-{uuid.uuid4().hex[:12]}"
    done(server, "keys", "create", name)
    return name


def test_a_user_without_policies_may_do_nothing(s3, bucket, ann):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for call in (
        lambda: ann.s3.list_buckets(),
        lambda: ann.s3.create_bucket(Bucket=f"{bucket}-new"),
        lambda: ann.s3.list_objects_v2(Bucket=bucket),
        lambda: ann.s3.get_object(Bucket=bucket, Key="k"),
        lambda: ann.s3.head_object(Bucket=bucket, Key="absent"),
        lambda: ann.s3.put_object(Bucket=bucket, Key="k", Body=b"y"),
        lambda: ann.s3.delete_object(Bucket=bucket, Key="k"),
        lambda: ann.s3.get_bucket_policy(Bucket=bucket),
        lambda: ann.s3.put_bucket_policy(Bucket=bucket, Policy=policy(deny("s3:*", both(bucket)))),
        lambda: ann.s3.delete_bucket_policy(Bucket=bucket),
        lambda: ann.s3.delete_bucket(Bucket=bucket),
    ):
        with denied():
            call()
    assert body(s3, bucket, "k") == b"x"


def test_a_user_may_do_what_the_user_s_policy_allows(s3, bucket, ann):
    ann.set(may(["s3:PutObject", "s3:GetObject"], arn(bucket, "mine/*")), may("s3:ListAllMyBuckets", "arn:aws:s3:::*"))
    ann.s3.put_object(Bucket=bucket, Key="mine/k", Body=b"x")
    assert body(ann.s3, bucket, "mine/k") == b"x"
    assert bucket in [entry["Name"] for entry in ann.s3.list_buckets()["Buckets"]]
    for call in (
        lambda: ann.s3.put_object(Bucket=bucket, Key="yours/k", Body=b"x"),
        lambda: ann.s3.delete_object(Bucket=bucket, Key="mine/k"),
        lambda: ann.s3.list_objects_v2(Bucket=bucket),
    ):
        with denied():
            call()


def test_a_user_makes_and_removes_buckets_where_allowed(ann):
    prefix = f"b-{uuid.uuid4().hex[:8]}"
    ann.set(may(["s3:CreateBucket", "s3:DeleteBucket", "s3:ListBucket"], f"arn:aws:s3:::{prefix}-*"))
    ann.s3.create_bucket(Bucket=f"{prefix}-one")
    ann.s3.head_bucket(Bucket=f"{prefix}-one")
    ann.s3.delete_bucket(Bucket=f"{prefix}-one")
    with denied():
        ann.s3.create_bucket(Bucket=f"other-{prefix}")


def test_each_user_has_a_home_folder_by_one_policy(bucket, ann, bob):
    home = arn(bucket, "home/${aws:username}/*")
    lists = may("s3:ListBucket", arn(bucket), {"StringLike": {"s3:prefix": "home/${aws:username}/*"}})
    for user in (ann, bob):
        user.set(may(["s3:PutObject", "s3:GetObject"], home), lists)
    for user, other in ((ann, bob), (bob, ann)):
        user.s3.put_object(Bucket=bucket, Key=f"home/{user.name}/k", Body=b"x")
        user.s3.list_objects_v2(Bucket=bucket, Prefix=f"home/{user.name}/")
        for call in (
            lambda: user.s3.put_object(Bucket=bucket, Key=f"home/{other.name}/k", Body=b"x"),
            lambda: user.s3.get_object(Bucket=bucket, Key=f"home/{other.name}/k"),
            lambda: user.s3.list_objects_v2(Bucket=bucket, Prefix=f"home/{other.name}/"),
            lambda: user.s3.list_objects_v2(Bucket=bucket),
        ):
            with denied():
                call()


def test_either_policy_allows_and_either_denies(s3, bucket, ann, bob):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for_ann = {"Effect": "Allow", "Principal": {"AWS": ann.arn}, "Action": "s3:GetObject", "Resource": arn(bucket, "*")}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(for_ann))
    assert body(ann.s3, bucket, "k") == b"x"
    with denied():
        bob.s3.get_object(Bucket=bucket, Key="k")
    ann.set(may_not("s3:GetObject", "*"))
    bob.set(may("s3:*", "*"))
    with denied():
        ann.s3.get_object(Bucket=bucket, Key="k")
    assert body(bob.s3, bucket, "k") == b"x"
    s3.put_bucket_policy(Bucket=bucket, Policy=policy({**for_ann, "Effect": "Deny", "Principal": {"AWS": bob.arn}}))
    with denied():
        bob.s3.get_object(Bucket=bucket, Key="k")
    # The account is its owner to an Allow, and everybody in it to a Deny.
    account = {**for_ann, "Principal": {"AWS": "000000000000"}}
    ann.set(may_not("s3:PutObject", "*"))
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(account))
    with denied():
        ann.s3.get_object(Bucket=bucket, Key="k")
    s3.put_bucket_policy(Bucket=bucket, Policy=policy({**account, "Effect": "Deny"}))
    with denied():
        bob.s3.get_object(Bucket=bucket, Key="k")


def test_a_change_of_a_user_s_policy_takes_effect_at_once(bucket, ann):
    for _ in range(3):
        ann.set(may("s3:PutObject", arn(bucket, "*")))
        ann.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        ann.set(may("s3:GetObject", arn(bucket, "*")))
        with denied():
            ann.s3.put_object(Bucket=bucket, Key="k", Body=b"x")


def test_a_bucket_s_policy_knows_users_by_name_and_arn(s3, bucket, ann, bob):
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": arn(bucket)}
    for condition in (
        {"StringEquals": {"aws:username": ann.name}},
        {"ArnEquals": {"aws:PrincipalArn": ann.arn}},
        {"StringEquals": {"aws:PrincipalType": "User"}, "StringNotEquals": {"aws:username": bob.name}},
    ):
        s3.put_bucket_policy(Bucket=bucket, Policy=policy(everybody | {"Condition": condition}))
        ann.s3.list_objects_v2(Bucket=bucket)
        with denied():
            bob.s3.list_objects_v2(Bucket=bucket)


# Master keys: a permission of its own


def kms(alias: str, bucket: str, key: str, s3, **more):
    return s3.put_object(
        Bucket=bucket, Key=key, Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=alias, **more
    )


def test_a_write_under_a_master_key_needs_the_key_too(s3, bucket, ann, alias):
    objects = may("s3:*", both(bucket))
    ann.set(objects)
    with denied():
        kms(alias, bucket, "k", ann.s3)
    ann.set(objects, may("kms:Decrypt", f"{KMS}alias/{alias}"))
    with denied():
        kms(alias, bucket, "k", ann.s3)
    ann.set(objects, may("kms:GenerateDataKey", f"{KMS}alias/other"))
    with denied():
        kms(alias, bucket, "k", ann.s3)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    ann.set(objects, may("kms:GenerateDataKey", f"{KMS}alias/{alias}"))
    kms(alias, bucket, "k", ann.s3)
    ann.s3.put_object(Bucket=bucket, Key="plain", Body=b"x")


def test_a_read_needs_the_key_too_also_the_source_of_a_copy(s3, bucket, ann, alias):
    kms(alias, bucket, "k", s3)
    source = {"Bucket": bucket, "Key": "k"}
    objects = may("s3:*", both(bucket))
    ann.set(objects, may("kms:GenerateDataKey", "*"))
    for call in (
        lambda: ann.s3.get_object(Bucket=bucket, Key="k"),
        lambda: ann.s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-0"),
        lambda: ann.s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, ServerSideEncryption="AES256"),
    ):
        with denied():
            call()
    ann.s3.head_object(Bucket=bucket, Key="k")
    ann.set(objects, may("kms:Decrypt", f"{KMS}alias/{alias}"))
    assert body(ann.s3, bucket, "k") == b"x"
    ann.s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, ServerSideEncryption="AES256")
    with denied():
        ann.s3.copy_object(
            Bucket=bucket, Key="again", CopySource=source, ServerSideEncryption="aws:kms", SSEKMSKeyId=alias
        )


def test_the_default_of_a_bucket_needs_the_key_of_who_writes(s3, bucket, ann, alias):
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": alias}
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": default}]},
    )
    ann.set(may("s3:*", both(bucket)))
    with denied():
        ann.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with denied():
        ann.s3.create_multipart_upload(Bucket=bucket, Key="k")
    ann.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="AES256")


def test_each_step_of_an_upload_needs_the_key(s3, bucket, ann, alias):
    key = f"{KMS}alias/{alias}"
    objects = may("s3:*", both(bucket))
    ann.set(objects, may("kms:GenerateDataKey", key))
    upload = ann.s3.create_multipart_upload(Bucket=bucket, Key="k", ServerSideEncryption="aws:kms", SSEKMSKeyId=alias)
    at = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
    with denied():
        ann.s3.upload_part(**at, PartNumber=1, Body=b"x")
    ann.set(objects, may("kms:Decrypt", key))
    part = ann.s3.upload_part(**at, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    ann.set(objects)
    with denied():
        ann.s3.complete_multipart_upload(**at, MultipartUpload=parts)
    ann.set(objects, may("kms:Decrypt", key))
    ann.s3.complete_multipart_upload(**at, MultipartUpload=parts)


def test_who_may_not_use_a_key_learns_nothing_of_its_state(server, s3, bucket, ann):
    name = f"k-{uuid.uuid4().hex[:12]}"
    done(server, "keys", "create", name)
    kms(name, bucket, "k", s3)
    ann.set(may("s3:*", both(bucket)))

    def seen(user_s3) -> list[tuple[int, str]]:
        found = []
        for call in (lambda: kms(name, bucket, "new", user_s3), lambda: kms("nowhere", bucket, "new", user_s3)):
            with pytest.raises(user_s3.exceptions.ClientError) as caught:
                call()
            error = caught.value.response
            found.append((error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"]))
        return found

    nothing = [(403, "AccessDenied")] * 2
    assert seen(ann.s3) == nothing
    done(server, "keys", "disable", f"{name}/1")
    assert seen(ann.s3) == nothing
    with denied():
        ann.s3.get_object(Bucket=bucket, Key="k")
    assert seen(s3) == [(400, "KMS.DisabledException"), (400, "KMS.NotFoundException")]


def test_a_policy_on_a_version_s_arn_holds_for_its_alias(server, s3, bucket, ann, alias):
    (version,) = [row for row in done(server, "keys", "list") if row["alias"] == alias and row["current"]]
    objects, by_id = may("s3:*", both(bucket)), f"{KMS}key/{version['id']}"
    ann.set(objects, may("kms:*", by_id))
    kms(alias, bucket, "k", ann.s3)
    kms(by_id, bucket, "k", ann.s3)
    assert body(ann.s3, bucket, "k") == b"x"
    ann.set(objects, may("kms:*", f"{KMS}alias/{alias}"), may_not("kms:*", by_id))
    with denied():
        kms(alias, bucket, "k", ann.s3)


def test_the_key_of_a_write_is_known_by_each_of_its_names(s3, bucket, alias):
    key = f"{KMS}alias/{alias}"
    condition = {"ArnNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key}}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(deny("s3:PutObject", arn(bucket, "*"), condition)))
    for name in (alias, f"alias/{alias}", key):
        kms(name, bucket, "k", s3)
        s3.create_multipart_upload(Bucket=bucket, Key="u", ServerSideEncryption="aws:kms", SSEKMSKeyId=name)
        s3.copy_object(
            Bucket=bucket,
            Key="copy",
            CopySource={"Bucket": bucket, "Key": "k"},
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=name,
        )
    with denied():
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    forbidden = {"ArnEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key}}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(deny("s3:PutObject", arn(bucket, "*"), forbidden)))
    for name in (alias, f"alias/{alias}", key):
        with denied():
            kms(name, bucket, "k", s3)


def test_update_of_an_object_s_encryption_needs_its_rights_on_object_and_keys(server, s3, bucket, ann, alias):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    key = f"{KMS}alias/{alias}"
    (version,) = [row for row in done(server, "keys", "list") if row["alias"] == alias and row["current"]]
    by_id = f"{KMS}key/{version['id']}"
    document = f"<ObjectEncryption><SSE-KMS><KMSKeyArn>{by_id}</KMSKeyArn></SSE-KMS></ObjectEncryption>".encode()
    credentials = new_key(server, ann.name)

    def status() -> int:
        request = sign(server, "PUT", f"/{bucket}/k?encryption=", body=document, credentials=credentials)
        return exchange(server, request).status

    rights = [
        may("s3:PutObject", arn(bucket, "*")),
        may("s3:UpdateObjectEncryption", arn(bucket, "*")),
        may("kms:Encrypt", key),
        may("kms:GenerateDataKey", key),
    ]
    for left_out in rights:
        ann.set(*[right for right in rights if right is not left_out])
        assert status() == 403, left_out
    ann.set(*rights)
    assert status() == 200
    # It is under the key now: to change it again is to unwrap with it.
    assert status() == 403
    ann.set(*rights, may("kms:Decrypt", key))
    assert status() == 200
