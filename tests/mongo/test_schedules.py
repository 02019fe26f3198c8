"""Schedules with two replicas on one database: each slot starts one run, whoever comes first, and goes on when one dies."""

import datetime

import pytest

from harness import step, wait_until
from kafka_harness import together

EVERY_SECOND = "* * * * * *"


def seconds(instant):
    return datetime.datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()


@pytest.fixture
def replicas(make_replica):
    pair = [make_replica(name).spawn() for name in ("one", "two")]
    yield from together(pair)


def started(api, flow_id):
    found = api.data(f"/flows/{flow_id}/schedule/decisions", params={"pageSize": 200})
    assert [decision["n"] for decision in found] == list(range(found[0]["n"], 0, -1)) if found else True
    return [decision for decision in found[::-1] if decision["verdict"] == "STARTED"]


def wait_started(api, flow_id, n, timeout=30):
    return wait_until(lambda: (found := started(api, flow_id)) and len(found) >= n and found, timeout, f"{n} slots that started")


def figure(api, name):
    text = api.get(f"{api.server.url}/metrics").text
    return float(next(line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name + " ")))


def assert_once(api, flow_id):
    found = started(api, flow_id)
    slots = [seconds(decision["slot"]) for decision in found]
    assert slots == [slots[0] + i for i in range(len(slots))]
    ids = {decision["runId"] for decision in found}
    wait_until(lambda: ids <= {run["id"] for run in api.data(f"/flows/{flow_id}/runs", params={"pageSize": 200})}, what="their runs")
    labels = [run["labels"]["flowops.slot"] for run in api.data(f"/flows/{flow_id}/runs", params={"pageSize": 200})]
    assert len(set(labels)) == len(labels)
    return found


def test_each_slot_once_though_one_is_killed(replicas, apis):
    flows = [apis[i % 2].create_flow([step()], cron=EVERY_SECOND, schedule={"misfire": "ALL"}) for i in range(10)]
    wait_until(lambda: all(figure(api, "flowops_schedules") == len(flows) for api in apis), 15, "both to know all flows")
    for flow_id in flows:
        wait_started(apis[1], flow_id, 4)
    replicas[0].kill()
    n = len(started(apis[1], flows[0]))
    for flow_id in flows:
        wait_started(apis[1], flow_id, n + 3)
    for flow_id in flows:
        found = assert_once(apis[1], flow_id)
        assert all(decision["lateMs"] < 1000 for decision in found[3:]), found


def test_a_change_at_one_replica_holds_at_the_other(apis):
    flow_id = apis[0].create_flow([step()], cron=EVERY_SECOND)
    wait_until(lambda: all(figure(api, "flowops_schedules") == 1 for api in apis), 15, "both to know the flow")
    wait_started(apis[1], flow_id, 2)
    assert apis[1].put(f"/flows/{flow_id}", json={"name": "f", "steps": [step()], "cron": EVERY_SECOND,
                                                  "schedule": {"paused": True}}).status_code == 200
    paused = apis[0].data(f"/flows/{flow_id}")
    assert paused["nextRunAt"] is None and apis[1].data(f"/flows/{flow_id}")["nextRunAt"] is None
    def is_reset():
        return [d for d in apis[0].data(f"/flows/{flow_id}/schedule/decisions") if d["verdict"] == "RESET"]
    reset = wait_until(is_reset, what="the reset")[0]
    other = apis[0].create_flow([step()], cron=EVERY_SECOND)
    wait_started(apis[0], other, 3)
    assert all(decision["n"] < reset["n"] for decision in started(apis[0], flow_id))
    assert all(seconds(decision["slot"]) <= seconds(paused["updatedAt"]) for decision in started(apis[0], flow_id))
    assert apis[0].delete(f"/flows/{flow_id}?force=true").status_code == 204
    wait_until(lambda: all(figure(api, "flowops_schedules") == 1 for api in apis), 15, "both to forget the flow")
    assert_once(apis[1], other)
