"""The memory of a running process, as whoever may read it has it: every mapping that can be read."""

import re
from pathlib import Path

MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r")


def dump(pid: int) -> list[bytes]:
    """All that is readable, locked pages and those left out of core dumps too."""
    pieces = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = MAPPING.match(line)
            if not found or "[v" in line:
                continue
            start, end = (int(address, 16) for address in found.groups())
            try:
                memory.seek(start)
                pieces.append(memory.read(end - start))
            except OSError:
                # A device, a guard page, or gone since.
                continue
    assert sum(map(len, pieces)) > 1 << 20, "this is a process's memory"
    return pieces


def holds(pid: int, wanted: dict[str, bytes]) -> set[str]:
    """Which of these bytes are somewhere in the memory of a process."""
    pieces = dump(pid)
    return {name for name, value in wanted.items() if any(value in piece for piece in pieces)}
