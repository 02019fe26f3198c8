"""Engines on a real Kafka: they come, go and die; runs go on."""

import json
import time

from harness import Client, delay, new_id, step, step_events, step_of, wait_until
from kafka_harness import COMMANDS, STATUSES


def attempts(api, run_id, step_id):
    return [e["attempt"] for e in step_events(api.events(run_id), step_id) if e["status"] == "RUNNING"]


def test_an_engine_that_dies_is_noticed_and_its_runs_go_on(broker, make_server, make_engine):
    server = make_server(broker).start()
    api = Client(server)
    one, two = make_engine(broker, "one").start(), make_engine(broker, "two").start()
    server.wait_for_engines(2)
    done, waits = new_id(), new_id()
    flow_id = api.create_flow([step(step_id=done, inputs={"x": "kept"}),
                               step("delay", step_id=waits, inputs={"ms": "4000", "after": f"${{{done}.x}}"})])
    runs = [api.start(flow_id) for _ in range(12)]
    for run_id in runs:
        api.wait_step(run_id, waits, "RUNNING")
    generations = {run_id: api.status(run_id)["generation"] for run_id in runs}
    tried = {run_id: attempts(api, run_id, waits) for run_id in runs}
    died = time.monotonic()
    one.kill()
    handed = wait_until(lambda: [r for r in runs if api.status(r)["generation"] > generations[r]], 12, "a hand-over")
    assert time.monotonic() - died < 10
    for run_id in runs:
        detail = api.wait_end(run_id, timeout=40)
        assert detail["status"] == "COMPLETED"
        assert attempts(api, run_id, done) == [1]  # what was done stays done
        if run_id in handed:
            assert attempts(api, run_id, waits) == tried[run_id] + [tried[run_id][-1] + 1]
    two.stop()
    server.stop()


def test_late_statuses_of_a_lost_engine_change_nothing(broker, make_server, make_engine):
    server = make_server(broker).start()
    api = Client(server)
    one = make_engine(broker, "one").start()
    waits = new_id()
    run_id = api.start(api.create_flow([step("delay", step_id=waits, inputs={"ms": "60000"})]))
    api.wait_step(run_id, waits, "RUNNING")
    flow_id, generation = api.status(run_id)["flowId"], api.status(run_id)["generation"]
    one.kill()
    two = make_engine(broker, "two").start()
    wait_until(lambda: api.status(run_id)["generation"] > generation, 20, "the hand-over")
    ignored = server.metric("statuses_ignored_total")
    for status in ({"eventType": "STEP_STATUS", "stepId": waits, "status": "COMPLETED", "attempt": 1}, {"eventType": "FLOW_STATUS", "status": "FAILED"}):
        broker.produce(STATUSES, {**status, "flowId": flow_id, "runId": run_id, "generation": generation, "timestamp": time.time()}, key=run_id)
    wait_until(lambda: server.metric("statuses_ignored_total") == ignored + 2, what="both to be ignored")
    assert api.status(run_id)["status"] == "RUNNING"
    api.command(run_id, "stop")
    assert api.wait_end(run_id)["status"] == "STOPPED"
    two.stop()
    server.stop()


def test_a_rolling_restart_loses_no_run(broker, make_server, make_engine):
    server = make_server(broker).start()
    api = Client(server)
    engines = [make_engine(broker, f"e{i}").start() for i in range(2)]
    first, second = new_id(), new_id()
    flow_id = api.create_flow([step("delay", step_id=first, inputs={"ms": "700"}),
                               step("delay", step_id=second, inputs={"ms": "700", "after": f"${{{first}.ms}}"})])
    runs = []
    for engine in engines * 2:
        runs += [api.start(flow_id) for _ in range(10)]
        engine.stop()
        runs += [api.start(flow_id) for _ in range(5)]
        engine.start()
    for run_id in runs:
        assert api.wait_end(run_id, timeout=60)["status"] == "COMPLETED"
    for engine in engines:
        engine.stop()
    server.stop()


def test_a_paused_run_is_handed_over_paused(broker, make_server, make_engine):
    server = make_server(broker).start()
    api = Client(server)
    one = make_engine(broker, "one").start()
    server.wait_for_engines(1)
    first, second = new_id(), new_id()
    run_id = api.start(api.create_flow([step("delay", step_id=first, inputs={"ms": "300"}),
                                        step(step_id=second, inputs={"x": f"${{{first}.ms}}"})]))
    api.wait_step(run_id, first, "RUNNING")
    api.command(run_id, "pause")
    generation = api.wait_status(run_id, "PAUSED")["generation"]
    one.stop()
    two = make_engine(broker, "two").start()
    wait_until(lambda: api.status(run_id)["generation"] == generation + 1, 20, "the hand-over")
    start = wait_until(lambda: [c for c in broker.commands(run_id) if c.get("generation") == generation + 1], what="its START")[-1]
    assert start["eventType"] == "EXECUTION_START" and start["desired"] == "PAUSED"
    assert [p["status"] for p in start["progress"] if p["stepId"] == first] == ["COMPLETED"]
    assert api.status(run_id)["status"] == "PAUSED"
    api.command(run_id, "resume")
    detail = api.wait_end(run_id)
    assert detail["status"] == "COMPLETED" and attempts(api, run_id, first) == [1]
    two.stop()
    server.stop()


def test_a_restart_of_the_service_sends_nothing_again(broker, make_server, make_engine):
    server = make_server(broker).start()
    api = Client(server)
    engine = make_engine(broker).start()
    waits = new_id()
    run_id = api.start(api.create_flow([step("delay", step_id=waits, inputs={"ms": "4000"})]))
    api.wait_step(run_id, waits, "RUNNING")
    before, generation = json.dumps(broker.commands(run_id)), api.status(run_id)["generation"]
    server.kill()
    server.start()
    assert api.wait_end(run_id, timeout=30)["status"] == "COMPLETED"
    assert json.dumps(broker.commands(run_id)) == before
    assert api.status(run_id)["generation"] == generation
    engine.stop()
    server.stop()


def test_announcements_read_again_hand_nothing_over(make_broker, make_server, make_engine):
    """The engine goes on; what began since it announced itself is its own, also when the service reads from the beginning."""
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    engine = make_engine(broker).start()
    waits = new_id()
    flow_id = api.create_flow([step("delay", step_id=waits, inputs={"ms": "600000"})])
    runs = [api.start(flow_id) for _ in range(6)]
    for run_id in runs:
        api.wait_step(run_id, waits, "RUNNING")
    server.wait_caught_up()
    before = [api.events(run_id) for run_id in runs]
    commands = json.dumps(broker.commands())
    server.stop()
    broker.reset_group("flowops-execution-service", STATUSES)
    server.start()
    wait_until(lambda: server.metric("statuses_ignored_total") >= 2 * len(runs), 30, "the replay")
    server.wait_caught_up()
    assert [api.events(run_id) for run_id in runs] == before
    assert server.metric("events_appended_total") == 0
    assert json.dumps(broker.commands()) == commands
    engine.stop()
    server.stop()


def test_commands_that_came_while_no_engine_was_there_are_taken(broker, make_server, make_engine):
    server = make_server(broker).start()
    api = Client(server)
    runs = [api.start(api.create_flow([step()])) for _ in range(10)]
    wait_until(lambda: server.metric("relay_idle") == 1, what="the commands on the topic")
    engine = make_engine(broker).start()
    for run_id in runs:
        assert api.wait_end(run_id)["status"] == "COMPLETED"
    engine.stop()
    server.stop()


def test_partitions_may_be_added_while_runs_go(make_broker, make_server, make_engine):
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    engines = [make_engine(broker, name).start() for name in ("one", "two")]
    server.wait_for_engines(2)
    done, waits = new_id(), new_id()
    flow_id = api.create_flow([step(step_id=done, inputs={"x": "1"}),
                               step("delay", step_id=waits, inputs={"ms": "600000", "after": f"${{{done}.x}}"})])
    runs = [api.start(flow_id) for _ in range(24)]
    for run_id in runs:
        api.wait_step(run_id, waits, "RUNNING")
    generations = {run_id: api.status(run_id)["generation"] for run_id in runs}
    broker.add_partitions(COMMANDS, 4)  # most keys are of another partition than before
    late = api.start(flow_id)
    wait_until(lambda: all(api.status(r)["generation"] > generations[r] for r in runs), 40, "all runs with the engine of their commands")
    for run_id in runs:
        api.wait_step(run_id, waits, "RUNNING")
        assert attempts(api, run_id, done) == [1]
    for run_id in [*runs, late]:
        assert api.command(run_id, "stop").status_code == 202
    for run_id in [*runs, late]:
        assert api.wait_end(run_id)["status"] == "STOPPED"
    for engine in engines:
        engine.stop()
    server.stop()
