"""Fixtures of the tests of several replicas: a real server of the MongoDB protocol ($FLOWOPS_TEST_MONGO) and a real Kafka."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "kafka"), str(TESTS / "system")]

from harness import BINARY, MONGO, Client, mongo_uri, new_id  # noqa: E402
from kafka_harness import Broker, Engine, KafkaServer  # noqa: E402


def pytest_collection_modifyitems(items):
    if items and not BINARY.exists():
        raise pytest.UsageError(f"{BINARY} is not built")
    if items and not MONGO:
        raise pytest.UsageError("these tests need a server of the MongoDB protocol: make test-mongo")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("kafka")).start()
    yield broker
    broker.kill()


@pytest.fixture
def make_replica(tmp_path, broker):
    """Replicas of one service: make_replica(name, **settings), not started; killed afterwards."""
    replicas = []

    def make(name, **settings):
        server = KafkaServer(tmp_path / name, broker, **{**database_of(tmp_path), **settings})
        replicas.append(server)
        return server

    yield make
    for replica in replicas:
        replica.kill()


@pytest.fixture
def apis(replicas):
    """A client of one user at each of the test's replicas."""
    user = new_id()
    return [Client(replica, user) for replica in replicas]


def database_of(tmp_path):
    import hashlib
    return {"MONGO_URI": mongo_uri(), "MONGO_DB": "flowops_" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]}


@pytest.fixture
def make_engine(tmp_path, broker):
    engines = []

    def make(name="engine", **settings):
        engines.append(Engine(tmp_path / f"{name}.log", broker, **settings))
        return engines[-1]

    yield make
    for engine in engines:
        engine.kill()
