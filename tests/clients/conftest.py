"""Fixtures: one server for all tests that only use it, a fresh one for those that kill, tamper or trace."""

import itertools
import os
import uuid
from pathlib import Path

import pytest

pytest.register_assert_rewrite("administer", "certificates", "damage", "disk", "keys", "refusal", "server", "strace", "tokens", "wire")

from server import BINARY, Server  # noqa: E402 (its asserts are to be rewritten)


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"no server at {BINARY}: build it, or name it in STRONGROOM_BIN", returncode=2)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running.start()


@pytest.fixture(scope="session")
def s3(server):
    return server.s3()


def new_bucket(s3) -> str:
    name = f"b-{uuid.uuid4().hex[:20]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def bucket(s3) -> str:
    """A bucket of this test alone."""
    return new_bucket(s3)


@pytest.fixture(scope="module")
def module_bucket(s3) -> str:
    """A bucket that the tests of one file fill once and then only read."""
    return new_bucket(s3)


@pytest.fixture
def make_server(tmp_path: Path):
    """Makes servers, not yet started, each in a folder of its own unless told otherwise; ends them after the test."""
    made: list[Server] = []
    names = itertools.count(1)

    def make(data: Path | None = None, **options) -> Server:
        made.append(Server(data or tmp_path / f"data{next(names)}", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def own_server(make_server) -> Server:
    """A started server that this test may kill, tamper with or look into."""
    return make_server().start()
