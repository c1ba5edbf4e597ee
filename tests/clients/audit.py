"""The audit log of a server, as an auditor reads it: one JSON object a line."""

import json
from pathlib import Path

from server import Server, poll


def path(server: Server) -> Path:
    return server.data / "audit.log"


def events(server: Server) -> list[dict]:
    return [json.loads(line) for line in path(server).read_text().splitlines()]


def uses(server: Server, **wanted) -> list[dict]:
    """Uses of master keys whose fields have these values."""
    used = [event for event in events(server) if event["event"] == "key-use"]
    return [event for event in used if all(event[name] == value for name, value in wanted.items())]


def settled(server: Server, count: int, **wanted) -> list[dict]:
    """The uses that have these values, once there are `count`: a thread of its own writes them, a moment later."""
    poll(f"{count} uses {wanted}", lambda: len(uses(server, **wanted)) >= count)
    found = uses(server, **wanted)
    assert len(found) == count, found
    return found
