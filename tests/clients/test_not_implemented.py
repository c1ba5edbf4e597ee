"""What Strongroom does not do yet says so: a client that asked for protection must never believe that it has it."""

import datetime

import pytest
from botocore.exceptions import ClientError

from refusal import absent, body, not_implemented, refused
from wire import exchange, sign

OWNER = {"ID": "someone"}
LATER = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)
TAGS = {"TagSet": [{"Key": "k", "Value": "v"}]}

BUCKET_WRITES = {
    "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Enabled"}},
    "put_bucket_tagging": {"Tagging": TAGS},
    "put_bucket_acl": {"ACL": "public-read"},
    "put_bucket_cors": {"CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}},
    "put_bucket_website": {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "index.html"}}},
    "put_bucket_logging": {"BucketLoggingStatus": {"LoggingEnabled": {"TargetBucket": "t", "TargetPrefix": "p"}}},
    "put_bucket_lifecycle_configuration": {
        "LifecycleConfiguration": {
            "Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
        }
    },
    "put_bucket_notification_configuration": {"NotificationConfiguration": {"EventBridgeConfiguration": {}}},
    "put_bucket_replication": {
        "ReplicationConfiguration": {
            "Role": "r",
            "Rules": [{"Status": "Enabled", "Destination": {"Bucket": "arn:aws:s3:::t"}}],
        }
    },
    "put_bucket_request_payment": {"RequestPaymentConfiguration": {"Payer": "Requester"}},
    "put_bucket_accelerate_configuration": {"AccelerateConfiguration": {"Status": "Enabled"}},
    "put_bucket_ownership_controls": {"OwnershipControls": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}},
    "put_public_access_block": {"PublicAccessBlockConfiguration": {"BlockPublicAcls": True}},
    "put_object_lock_configuration": {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}},
    "put_bucket_analytics_configuration": {
        "Id": "i",
        "AnalyticsConfiguration": {"Id": "i", "StorageClassAnalysis": {}},
    },
    "put_bucket_metrics_configuration": {"Id": "i", "MetricsConfiguration": {"Id": "i"}},
    "delete_bucket_tagging": {},
    "delete_bucket_lifecycle": {},
    "delete_public_access_block": {},
}

OBJECT_WRITES = {
    "put_object_acl": {"ACL": "public-read"},
    "put_object_tagging": {"Tagging": TAGS},
    "delete_object_tagging": {},
    "put_object_retention": {"Retention": {"Mode": "COMPLIANCE", "RetainUntilDate": LATER}},
    "put_object_legal_hold": {"LegalHold": {"Status": "ON"}},
    "restore_object": {"RestoreRequest": {"Days": 1}},
}

OTHER_READS = {
    "get_object_torrent": {},
    "select_object_content": {
        "Expression": "SELECT * FROM S3Object",
        "ExpressionType": "SQL",
        "InputSerialization": {"CSV": {}},
        "OutputSerialization": {"CSV": {}},
    },
}

# Reads of what was never set: NotImplemented, or what S3 says where nothing was set.
BUCKET_READS = {
    "get_bucket_tagging": "NoSuchTagSet",
    "get_bucket_cors": "NoSuchCORSConfiguration",
    "get_bucket_website": "NoSuchWebsiteConfiguration",
    "get_bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "get_bucket_replication": "ReplicationConfigurationNotFoundError",
    "get_public_access_block": "NoSuchPublicAccessBlockConfiguration",
    "get_bucket_ownership_controls": "OwnershipControlsNotFoundError",
    "get_object_lock_configuration": "ObjectLockConfigurationNotFoundError",
}


@pytest.mark.parametrize("call", BUCKET_WRITES)
def test_a_bucket_setting_is_never_a_silent_yes(s3, bucket, call):
    with not_implemented():
        getattr(s3, call)(Bucket=bucket, **BUCKET_WRITES[call])


@pytest.mark.parametrize("call", OBJECT_WRITES)
def test_an_object_setting_is_never_a_silent_yes(s3, bucket, call):
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    with not_implemented():
        getattr(s3, call)(Bucket=bucket, Key="k", **OBJECT_WRITES[call])
    assert body(s3, bucket, "k") == b"there"


@pytest.mark.parametrize("call", OTHER_READS)
def test_other_ways_to_read_are_not_implemented(s3, bucket, call):
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    with refused("NotImplemented", "MethodNotAllowed"):
        getattr(s3, call)(Bucket=bucket, Key="k", **OTHER_READS[call])


@pytest.mark.parametrize("call", BUCKET_READS)
def test_a_setting_that_nobody_made_is_not_made_up(s3, bucket, call):
    with refused("NotImplemented", BUCKET_READS[call]):
        getattr(s3, call)(Bucket=bucket)


def test_versioning_is_never_said_to_be_on(s3, bucket):
    try:
        assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NotImplemented"


def test_a_version_that_cannot_be_is_not_read_or_deleted(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    for call in (s3.get_object, s3.delete_object):
        with refused("NotImplemented", "InvalidArgument", "NoSuchVersion"):
            call(Bucket=bucket, Key="k", VersionId="3HL4kqtJvjVBH40Nrjfkd")
    assert body(s3, bucket, "k") == b"there"


# Headers of a PUT that ask for more than is done

ASKING = {
    "x-amz-acl": "public-read",
    "x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"',
    "x-amz-tagging": "k=v",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-legal-hold": "ON",
    "x-amz-storage-class": "GLACIER",
    "x-amz-write-offset-bytes": "0",
    "x-amz-expected-bucket-owner": "111122223333",
}
ALLOWED = {
    (501, "NotImplemented"),
    (400, "InvalidRequest"),
    (400, "InvalidArgument"),
    (400, "InvalidStorageClass"),
    (400, "AccessControlListNotSupported"),
    (403, "AccessDenied"),
}


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("way", ["put", "copy", "multipart"])
def test_a_header_that_asks_for_more_is_never_ignored(server, s3, bucket, name, way):
    if way != "put" and name in ("x-amz-write-offset-bytes",):
        pytest.skip("a header of PutObject only")
    s3.put_object(Bucket=bucket, Key="source", Body=b"x")
    headers = {name: ASKING[name]}
    if name == "x-amz-object-lock-mode":
        headers["x-amz-object-lock-retain-until-date"] = "2099-01-01T00:00:00Z"
    request = {
        "put": lambda: sign(server, "PUT", f"/{bucket}/k", headers=headers, body=b"x"),
        "copy": lambda: sign(
            server,
            "PUT",
            f"/{bucket}/k",
            headers={**headers, "x-amz-copy-source": f"{bucket}/source", "x-amz-tagging-directive": "REPLACE"},
        ),
        "multipart": lambda: sign(server, "POST", f"/{bucket}/k?uploads=", headers=headers),
    }[way]()
    answer = exchange(server, request)
    assert (answer.status, answer.code) in ALLOWED
    assert absent(s3, bucket, "k")


@pytest.mark.parametrize(
    "headers",
    [{"x-amz-acl": "private"}, {"x-amz-acl": "bucket-owner-full-control"}, {"x-amz-storage-class": "STANDARD"}],
    ids=str,
)
def test_a_header_that_asks_for_what_is_so_anyway_is_taken(server, s3, bucket, headers):
    assert exchange(server, sign(server, "PUT", f"/{bucket}/k", headers=headers, body=b"x")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-acl": "public-read-write"},
        {"x-amz-bucket-object-lock-enabled": "true"},
        {"x-amz-grant-full-control": "id=someone"},
    ],
    ids=str,
)
def test_a_bucket_is_not_made_with_more_than_is_done(server, s3, headers, bucket):
    name = f"{bucket}-more"
    answer = exchange(server, sign(server, "PUT", f"/{name}", headers=headers))
    assert (answer.status, answer.code) in ALLOWED
    with refused(status=404):
        s3.head_bucket(Bucket=name)


def test_a_form_upload_is_right_or_refused(server, s3, bucket):
    """POST with a signed policy: stored and encrypted like any other object, or not implemented."""
    form = s3.generate_presigned_post(bucket, "k")
    fields = {**form["fields"]}
    border = "border0123456789"
    parts = [
        f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nposted\r\n--{border}--\r\n'
    )
    content = "".join(parts).encode()
    head = (
        f"POST /{bucket} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: {len(content)}\r\n"
        f"Content-Type: multipart/form-data; boundary={border}\r\n\r\n"
    ).encode()
    answer = exchange(server, head + content)
    if answer.status in (200, 201, 204):
        got = s3.get_object(Bucket=bucket, Key="k")
        assert (got["Body"].read(), got["ServerSideEncryption"]) == (b"posted", "AES256")
    else:
        assert (answer.status, answer.code) in {(501, "NotImplemented"), (403, "AccessDenied")}
        assert absent(s3, bucket, "k")
