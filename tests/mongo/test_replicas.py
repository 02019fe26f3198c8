"""Several services on one MongoDB and one Kafka: any of them shows everything, and none is missed when it dies."""

import http.client
import signal
import threading
import time

import pymongo
import pytest
import requests

from harness import Client, Stream, delay, flow_status_of, in_threads, mongo_uri, new_id, step, wait_until
from kafka_harness import together


@pytest.fixture
def replicas(make_replica):
    # What is published late is not to be taken for what is published again.
    pair = [make_replica(name, COMMAND_RESEND_SECONDS="600").spawn() for name in ("one", "two")]
    yield from together(pair)


def test_any_replica_shows_every_event_of_every_run(apis, make_engine):
    engine = make_engine().start()
    flow_id = apis[0].create_flow([step(inputs={"x": "1"}), delay(100), step(inputs={"y": "2"})])
    runs = [apis[i % 2].start(flow_id) for i in range(20)]

    def watch(i):
        with apis[(i + 1) % 2].stream(runs[i], params="?from=0") as stream:  # on the other one
            return list(stream)
    for run_id, frames in zip(runs, in_threads(watch, range(len(runs)))):
        assert [frame.id for frame in frames] == list(range(1, len(frames) + 1))
        statuses = [status for status in map(flow_status_of, frames) if status]
        assert set(statuses[:-1]) == {"RUNNING"} and statuses[-1] == "COMPLETED"  # a hand-over may come in between
    for run_id in runs:
        assert apis[0].status(run_id) == apis[1].status(run_id)
        assert apis[0].events(run_id) == apis[1].events(run_id)
    wait_until(lambda: all({r["id"] for r in api.data("/runs")} == set(runs) for api in apis), 5, "both lists")
    engine.stop()


def test_a_stream_hears_of_the_other_replica_at_once(apis):
    run_id = apis[0].start(apis[0].create_flow([step()]))
    with apis[1].stream(run_id) as stream:
        assert stream.next().event == "snapshot"
        delays = []
        for command in ("pause", "resume") * 10:
            began = time.monotonic()
            assert apis[0].command(run_id, command).status_code == 202
            stream.until(lambda frame: frame.payload.get("command") == command.upper())
            delays.append(time.monotonic() - began)
    assert sorted(delays)[len(delays) // 2] < 1.0  # a lost doorbell would cost up to 5 s


def test_sixty_four_clients_at_two_replicas(apis):
    flow_id = apis[0].create_flow([step()])
    for _ in range(5):
        run_id = apis[0].start(flow_id)
        answers = in_threads(lambda i: Client(apis[i % 2].server, apis[0].user).command(run_id, "stop").status_code, range(64), 64)
        assert sorted(answers) == [200] * 63 + [202]
        events = apis[1].events(run_id)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["command"] for event in events if event["eventType"] == "COMMAND_REQUESTED"] == ["STOP"]


def test_an_answer_never_shows_less_than_an_earlier_one(apis):
    run_id = apis[0].start(apis[0].create_flow([step()]))
    seen = [0, 0]
    for i in range(60):
        assert apis[i % 2].command(run_id, ("pause", "resume")[(i // 2) % 2]).status_code in (200, 202)
        for which in (0, 1):
            seq = apis[which].status(run_id)["seq"]
            assert seq >= max(seen[which], seen[i % 2] if which == i % 2 else 0)
            seen[which] = seq


def follow(apis, run_id, frames, errors):
    """Reads a run's stream like EventSource does: where one replica goes away, on at the next by the last id."""
    which = 0
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with Stream(apis[which], run_id, last_event_id=frames[-1].id if frames else None,
                        params="" if frames else "?from=0", timeout=30) as stream:
                if stream.status == 204:
                    return
                assert stream.status == 200, stream.status
                for frame in stream:
                    frames.append(frame)
        except (OSError, http.client.HTTPException, AssertionError, requests.RequestException):
            which = 1 - which
    errors.append(f"{run_id} did not end: {len(frames)} frames")


def test_a_replica_that_is_killed_costs_its_readers_nothing(replicas, apis, make_engine):
    engine = make_engine().start()
    flow_id = apis[0].create_flow([delay(300, stepId=new_id())] + [step(inputs={"x": str(i)}) for i in range(3)])
    ids = [new_id() for _ in range(12)]
    chain = [{"stepId": ids[0], "type": "ACTION", "pluginId": "delay", "inputs": {"ms": "700"}}]
    chain += [{"stepId": b, "type": "ACTION", "pluginId": "delay", "inputs": {"ms": "700", "after": f"${{{a}.ms}}"}}
              for a, b in zip(ids, ids[1:])]
    flow_id = apis[0].create_flow(chain)
    runs = [apis[i % 2].start(flow_id) for i in range(8)]
    frames, errors = {run_id: [] for run_id in runs}, []
    threads = [threading.Thread(target=follow, args=(apis, run_id, frames[run_id], errors)) for run_id in runs]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(frames.values()), what="all streams")
    apis[1].wait_step(runs[-1], ids[2], "RUNNING", timeout=30)
    replicas[0].kill()
    for thread in threads:
        thread.join()
    assert not errors, errors
    for run_id in runs:
        assert [frame.id for frame in frames[run_id]] == list(range(1, len(frames[run_id]) + 1))
        assert [s for s in map(flow_status_of, frames[run_id]) if s][-1] == "COMPLETED"
    engine.stop()


def first_copies(broker, run_id):
    seen = {}
    for command in broker.commands(run_id):
        seen.setdefault(command["commandId"], command["eventType"])
    return list(seen.values())


def test_commands_stay_in_order_though_replicas_take_turns_and_one_stands_still(broker, replicas, apis):
    flow_id = apis[0].create_flow([step()])
    expected = {}
    for round_number in range(4):
        runs = [apis[0].start(flow_id) for _ in range(10)]
        replicas[0].process.send_signal(signal.SIGSTOP)  # with what it has not published yet
        for run_id in runs:
            expected[run_id] = ["EXECUTION_START"]
            for command in ("pause", "resume", "stop")[:1 + round_number % 3]:
                assert apis[1].command(run_id, command).status_code == 202
                expected[run_id].append(f"EXECUTION_{command.upper()}")
        if round_number == 0:  # long enough for the other one to take over
            wait_until(lambda: all(first_copies(broker, run_id) == expected[run_id] for run_id in runs[:2]), 40, "a take-over")
        replicas[0].process.send_signal(signal.SIGCONT)
        for run_id in runs[::2]:
            assert apis[0].command(run_id, "stop").status_code in (200, 202)
            if expected[run_id][-1] != "EXECUTION_STOP":
                expected[run_id].append("EXECUTION_STOP")
    wait_until(lambda: all(first_copies(broker, run_id) == kinds for run_id, kinds in expected.items()), 60, "all commands in order")


def test_what_a_killed_replica_did_not_publish_is_published(broker, replicas, apis):
    flow_id = apis[0].create_flow([step()])
    runs = []
    is_over = threading.Event()

    def load():
        api = Client(replicas[0], apis[0].user)
        while not is_over.is_set():
            try:
                runs.append(api.start(flow_id))
            except (requests.RequestException, AssertionError):
                return
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(runs) > 100, 30, "some load")
    replicas[0].kill()
    is_over.set()
    for thread in threads:
        thread.join()
    wait_until(lambda: {c["runId"] for c in broker.commands()} >= set(runs), 60, "every START")
    wait_until(lambda: {r for r in runs if apis[1].get(f"/runs/{r}/status").status_code == 200} == set(runs), 30, "every document")


def test_a_backfill_outlives_the_replica_that_took_it_in(apis, make_engine):
    engine = make_engine().start()
    flow_id = apis[0].create_flow([delay(50)], cron="0 * * * *", schedule={"paused": True})
    body = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z", "maxParallel": 3}
    response = apis[0].post(f"/flows/{flow_id}/backfill", json=body)
    assert response.status_code == 202, response.text
    path = f"/flows/{flow_id}/backfills/{response.json()['data']['id']}"
    wait_until(lambda: apis[1].data(path)["started"] >= 5, 30, "starts")
    assert apis[1].post(f"{path}/pause").status_code == 202
    paused = wait_until(lambda: not apis[0].data(path)["open"] and apis[0].data(path), 30, "the end of what is open")
    assert paused["status"] == "PAUSED" and paused["started"] < 48
    assert apis[1].post(f"{path}/resume").status_code == 202
    wait_until(lambda: apis[1].data(path)["started"] >= paused["started"] + 3, 30, "more starts")
    apis[0].server.kill()
    end = wait_until(lambda: apis[1].data(path)["status"] == "COMPLETED" and apis[1].data(path), 90, "the backfill's end")
    assert end["completed"] == end["started"] == end["slots"] == 48
    wait_until(lambda: len(apis[1].data(f"/flows/{flow_id}/runs?pageSize=200")) == 48, 5, "the list")
    runs = apis[1].data(f"/flows/{flow_id}/runs?pageSize=200")
    assert len({run["labels"]["flowops.slot"] for run in runs}) == 48
    engine.stop()


def test_a_repeat_finds_a_backfill_that_its_replica_left_half_written(make_replica, make_engine):
    engine = make_engine().start()
    server = make_replica("first").start()
    api = Client(server)
    flow_id = api.create_flow([delay(10)], cron="0 * * * *", schedule={"paused": True})
    body = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T03:00:00Z"}
    headers = {"Idempotency-Key": "once"}
    path = f"/flows/{flow_id}/backfill"
    backfill_id = api.post(path, json=body, headers=headers).json()["data"]["id"]
    server.kill()
    with pymongo.MongoClient(mongo_uri()) as client:
        database = client[server.settings["MONGO_DB"]]
        database.backfill_entries.delete_many({"_id": {"$gt": f"{backfill_id}:000000000001", "$lt": f"{backfill_id}:9"}})
        database.backfills.delete_one({"_id": backfill_id})
    server.start()
    assert api.data(f"/flows/{flow_id}/backfills") == []
    response = api.post(path, json=body, headers=headers)
    assert response.status_code == 202 and response.json()["data"]["id"] == backfill_id, response.text
    wait_until(lambda: api.data(f"{path}s/{backfill_id}")["status"] == "COMPLETED", 30, "the backfill's end")
    assert len(api.data(f"/flows/{flow_id}/backfills")) == 1
    engine.stop()
