"""What was acknowledged is there after anything that ends a process; what was not leaves nothing behind for good."""

import concurrent.futures
import itertools
import signal
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError

from disk import orphans
from painted import md5_hex, painted
from refusal import absent, body
from server import Server, poll
from wire import Wire, sign

SWEEP_WAIT_S = 150  # a lease of 60 s, a sweeper's rest of 30 s, and a slow machine


def test_a_restart_keeps_everything(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="kept")
    objects = {f"k{length}": painted(length) for length in (0, 1, 1025, 16385, 300_001)}
    for key, data in objects.items():
        s3.put_object(Bucket="kept", Key=key, Body=data, Metadata={"name": key}, ContentType="text/x-kept")
    upload_id = s3.create_multipart_upload(Bucket="kept", Key="open")["UploadId"]
    part = s3.upload_part(Bucket="kept", Key="open", UploadId=upload_id, PartNumber=3, Body=b"part")
    before = s3.list_objects_v2(Bucket="kept")["Contents"]

    for _ in range(2):
        own_server.restart()
        assert s3.list_objects_v2(Bucket="kept")["Contents"] == before
        for key, data in objects.items():
            got = s3.get_object(Bucket="kept", Key=key)
            assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (data, {"name": key}, "text/x-kept")

    s3.complete_multipart_upload(
        Bucket="kept",
        Key="open",
        UploadId=upload_id,
        MultipartUpload={"Parts": [{"PartNumber": 3, "ETag": part["ETag"]}]},
    )
    assert body(s3, "kept", "open") == b"part"


def test_a_store_can_be_moved_to_another_folder(own_server, make_server, tmp_path):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"moved")
    own_server.terminate()
    own_server.data.rename(tmp_path / "elsewhere")
    assert body(make_server(tmp_path / "elsewhere").start().s3(), "kept", "k") == b"moved"


# kill -9


def upload_until_killed(server: Server, acknowledged: dict, stop: threading.Event, writer: int) -> None:
    """Puts, overwrites, deletes and parts, as fast as it can; notes what was answered, and what was in doubt."""
    s3 = server.s3()
    for number in itertools.count():
        key, data = f"w{writer}/{number % 7}", painted((number * 7919) % 200_000, seed=writer * 1000 + number)
        try:
            if number % 5 == 4:
                acknowledged[key] = {None} | acknowledged.get(key, {None})
                s3.delete_object(Bucket="killed", Key=key)
                acknowledged[key] = {None}
            else:
                acknowledged[key] = {md5_hex(data)} | acknowledged.get(key, {None})
                s3.put_object(Bucket="killed", Key=key, Body=data)
                acknowledged[key] = {md5_hex(data)}
        except (BotoCoreError, ClientError):
            return
        if stop.is_set():
            return


def state(s3, key) -> str | None:
    """The digest of what is there, None for nothing. Reading checks that it is whole."""
    try:
        got = s3.get_object(Bucket="killed", Key=key)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchKey", error
        return None
    data = got["Body"].read()
    assert got["ETag"] == f'"{md5_hex(data)}"', f"{key} is no whole object"
    return md5_hex(data)


def test_kill_9_in_mid_upload_loses_nothing_and_leaves_nothing(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="killed")
    for round_number in range(3):
        acknowledged, stop = {}, threading.Event()
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            for writer in range(4):
                threads.submit(upload_until_killed, own_server, acknowledged, stop, round_number * 10 + writer)
            time.sleep(0.7 + 0.37 * round_number)  # any moment will do
            own_server.kill9()
            stop.set()
        own_server.start()
        assert acknowledged
        # One write of each writer may have been in flight: it is there whole, or not at all.
        wrong = {key: allowed for key, allowed in acknowledged.items() if state(s3, key) not in allowed}
        assert wrong == {}
        for entry in s3.list_objects_v2(Bucket="killed").get("Contents", []):
            assert state(s3, entry["Key"]) is not None
    poll("no blob and no wrapped key is left that no row names", lambda: not orphans(own_server), SWEEP_WAIT_S)


def test_a_part_killed_in_mid_upload_leaves_nothing(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="killed")
    upload_id = s3.create_multipart_upload(Bucket="killed", Key="m")["UploadId"]
    kept = s3.upload_part(Bucket="killed", Key="m", UploadId=upload_id, PartNumber=1, Body=b"kept")
    data = painted(4 << 20)
    request = sign(own_server, "PUT", f"/killed/m?partNumber=2&uploadId={upload_id}", body=data)
    with Wire(own_server) as wire:
        wire.send(request.head() + data[: 3 << 20])
        poll("the part's blob has begun", lambda: orphans(own_server), 20)
        own_server.kill9()
    own_server.start()
    assert [part["PartNumber"] for part in s3.list_parts(Bucket="killed", Key="m", UploadId=upload_id)["Parts"]] == [1]
    poll("the half part is swept", lambda: not orphans(own_server), SWEEP_WAIT_S)
    s3.complete_multipart_upload(
        Bucket="killed",
        Key="m",
        UploadId=upload_id,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": kept["ETag"]}]},
    )
    assert body(s3, "killed", "m") == b"kept"


def test_what_a_failed_upload_wrote_is_cleared_by_the_living_server(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="b-live")
    data = painted(4 << 20)
    request = sign(own_server, "PUT", "/b-live/k", body=data)
    with Wire(own_server) as wire:
        wire.send(request.head() + data[: 3 << 20])
        poll("the blob has begun", lambda: orphans(own_server), 20)
    poll("the dropped upload is cleared", lambda: not orphans(own_server), SWEEP_WAIT_S)
    assert absent(s3, "b-live", "k")


def test_what_is_overwritten_deleted_or_aborted_leaves_blobs_and_keyring(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="b-gone")
    for _ in range(3):
        s3.put_object(Bucket="b-gone", Key="k", Body=painted(100_000))
    s3.put_object(Bucket="b-gone", Key="deleted", Body=painted(100_000))
    s3.delete_object(Bucket="b-gone", Key="deleted")
    for end in ("abort", "complete"):
        upload = {"Bucket": "b-gone", "Key": end}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        parts = [s3.upload_part(**upload, PartNumber=n, Body=painted(100_000))["ETag"] for n in (1, 1, 2)]
        if end == "abort":
            s3.abort_multipart_upload(**upload)
        else:  # part 2 is left out
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": parts[1]}]})
    poll("blobs and keys hold only what the catalog names", lambda: not orphans(own_server), SWEEP_WAIT_S)
    assert body(s3, "b-gone", "k") == painted(100_000)


# SIGTERM


def test_sigterm_finishes_a_put_in_flight_and_exits_0(own_server):
    s3 = own_server.s3()
    s3.create_bucket(Bucket="b-term")
    data = painted(2 << 20)
    request = sign(own_server, "PUT", "/b-term/k", body=data)
    with Wire(own_server) as wire:
        wire.send(request.head() + data[: 1 << 20])
        poll("the upload has begun", lambda: orphans(own_server), 20)
        own_server.process.send_signal(signal.SIGTERM)
        poll("no new connection is taken", lambda: own_server.health("ready") != 200, 20)
        assert wire.send(data[1 << 20 :]).answer().status == 200
    assert own_server.process.wait(timeout=35) == 0
    own_server.start()
    assert body(s3, "b-term", "k") == data


def test_sigterm_ends_within_30_s_whatever_a_client_does(own_server):
    own_server.s3().create_bucket(Bucket="b-term")
    request = sign(own_server, "PUT", "/b-term/k", body=painted(1 << 20))
    with Wire(own_server) as stuck, Wire(own_server):
        stuck.send(request.head() + b"x")
        own_server.terminate()
    own_server.start()
    assert absent(own_server.s3(), "b-term", "k")
    poll("nothing of it is left", lambda: not orphans(own_server), SWEEP_WAIT_S)
