"""Whole runs over a real Kafka: with our engines, and with one that speaks the dialect of FlowOps' own."""

import json
import re

from harness import Client, delay, flow_status_of, new_id, step, step_of, wait_until
from kafka_harness import COMMANDS, STATUSES


def by_key(messages):
    lines = {}
    for message in messages:
        lines.setdefault(message.key().decode(), []).append(json.loads(message.value()))
    return lines


def test_commands_are_as_the_contract_says(broker, server, api):
    first = new_id()
    flow_id = api.create_flow([step(step_id=first, inputs={"a.b": "1", "$c": "2"})])
    run_id = api.start(flow_id, {"inputs": {"name": "x"}})
    for command in ("pause", "resume", "stop"):
        assert api.command(run_id, command).status_code == 202
    wait_until(lambda: len(broker.commands(run_id)) == 4, what="four commands")
    messages = [message for message in broker.read(COMMANDS) if json.loads(message.value())["runId"] == run_id]
    assert {message.key().decode() for message in messages} == {run_id}
    assert len({message.partition() for message in messages}) == 1
    start, *others = [json.loads(message.value()) for message in messages]
    assert start["eventType"] == "EXECUTION_START"
    assert (start["flowId"], start["runId"], start["triggeredBy"]) == (flow_id, run_id, api.user)
    assert [s["stepId"] for s in start["steps"]] == [first] and start["steps"][0]["inputs"] == {"a.b": "1", "$c": "2"}
    assert start["generation"] == 1 and start["desired"] == "RUN" and start["inputs"] == {"name": "x"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", start["timestamp"])
    assert [c["eventType"] for c in others] == ["EXECUTION_PAUSE", "EXECUTION_RESUME", "EXECUTION_STOP"]
    assert all("steps" not in c for c in others)
    assert len({c["commandId"] for c in [start, *others]}) == 4
    pending = api.status(run_id)["pendingCommand"]
    assert (pending["command"], pending["commandId"]) == ("STOP", others[-1]["commandId"])


def test_no_engine_runs_inside_unless_asked(broker, make_server):
    server = make_server(broker, "inside", ENGINE="on").start()
    api = Client(server)
    assert api.run([step(inputs={"x": "1"})])["outputs"] is not None
    server.stop()


def test_two_engines_share_runs(broker, server, api, make_engine):
    one, two = make_engine(broker, "one").start(), make_engine(broker, "two").start()
    first = new_id()
    flow_id = api.create_flow([step(step_id=first, inputs={"x": "${run.inputs.n}"}), step(inputs={"y": f"${{{first}.x}}"})])
    runs = [api.start(flow_id, {"inputs": {"n": str(n)}}) for n in range(60)]
    for n, run_id in enumerate(runs):
        detail = api.wait_end(run_id)
        assert detail["status"] == "COMPLETED"
        assert step_of(detail, first)["outputs"] == {"x": str(n)}
    statuses = by_key(broker.read(STATUSES))
    assert all(run_id in statuses for run_id in runs)
    for run_id in runs:
        assert [s["status"] for s in statuses[run_id] if s["eventType"] == "FLOW_STATUS"] == ["RUNNING", "COMPLETED"]
    announced = [s for line in statuses.values() for s in line if s["eventType"] == "ENGINE_STATUS"]
    assert {s["engineId"] for s in announced} and {p for s in announced for p in s["commandPartitions"]} == {0, 1, 2}
    one.stop()
    two.stop()


def test_a_stream_shows_what_comes_by_kafka(broker, server, api, make_engine):
    engine = make_engine(broker).start()
    run_id = api.start(api.create_flow([step(), delay(50)]))
    with api.stream(run_id, params="?from=0") as stream:
        frames = list(stream)
    assert [frame.id for frame in frames] == list(range(1, len(frames) + 1))
    assert [status for status in map(flow_status_of, frames) if status] == ["RUNNING", "COMPLETED"]
    assert all("origin" in frame.payload for frame in frames if frame.event is None)
    engine.stop()
