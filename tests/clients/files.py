"""`strongroom seal` and `strongroom open`, run as a person runs them: the real binary, a SoftHSM token, plain files."""

import json
import subprocess
from pathlib import Path

from server import BINARY

DEADLINE_S = 120


class Desk:
    """A folder with files, and a store beside it that holds only keys."""

    def __init__(self, folder: Path):
        self.folder = folder / "desk"
        self.folder.mkdir()
        self.data = folder / "store"

    def path(self, name: str) -> Path:
        return self.folder / name

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def command(self, *arguments: str) -> list[str]:
        return [BINARY, arguments[0], "--data", str(self.data), *arguments[1:]]

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE_S
        )

    def done(self, *arguments: str) -> dict:
        """Runs a command that must work, and gives its JSON."""
        ended = self.run(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def refused(self, *arguments: str, code: int = 1) -> str:
        """Runs a command that must not work, and gives the one line that it says why."""
        ended = self.run(*arguments)
        assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
        assert ended.stdout == "" and ended.stderr.count("\n") == 1 and "panicked" not in ended.stderr, ended.stderr
        return ended.stderr
