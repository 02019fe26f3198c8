"""Whole runs driven by an engine in the dialect of FlowOps' own Java engine."""

import re

import pytest

from harness import Client, new_id, step
from java_engine import JavaEngine
from kafka_harness import KafkaServer


@pytest.fixture(scope="module")
def server(broker, tmp_path_factory):
    server = KafkaServer(tmp_path_factory.mktemp("dialect") / "data", broker).start()
    yield server
    server.stop()


@pytest.fixture
def api(server):
    return Client(server)


@pytest.fixture(scope="module")
def java_engine(broker):
    engine = JavaEngine()
    engine.start(broker.address)
    yield engine
    engine.stop()


def test_the_dialect_of_the_java_engine_drives_whole_runs(broker, server, api, java_engine):
    child = step()
    branch = {"steps": [step()], "condition": None}
    parent = step(children=[child])
    decision = {"stepId": new_id(), "type": "DECISION", "branches": [branch]}
    flow_id = api.create_flow([parent, decision])
    for _ in range(20):
        run_id = api.start(flow_id)
        detail = api.wait_end(run_id)
        assert detail["status"] == "COMPLETED", detail
        assert detail["pendingCommand"] is None
        assert all(s["status"] == "COMPLETED" and s["startedAt"] and s["completedAt"] for s in detail["steps"])
    events = api.events(run_id)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", e["timestamp"]) for e in events)
    assert server.metric("dead_letters_total") == 0


def test_the_java_engine_pauses_resumes_and_stops(broker, server, api, java_engine):
    flow_id = api.create_flow([step() for _ in range(400)])
    run_id = api.start(flow_id)
    api.wait_status(run_id, "RUNNING")
    assert api.command(run_id, "pause").status_code == 202
    api.wait_status(run_id, "PAUSED")
    assert api.status(run_id)["pendingCommand"] is None
    assert api.command(run_id, "resume").status_code == 202
    api.wait_status(run_id, "RUNNING")
    assert api.command(run_id, "stop").status_code == 202
    detail = api.wait_end(run_id)
    assert detail["status"] == "STOPPED"
    assert api.command(run_id, "stop").status_code == 200
