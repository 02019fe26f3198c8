"""Fixtures of the tests of the whole environment: `make stack` as somebody would start it, on ports and in a directory of its own."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))

from harness import BINARY, Client, step  # noqa: E402
from stack_harness import Stack  # noqa: E402


def pytest_collection_modifyitems(items):
    if items and not BINARY.exists():
        raise pytest.UsageError(f"{BINARY} is not built")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Its engine has announced itself to the service, so that no run is handed over in the middle of a test."""
    stack = Stack(tmp_path_factory.mktemp("stack")).start()
    try:
        Client(stack).run([step()])  # makes the topics
        stack.wait_for_engine()
        Client(stack).run([step()])
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def api(stack):
    return Client(stack)


@pytest.fixture
def make_stack(tmp_path):
    """Stacks of a test's own: make_stack(lines=""), not started; ended afterwards."""
    stacks = []

    def make(lines=""):
        stacks.append(Stack(tmp_path / f"stack{len(stacks)}", lines))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.stop()
