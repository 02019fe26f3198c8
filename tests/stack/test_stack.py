"""The environment without containers: what it says, a whole flow through it, how it ends."""

import itertools
import os
import signal
import socket

import pytest

from harness import Client, delay, flow_status_of, new_id, step, wait_until

from stack_harness import COMMANDS, STATUSES, messages


def commands_of(stack, run_id):
    """The types of a run's commands, in order. A repeat counts once: what started before the engine was known is handed over."""
    types = [message["eventType"] for message in messages(stack.broker, COMMANDS) if message["runId"] == run_id]
    return [kind for kind, _ in itertools.groupby(types)]


def flow_statuses_of(stack, run_id):
    return [message["status"] for message in messages(stack.broker, STATUSES)
            if message.get("runId") == run_id and message["eventType"] == "FLOW_STATUS"]


def step_statuses_of(stack, step_id):
    return [message["status"] for message in messages(stack.broker, STATUSES) if message.get("stepId") == step_id]


def watched_to_the_end(api, run_id):
    """The flow's statuses as a stream tells them."""
    with api.stream(run_id, params="?from=0") as stream:
        assert stream.status == 200
        return [status for status in map(flow_status_of, stream) if status]


def assert_gone(pids):
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_addresses_and_logs_are_told(stack):
    log = stack.log()
    assert f"Kafka: {stack.broker}" in log
    assert f"MongoDB: 127.0.0.1:{stack.ports['MONGO_PORT']}" in log
    assert f"service: {stack.url}/api/executions" in log
    for name in ("service.log", "engine.log", "kafka/server.log", "mongo-java/server.log"):
        assert f"{stack.folder}/data/{name}" in log
        assert (stack.folder / "data" / name).exists()


def test_a_run_is_completed(stack, api):
    first, second = new_id(), new_id()
    steps = [step(step_id=first, inputs={"who": "world"}), step(step_id=second, inputs={"said": f"${{{first}.who}}"})]
    run_id = api.start(api.create_flow(steps))
    assert watched_to_the_end(api, run_id) == ["RUNNING", "COMPLETED"]
    detail = api.wait_end(run_id)
    assert detail["status"] == "COMPLETED"
    assert [one["status"] for one in detail["steps"]] == ["COMPLETED", "COMPLETED"]
    assert detail["steps"][1]["outputs"] == {"said": "world"}
    assert commands_of(stack, run_id) == ["EXECUTION_START"]
    assert flow_statuses_of(stack, run_id) == ["RUNNING", "COMPLETED"]
    assert step_statuses_of(stack, second) == ["RUNNING", "COMPLETED"]


def test_a_run_is_paused_resumed_and_stopped(stack, api):
    short = delay(500)
    long = step("delay", inputs={"ms": "60000", "after": f"${{{short['stepId']}.ms}}"})
    run_id = api.start(api.create_flow([short, long]))
    api.wait_status(run_id, "RUNNING")
    for command, status in (("pause", "PAUSED"), ("resume", "RUNNING"), ("stop", "STOPPED")):
        assert api.command(run_id, command).status_code == 202
        api.wait_status(run_id, status)
    assert api.wait_end(run_id)["status"] == "STOPPED"
    assert watched_to_the_end(api, run_id) == ["RUNNING", "PAUSED", "RUNNING", "STOPPED"]
    assert commands_of(stack, run_id) == ["EXECUTION_START", "EXECUTION_PAUSE", "EXECUTION_RESUME", "EXECUTION_STOP"]
    assert flow_statuses_of(stack, run_id) == ["RUNNING", "PAUSED", "RUNNING", "STOPPED"]


def test_ports_that_are_taken_are_all_told(make_stack):
    stack = make_stack()
    with socket.create_server(("127.0.0.1", stack.ports["KAFKA_PORT"])), socket.create_server(("127.0.0.1", stack.port)):
        assert stack.spawn().wait() == 1
    assert f"KAFKA_PORT={stack.ports['KAFKA_PORT']}: Address already in use" in stack.log()
    assert f"EXECUTION_SERVICE_PORT={stack.port}: Address already in use" in stack.log()


@pytest.mark.parametrize("text", ["70000", "0", "abc", "1 2"])
def test_a_port_that_is_none_is_told(make_stack, text):
    stack = make_stack(f"MONGO_PORT={text}\n")
    assert stack.spawn().wait() == 1
    assert f'MONGO_PORT must be a port from 1 to 65535, not "{text}"' in stack.log()


def test_a_service_that_refuses_to_start_ends_the_rest(make_stack):
    stack = make_stack("HTTP_LOOPS=many\n")
    assert stack.spawn().wait() == 1
    assert "service ended by itself" in stack.log() and "HTTP_LOOPS" in stack.log()
    assert stack.are_ports_free()


def test_what_dies_is_named_and_ends_the_rest_then_a_start_finds_the_topics(make_stack):
    stack = make_stack().start()
    run_id = Client(stack).run([step()])["id"]
    pids = stack.pids()
    os.kill(stack.pid_of(r"flowops\S* engine"), signal.SIGKILL)
    assert stack.wait() == 1
    assert "engine ended by itself" in stack.log()
    assert stack.log().index("service stopped") < stack.log().index("MongoDB stopped") < stack.log().index("Kafka stopped")
    assert_gone(pids)
    assert stack.are_ports_free()

    stack.stop()
    stack.start()
    # The run may have begun before its engine was known to the service, and was then handed over: both were told twice.
    assert set(flow_statuses_of(stack, run_id)) == {"RUNNING", "COMPLETED"}
    assert Client(stack).run([step()])["status"] == "COMPLETED"
    pids = stack.pids()
    assert stack.stop(signal.SIGINT) == 0
    assert stack.log().endswith("engine stopped\nstack: service stopped\nstack: MongoDB stopped\nstack: Kafka stopped\n")
    assert_gone(pids)
    assert stack.are_ports_free()


def test_when_it_is_killed_nothing_is_left(make_stack):
    stack = make_stack().start()
    pids = stack.pids()
    assert len(pids) == 6
    stack.process.kill()
    stack.wait()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 20, "the end of everything")
    wait_until(stack.are_ports_free, 20, "free ports")
