"""Requests made by hand: signed by botocore's signers, then sent over a socket exactly as the test wants them.

`sign` makes a request that is right, except for what the test asks to be wrong. `Wire` sends bytes and reads one answer
without hiding anything: interim answers, a broken connection and a short body are all told.
"""

import dataclasses
import datetime
import hashlib
import re
import socket
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from server import REGION, Server

TIMESTAMP = "%Y%m%dT%H%M%SZ"


def stamp(age: datetime.timedelta = datetime.timedelta(0)) -> str:
    return (datetime.datetime.now(datetime.UTC) - age).strftime(TIMESTAMP)


class _At:
    """A signer with a clock of its own, and headers that it leaves out of the signature."""

    timestamp: str
    payload_hash: str | None = None
    unsigned: tuple[str, ...] = ()

    def headers_to_sign(self, request):
        headers = super().headers_to_sign(request)
        for name in self.unsigned:
            del headers[name]
        return headers

    def payload(self, request):
        return self.payload_hash or super().payload(request)

    def add_auth(self, request):
        request.context["timestamp"] = self.timestamp
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self.last_signature = self.signature(text, request)
        self._inject_signature_to_request(request, self.last_signature)


class HeaderSigner(_At, S3SigV4Auth):
    pass


class QuerySigner(_At, S3SigV4QueryAuth):
    pass


@dataclasses.dataclass
class Signed:
    method: str
    target: str
    headers: dict[str, str | bytes]
    body: bytes
    signature: str
    signer: HeaderSigner | None = None
    request: AWSRequest | None = None

    def head(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1".encode()]
        for name, value in self.headers.items():
            lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def bytes(self) -> bytes:
        return self.head() + self.body


def sign(
    server: Server,
    method: str,
    target: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    payload_hash: str | None = None,
    age: datetime.timedelta = datetime.timedelta(0),
    unsigned: tuple[str, ...] = (),
    credentials: Credentials | None = None,
    region: str = REGION,
) -> Signed:
    """A request with a SigV4 Authorization header. `unsigned` names headers that are sent but not signed."""
    request = AWSRequest(method, server.url + target, headers={"Host": server.address, **(headers or {})}, data=body)
    signer = HeaderSigner(credentials or server.credentials(), "s3", region)
    signer.timestamp, signer.payload_hash, signer.unsigned = stamp(age), payload_hash, unsigned
    signer.add_auth(request)
    sent = dict(request.headers.items())
    if "content-length" not in (name.lower() for name in sent):
        sent["Content-Length"] = str(len(body))
    return Signed(method, target, sent, body, signer.last_signature, signer, request)


def presign(
    server: Server,
    method: str,
    target: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    expires_s: int = 300,
    age: datetime.timedelta = datetime.timedelta(0),
    unsigned_headers: dict[str, str] | None = None,
    credentials: Credentials | None = None,
) -> Signed:
    """A request signed in its query."""
    request = AWSRequest(method, server.url + target, headers={"Host": server.address, **(headers or {})})
    signer = QuerySigner(credentials or server.credentials(), "s3", REGION, expires=expires_s)
    signer.timestamp = stamp(age)
    signer.add_auth(request)
    parts = urlsplit(request.url)
    sent = {**dict(request.headers.items()), **(unsigned_headers or {}), "Content-Length": str(len(body))}
    return Signed(method, f"{parts.path}?{parts.query}", sent, body, signer.last_signature)


@dataclasses.dataclass
class Answer:
    status: int | None  # None: the connection closed without an answer
    headers: dict[str, str]
    body: bytes
    broken: bool  # closed before the length it had announced
    interim: list[int]  # 1xx answers that came before

    @property
    def code(self) -> str | None:
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found.group(1).decode() if found else None


class Wire:
    """One TCP connection to the server."""

    def __init__(self, server: Server, timeout_s: float = 60):
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=timeout_s)
        self._unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> "Wire":
        """Sends what the server takes: it may answer and hang up before it has read all."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def finish_sending(self) -> "Wire":
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return self

    def shrink_receive_buffer(self) -> None:
        # Several segments of loopback (64 KiB each): with less room than one, the sender may only probe.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)

    def _more(self) -> bool:
        try:
            piece = self._socket.recv(256 * 1024)
        except ConnectionResetError:
            piece = b""
        self._unread += piece
        return bool(piece)

    def read_head(self) -> tuple[int | None, dict[str, str]]:
        while b"\r\n\r\n" not in self._unread:
            if not self._more():
                return None, {}
        head, self._unread = self._unread.split(b"\r\n\r\n", 1)
        status_line, *lines = head.split(b"\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.decode().strip().lower()] = value.strip().decode("utf-8", "replace")
        return int(status_line.split()[1]), headers

    def read_body(self, headers: dict[str, str], method: str = "GET", status: int = 200) -> tuple[bytes, bool]:
        """The body, and whether it broke off short."""
        if method == "HEAD" or status in (204, 304):
            return b"", False
        if headers.get("transfer-encoding") == "chunked":
            return self._chunked()
        length = int(headers.get("content-length", "0"))
        while len(self._unread) < length:
            if not self._more():
                return self._unread, True
        body, self._unread = self._unread[:length], self._unread[length:]
        return body, False

    def _chunked(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            while b"\r\n" not in self._unread:
                if not self._more():
                    return body, True
            size_line, rest = self._unread.split(b"\r\n", 1)
            size = int(size_line, 16)
            self._unread = rest
            while len(self._unread) < size + 2:
                if not self._more():
                    return body + self._unread, True
            body, self._unread = body + self._unread[:size], self._unread[size + 2 :]
            if size == 0:
                return body, False

    def answer(self, method: str = "GET") -> Answer:
        interim = []
        status, headers = self.read_head()
        while status is not None and status < 200:
            interim.append(status)
            status, headers = self.read_head()
        if status is None:
            return Answer(None, {}, b"", True, interim)
        body, broken = self.read_body(headers, method, status)
        return Answer(status, headers, body, broken, interim)


def exchange(server: Server, request: Signed | bytes, method: str | None = None) -> Answer:
    """One request on a connection of its own."""
    raw = request if isinstance(request, bytes) else request.bytes()
    method = method or (raw.split(b" ", 1)[0].decode())
    with Wire(server) as wire:
        return wire.send(raw).answer(method)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
