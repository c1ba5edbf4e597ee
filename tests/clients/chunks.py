"""aws-chunked bodies, written by hand from the SigV4 streaming documents.

Four kinds of body: signed chunks, signed chunks with a signed trailer, unsigned chunks with a trailer, and (for the
test that breaks them) any of these with one thing wrong.
"""

from server import Server
from wire import Signed, sha256_hex, sign

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def cut(data: bytes, chunk_len: int) -> list[bytes]:
    return [data[at : at + chunk_len] for at in range(0, len(data), chunk_len)]


def streaming(
    server: Server,
    target: str,
    kind: str,
    pieces: list[bytes],
    *,
    trailer: tuple[str, str] | None = None,
    headers: dict[str, str] | None = None,
    announce_trailer: bool = True,
    decoded_len: int | None = None,
    spoil=lambda frames: frames,
) -> Signed:
    """A PUT whose body goes in `pieces`. `spoil` gets the list of frames as bytes and may change them."""
    length = sum(map(len, pieces)) if decoded_len is None else decoded_len
    asked = {"x-amz-decoded-content-length": str(length), "Content-Encoding": "aws-chunked", **(headers or {})}
    if trailer and announce_trailer:
        asked["x-amz-trailer"] = trailer[0]
    request = sign(server, "PUT", target, headers=asked, payload_hash=kind)
    encode = _unsigned_frames if kind == UNSIGNED_TRAILER else _signed_frames
    request.body = b"".join(spoil(encode(request, pieces, trailer)))
    request.headers["Content-Length"] = str(len(request.body))
    return request


def _unsigned_frames(_request: Signed, pieces: list[bytes], trailer) -> list[bytes]:
    frames = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    lines = b"%s:%s\r\n" % (trailer[0].encode(), trailer[1].encode()) if trailer else b""
    return [*frames, b"0\r\n" + lines + b"\r\n"]


def _signed_frames(request: Signed, pieces: list[bytes], trailer) -> list[bytes]:
    signer, context = request.signer, request.request

    def next_signature(kind: str, previous: str, *hashes: str) -> str:
        text = "\n".join([kind, signer.timestamp, signer.credential_scope(context), previous, *hashes])
        return signer.signature(text, context)

    frames, signature, nothing = [], request.signature, sha256_hex(b"")
    for piece in [*pieces, b""]:
        signature = next_signature("AWS4-HMAC-SHA256-PAYLOAD", signature, nothing, sha256_hex(piece))
        frames.append(b"%x;chunk-signature=%s\r\n" % (len(piece), signature.encode()))
        frames[-1] += piece + b"\r\n" if piece else b""
    if trailer:
        line = f"{trailer[0]}:{trailer[1]}"
        signature = next_signature("AWS4-HMAC-SHA256-TRAILER", signature, sha256_hex(f"{line}\n".encode()))
        frames[-1] += f"{line}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
    frames[-1] += b"\r\n"
    return frames
