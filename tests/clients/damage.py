"""What a reader of damaged data may see: S3's error, or true bytes and then a connection cut short."""

from painted import painted
from refusal import body
from server import Server
from wire import Answer, exchange, sign

DATA = painted(300_001)  # 19 segments of SEGMENT bytes
SEGMENT = 16384


def read(server: Server, key: str, **headers) -> Answer:
    return exchange(server, sign(server, "GET", f"/bbb/{key}", headers=headers))


def check_refused(server: Server, key: str, log_from: int, **headers) -> None:
    """No byte at all: S3's error, before any status line of success."""
    answer = read(server, key, **headers)
    assert answer.status == 500, answer.status
    assert answer.code == "InternalError"
    check_told_and_going_on(server, log_from)


def check_cut_short(server: Server, key: str, log_from: int, data: bytes = DATA) -> None:
    """Refused, or cut: then all that came is true, and shorter than what was announced."""
    answer = read(server, key)
    if answer.status == 200:
        assert answer.broken and len(answer.body) < len(data)
        assert data.startswith(answer.body)
    else:
        assert (answer.status, answer.code) == (500, "InternalError")
    check_told_and_going_on(server, log_from)


def check_told_and_going_on(server: Server, log_from: int) -> None:
    assert "damage" in server.log_text()[log_from:].lower()
    assert server.health("live") == server.health("ready") == 200
    s3 = server.s3()
    s3.put_object(Bucket="bbb", Key="sound", Body=b"sound")
    assert body(s3, "bbb", "sound") == b"sound"
