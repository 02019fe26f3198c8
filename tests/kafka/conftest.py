"""Fixtures of the tests against a real Kafka. Each file has a broker of its own, so that topics begin empty."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))

from harness import BINARY, Client  # noqa: E402
from kafka_harness import Broker, Engine, KafkaServer  # noqa: E402


def pytest_collection_modifyitems(items):
    if items and not BINARY.exists():
        raise pytest.UsageError(f"{BINARY} is not built")
    if items and "FLOWOPS_TEST_KAFKA" not in os.environ:
        raise pytest.UsageError("these tests need a real Kafka: make test-kafka")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("kafka")).start()
    yield broker
    broker.kill()


@pytest.fixture
def make_broker(tmp_path):
    """Brokers that a test may hurt; not started."""
    brokers = []

    def make(name="kafka", **options):
        brokers.append(Broker(tmp_path / name, **options))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture
def make_server(tmp_path):
    """Services on a broker: make_server(broker, name="data", **settings), not started; killed afterwards."""
    servers = []

    def make(broker, name="data", **settings):
        servers.append(KafkaServer(tmp_path / name, broker, **settings))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def make_engine(tmp_path):
    """Engines on a broker: make_engine(broker, name="engine"), not started; killed afterwards."""
    engines = []

    def make(broker, name="engine", **settings):
        engines.append(Engine(tmp_path / f"{name}.log", broker, **settings))
        return engines[-1]

    yield make
    for engine in engines:
        engine.kill()


@pytest.fixture
def server(broker, make_server):
    """A service without an engine on the file's broker; ends in order, with nothing to complain of."""
    server = make_server(broker).start()
    yield server
    server.stop()


@pytest.fixture
def api(server):
    return Client(server)
