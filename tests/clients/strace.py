"""Reads what strace wrote, and checks that a request was answered only when its writes were durable.

A call counts as begun where its line begins and as done where its line (or its `resumed` line) ends; two calls of
different threads may overlap. What must be durable is derived from the calls themselves: every blob file that was
written, every directory in which a name was made.
"""

import dataclasses
import re
from pathlib import Path

CALLS = (
    "read,recvfrom,readv,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,openat,mkdir,mkdirat,"
    "rename,renameat,renameat2,link,linkat,fsync,fdatasync,sync_file_range,msync"
)
SYNCS = ("fsync", "fdatasync")
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
RECEIVES = ("read", "recvfrom", "readv", "recvmsg")
SENDS = ("write", "writev", "sendto", "sendmsg")


def strace(output: Path) -> tuple[str, ...]:
    return ("strace", "-f", "-y", "-s", "256", "-o", str(output), "-e", f"trace={CALLS}", "--")


@dataclasses.dataclass(frozen=True)
class Call:
    began: int
    done: int
    name: str
    text: str  # arguments and result
    failed: bool

    @property
    def path(self) -> str | None:
        """Of the first descriptor among the arguments."""
        found = re.match(r"\d+<([^>]*)>", self.text)
        return found.group(1) if found else None

    def made(self) -> str | None:
        """The path that this call gave a name to, if it did."""
        if self.failed:
            return None
        if self.name == "openat" and "O_CREAT" in self.text:
            found = re.search(r"= \d+<([^>]*)>$", self.text)
            return found.group(1) if found else None
        places = re.findall(r'(?:AT_FDCWD<([^>]*)>|\d+<([^>]*)>)?(?:, )?"([^"]*)"', self.text)
        if self.name in ("mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat") and places:
            working, folder, name = places[-1]
            return str(Path(folder or working or "/") / name)
        return None


def calls(text: str) -> list[Call]:
    found, open_calls = [], {}
    for number, line in enumerate(text.splitlines()):
        match = re.match(r"(\d+)\s+(.*)$", line)
        if not match:
            continue
        thread, rest = match.groups()
        if resumed := re.match(r"<\.\.\. (\w+) resumed>(.*)$", rest):
            began, name, head = open_calls.pop(thread, (number, resumed.group(1), ""))
            found.append(call(began, number, name, head + resumed.group(2)))
        elif unfinished := re.match(r"(\w+)\((.*) <unfinished \.\.\.>$", rest):
            open_calls[thread] = (number, *unfinished.groups())
        elif whole := re.match(r"(\w+)\((.*)$", rest):
            found.append(call(number, number, *whole.groups()))
    return sorted(found, key=lambda one: one.done)


def call(began: int, done: int, name: str, text: str) -> Call:
    return Call(began, done, name, text.rstrip(), bool(re.search(r"= -1 E\w+", text)))


@dataclasses.dataclass(frozen=True)
class Window:
    """All that happened from the first byte of a request until its answer began."""

    calls: list[Call]
    answered_at: int

    def without(self, unwanted) -> "Window":
        return Window([one for one in self.calls if not unwanted(one)], self.answered_at)


def window(all_calls: list[Call], request_line: str) -> Window:
    """`request_line` as in `PUT /bucket/key`; it must have been sent once, alone, and answered with a 2xx."""
    received = [one for one in all_calls if one.name in RECEIVES and f'"{request_line} HTTP/1.1' in one.text]
    assert len(received) == 1, f"{request_line} came {len(received)} times"
    answers = [
        one for one in all_calls if one.name in SENDS and '"HTTP/1.1 2' in one.text and one.began > received[0].began
    ]
    assert answers, f"{request_line} was never answered with success"
    answer = min(answers, key=lambda one: one.began)
    return Window([one for one in all_calls if received[0].began <= one.began <= answer.began], answer.began)


def first_sync(calls_seen: list[Call], path: str, after: int, what: str, suffixes: tuple[str, ...] = ("",)) -> Call:
    """The first successful fsync of `path` that began after `after`."""
    names = {path + suffix for suffix in suffixes}
    found = [
        one for one in calls_seen if one.name in SYNCS and not one.failed and one.path in names and one.began > after
    ]
    assert found, f"no fsync of {what}"
    return min(found, key=lambda one: one.done)


def check_blobs_durable(seen: Window, folder: str) -> int:
    """Every blob that was made is synced after its last write, then every directory that got a name. Gives the line."""
    last = -1
    made = {one.made(): one for one in seen.calls if (one.made() or "").startswith(folder + "/")}
    assert made, "no blob was made"
    for path, maker in made.items():
        if maker.name == "openat":
            writes = [one for one in seen.calls if one.name in WRITES and one.path == path]
            assert writes, f"blob {path} was made and never written"
            synced = first_sync(seen.calls, path, max(one.done for one in writes), "the blob file")
            last = max(last, synced.done)
        parent = str(Path(path).parent)
        last = max(last, first_sync(seen.calls, parent, maker.done, f"directory {parent}").done)
    return last


def check_database_durable(seen: Window, database: str, after: int, what: str) -> int:
    """A commit: written behind `after`, synced, all before the answer. Gives the line where it was durable."""
    parts = ("", "-wal")
    names = {database + part for part in parts}
    writes = [one for one in seen.calls if one.name in WRITES and one.path in names and one.began > after]
    assert writes, f"no commit to {what}"
    synced = first_sync(seen.calls, database, max(after, writes[0].done), what, parts)
    assert synced.done < seen.answered_at, f"{what} became durable only after the answer"
    return synced.done
