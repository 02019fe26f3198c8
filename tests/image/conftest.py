"""Fixtures of the tests of the image: it is built once, and runs against a real Kafka and a server of MongoDB's protocol."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))

from harness import RealServer  # noqa: E402
from image_harness import Container, find_engine  # noqa: E402


@pytest.fixture(scope="session")
def containers():
    """The container engine, with the image in it."""
    containers = find_engine()
    containers.build()
    return containers


@pytest.fixture
def servers(tmp_path):
    """Kafka and MongoDB, which a test may hurt."""
    started = {name: RealServer(name, tmp_path / name).start() for name in ("kafka", "mongo-java")}
    yield started
    for server in started.values():
        server.kill()


@pytest.fixture
def make_container(containers):
    """Containers of a test's own: make_container(*words, **settings), started; removed afterwards."""
    made = []

    def make(*words, **settings):
        made.append(Container(containers, words, settings))
        return made[-1].start()

    yield make
    for container in made:
        container.remove()
