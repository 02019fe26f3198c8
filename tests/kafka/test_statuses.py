"""Whatever arrives on execution.status: what is understood is taken once, what is not is put aside whole."""

import contextlib
import json
import sqlite3
import threading
import time

import pytest

from harness import Client, Server, new_id, step, step_of, wait_until
from kafka_harness import COMMANDS, LETTERS, STATUSES

PROGRESS = [("RUNNING", 1), ("FAILED", 1), ("RUNNING", 2), ("COMPLETED", 2)]


@pytest.fixture
def run(api):
    """A run of one step that nobody executes: (flow id, run id, step id)."""
    step_id = new_id()
    flow_id = api.create_flow([step(step_id=step_id)])
    return flow_id, api.start(flow_id), step_id


def flow_status(run, status, timestamp=None, **members):
    return {"eventType": "FLOW_STATUS", "flowId": run[0], "runId": run[1], "status": status, "error": None,
            "timestamp": timestamp or time.time(), **members}


def step_status(run, status, attempt=None, timestamp=None, **members):
    return {"eventType": "STEP_STATUS", "flowId": run[0], "runId": run[1], "stepId": run[2], "status": status, "error": None,
            "timestamp": timestamp or time.time(), **({} if attempt is None else {"attempt": attempt}), **members}


def history(run):
    began = time.time()
    statuses = [flow_status(run, "RUNNING", began)]
    statuses += [step_status(run, status, attempt, began + 0.01 * (i + 1)) for i, (status, attempt) in enumerate(PROGRESS)]
    return statuses + [flow_status(run, "COMPLETED", began + 1)]


def say(broker, run, statuses):
    broker.produce_all(STATUSES, [(run[1], status) for status in statuses])


def test_duplicates_and_replays_change_nothing(broker, server, api, run):
    statuses = history(run)
    say(broker, run, [s for status in statuses for s in (status, status)])
    detail = api.wait_end(run[1])
    assert detail["status"] == "COMPLETED" and step_of(detail, run[2])["attempt"] == 2
    events = api.events(run[1])
    assert len(events) == 1 + len(statuses)
    for _ in range(3):
        say(broker, run, statuses)
    server.wait_caught_up()
    assert api.events(run[1]) == events and api.status(run[1]) == detail


def test_reordered_statuses_come_to_the_same_end(broker, server, api, run):
    say(broker, run, list(reversed(history(run))))
    detail = wait_until(lambda: [d for d in [api.status(run[1])] if d["status"] == "COMPLETED"], what="the end")[0]
    assert detail["completedAt"] is not None
    assert [e["seq"] for e in api.events(run[1])] == list(range(1, detail["seq"] + 1))
    server.wait_caught_up()
    assert server.metric("dead_letters_total") == 0


def test_statuses_of_one_run_on_several_partitions_and_in_one_millisecond(broker, server, api, run):
    now = time.time()
    for partition, status in ((0, "RUNNING"), (1, "PAUSED"), (2, "RUNNING")):
        broker.produce(STATUSES, flow_status(run, status, now), key=f"{run[0]}:{run[1]}", partition=partition)
        server.wait_caught_up()
    events = api.events(run[1])
    for partition, status in ((0, "RUNNING"), (1, "PAUSED")):
        broker.produce(STATUSES, step_status(run, "RUNNING", 1), key=None, partition=partition)
    api.wait_step(run[1], run[2], "RUNNING")
    assert len(api.events(run[1])) == len(events) + 1


BROKEN = {
    "broken JSON": (b'{"eventType":', "line 1"),
    "no JSON at all": (b"\x00\xff\xfe", ""),
    "invalid UTF-8": (b'{"eventType":"FLOW_STATUS\xc3\x28"}', "UTF-8"),
    "empty": (b"", ""),
    "tombstone": (None, ""),
    "an array": (b"[]", "object"),
    "unknown type": ({"eventType": "HEARTBEAT"}, "HEARTBEAT"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_understood_is_put_aside_whole(broker, server, api, run, name):
    value, reason = BROKEN[name]
    marker = new_id().encode()
    headers = [("__TypeId__", b"com.example.Status"), ("marker", marker), ("empty", None)]
    broker.produce(STATUSES, value, key=b"k\xff\x00y" if name == "no JSON at all" else None if name == "tombstone" else "k",
                   headers=headers, partition=1)
    say(broker, run, [flow_status(run, "RUNNING")])
    api.wait_status(run[1], "RUNNING")
    letter = wait_until(lambda: [m for m in broker.read(LETTERS) if ("marker", marker) in (m.headers() or [])], what="the letter")[0]
    text = json.dumps(value).encode() if isinstance(value, dict) else value
    assert letter.value() == text
    assert letter.key() == (b"k\xff\x00y" if name == "no JSON at all" else None if name == "tombstone" else b"k")
    assert [h for h in letter.headers() if not h[0].startswith("dlq.")] == headers
    added = {name: value.decode() for name, value in letter.headers() if name.startswith("dlq.")}
    assert added["dlq.topic"] == STATUSES and added["dlq.partition"] == "1" and int(added["dlq.offset"]) >= 0
    assert int(added["dlq.timestamp"]) > 0 and reason in added["dlq.reason"] and added["dlq.reason"]


@pytest.mark.parametrize("change", [{"runId": new_id()}, {"flowId": new_id()}, {"stepId": new_id()}, {"status": "DONE"}, {"status": 7},
                                    {"timestamp": "yesterday"}, {"timestamp": None}, {"attempt": "two"}, {"generation": 99}])
def test_what_is_of_no_run_or_has_wrong_members_is_put_aside(broker, server, api, run, change):
    marker = new_id().encode()
    broker.produce(STATUSES, {**step_status(run, "RUNNING"), **change}, key=run[1], headers=[("marker", marker)])
    wait_until(lambda: [m for m in broker.read(LETTERS) if ("marker", marker) in (m.headers() or [])], what="the letter")
    assert len(api.events(run[1])) == 1


def test_a_value_of_a_megabyte_is_taken_or_put_aside_whole(broker, server, api, run):
    outputs = {"text": "x" * 990_000}
    say(broker, run, [flow_status(run, "RUNNING"), step_status(run, "COMPLETED", outputs=outputs)])
    api.wait_step(run[1], run[2], "COMPLETED")
    told = step_of(api.status(run[1]), run[2])
    assert told["outputs"] is None and "outputs dropped" in told["error"]
    marker = new_id().encode()
    value = b'{"eventType":"' + b"y" * 1_000_000
    broker.produce(STATUSES, value, key=run[1], headers=[("marker", marker), ("large", b"z" * 20_000)])
    letter = wait_until(lambda: [m for m in broker.read(LETTERS) if ("marker", marker) in (m.headers() or [])], what="the letter")[0]
    assert letter.value() == value and ("large", b"z" * 20_000) in letter.headers()
    assert not [name for name, _ in letter.headers() if name == "dlq.truncated"]


def test_a_letter_that_does_not_fit_is_cut_and_says_so(make_broker, make_server):
    broker = make_broker().start()
    broker.make_topic(LETTERS, **{"max.message.bytes": 1_048_588})
    server = make_server(broker).start()
    value = b'{"eventType":"' + b"y" * 1_000_000
    broker.produce(STATUSES, value, key="k", headers=[("large", b"z" * 48_400)])
    letter = wait_until(lambda: broker.read(LETTERS), what="the letter")[0]
    headers = dict(letter.headers())
    assert b"dlq.truncated" in [name.encode() for name in headers] and value.startswith(letter.value())
    assert len(letter.value()) > 500_000 and headers["dlq.reason"]
    server.stop()


def test_a_group_set_back_to_the_beginning_appends_nothing(broker, make_server):
    server = make_server(broker).start()
    api = Client(server)
    runs = []
    for _ in range(20):
        step_id = new_id()
        flow_id = api.create_flow([step(step_id=step_id)])
        runs.append((flow_id, api.start(flow_id), step_id))
        say(broker, runs[-1], history(runs[-1]))
    before = [(api.wait_end(run[1]), api.events(run[1])) for run in runs]
    server.wait_caught_up()
    server.stop()
    broker.reset_group("flowops-execution-service", STATUSES)
    server.start()
    wait_until(lambda: server.metric("statuses_ignored_total") >= 20 * 6, 30, "the replay")
    server.wait_caught_up()
    assert [(api.status(run[1]), api.events(run[1])) for run in runs] == before
    assert server.metric("events_appended_total") == 0
    server.stop()


def test_topics_are_made_as_they_are_wanted(make_broker, make_server):
    broker = make_broker().start()
    server = make_server(broker, KAFKA_PARTITIONS="5").start()
    topics = broker.admin().list_topics(timeout=10).topics
    assert {name: len(topics[name].partitions) for name in (COMMANDS, STATUSES, LETTERS)} == {COMMANDS: 5, STATUSES: 5, LETTERS: 5}
    assert broker.topic_config(LETTERS, "max.message.bytes") == str(4 * 1024 * 1024)
    server.stop()


def test_topics_that_cannot_be_made_as_wanted_are_named(make_broker, make_server):
    broker = make_broker().start()
    server = make_server(broker, KAFKA_REPLICATION="3")
    Server.start_waiting(server.spawn())
    wait_until(lambda: f"topic {COMMANDS}: is not there and cannot be made: " in (server.readiness()["reason"] or ""), 20, "the reason")
    for topic in (COMMANDS, STATUSES, LETTERS):
        broker.make_topic(topic)
    wait_until(lambda: server.readiness()["status"] == "ready", 20, "ready")
    server.stop()


def test_a_store_that_stands_still_costs_a_lag_and_nothing_else(make_broker, make_server):
    n, kinds = 60_000, ("RUNNING", "PAUSED")
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    runs = [(flow_id, api.start(flow_id), None) for _ in range(40)]
    began = time.time()
    statuses = [(run[1], flow_status(run, kinds[i % 2], round(began + i * 0.001, 3))) for i in range(n // 40) for run in runs]
    idle = server.resident_bytes()
    with contextlib.closing(sqlite3.connect(server.data_dir / "flowops.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        broker.produce_all(STATUSES, statuses)
        wait_until(lambda: server.metric("status_lag") >= n - 2 * 2048, 30, "the lag: all but the two batches in hand")
        threading.Event().wait(8)  # what is tested: longer than a member that does nothing stays in its group
        assert server.metric("status_partitions") == 3 and server.metric("status_lag") >= n - 2 * 2048
        assert server.is_sanitized() or server.resident_bytes() - idle < 64 * 1024 * 1024
        lock.execute("ROLLBACK")
    wait_until(lambda: server.metric("status_lag") == 0, 60, "the end of the lag")
    server.wait_caught_up()
    for run in runs:
        assert api.status(run[1])["seq"] == 1 + n // 40
    assert server.metric("events_appended_total") == n + 40 and server.metric("dead_letters_total") == 0
    server.stop()


def test_a_service_that_was_caught_up_has_no_lag_after_a_restart(make_broker, make_server):
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    run = (flow_id, api.start(flow_id), None)
    for partition in (0, 1):  # the third one stays without a position
        broker.produce_all(STATUSES, [(None, flow_status(run, "RUNNING"))] * 50, partition=partition)
    server.wait_caught_up()
    server.stop()
    server.start()
    wait_until(lambda: server.metric("status_partitions") == 3 and server.metric("status_lag") >= 0, 20, "a lag that is known")
    assert server.metric("status_lag") == 0
    broker.produce(STATUSES, flow_status(run, "COMPLETED"), partition=2)
    assert api.wait_end(run[1])["status"] == "COMPLETED"
    wait_until(lambda: server.metric("status_lag") == 0, 20, "the lag of before")
    server.stop()


def test_kill_9_while_statuses_come_loses_and_repeats_none(make_broker, make_server):
    n = 6_000  # of a round
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    runs = [(flow_id, api.start(flow_id), None) for _ in range(30)]
    began = time.time()

    def say_more(round_number):
        numbers = range(round_number * n, (round_number + 1) * n)
        broker.produce_all(STATUSES, [(runs[i % 30][1], flow_status(runs[i % 30], ("RUNNING", "PAUSED")[i // 30 % 2],
                                                                      round(began + i // 30 * 0.001, 3))) for i in numbers])
    say_more(0)
    wait_until(lambda: server.metric("events_appended_total") > 100, 20, "some of them taken in")
    server.kill()
    server.start()
    server.wait_caught_up()
    before = broker.committed()
    with contextlib.closing(sqlite3.connect(server.data_dir / "flowops.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        threading.Event().wait(1)  # so that a commit may be due again, which is twice a second
        say_more(1)
        wait_until(lambda: server.metric("store_up") == 0, 30, "a batch that could not be written")
        assert broker.committed() == before
        server.kill()
    server.start()
    server.wait_caught_up()
    for run in runs:
        events = api.events(run[1], limit=1000)
        assert [e["seq"] for e in events] == list(range(1, 2 + 2 * n // 30))
        assert [e["status"] for e in events[1:]] == ["RUNNING", "PAUSED"] * (n // 30)
    server.stop()
