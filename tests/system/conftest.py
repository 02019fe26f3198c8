"""Fixtures of the whole-binary tests. Users isolate tests from each other: most share their file's server."""

import pytest

from harness import BINARY, MONGO, Client, Server


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitizer: also run against the sanitizer builds by tools/check")
    config.addinivalue_line("markers", "sqlite: of the embedded store alone; not run on another")


def pytest_collection_modifyitems(items):
    if items and not BINARY.exists():
        raise pytest.UsageError(f"{BINARY} is not built")
    if MONGO:
        items[:] = [item for item in items if item.get_closest_marker("sqlite") is None]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for the tests of a file; ends in order, with nothing to complain of."""
    server = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    server.stop()


@pytest.fixture
def api(server):
    """A user nobody else is."""
    return Client(server)


@pytest.fixture
def make_server(tmp_path):
    """Servers of a test's own: make_server(name="data", limits=None, **settings), not started; killed afterwards."""
    servers = []

    def make(name="data", limits=None, **settings):
        servers.append(Server(tmp_path / name, limits=limits, **settings))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
