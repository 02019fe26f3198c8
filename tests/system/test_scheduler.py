"""Flows that the clock starts, by the real clock: each slot once, in time; after a crash as `misfire` says; pauses, overlaps."""

import datetime

from harness import Client, delay, error_of, new_id, step, wait_until

EVERY_SECOND = "* * * * * *"


def seconds(instant):
    return datetime.datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()


def decisions(api, flow_id):
    """All of a flow, oldest first."""
    found, params = [], {"pageSize": 200}
    while True:
        response = api.get(f"/flows/{flow_id}/schedule/decisions", params=params)
        assert response.status_code == 200, response.text
        found += response.json()["data"]
        cursor = response.json()["metadata"].get("additional", {}).get("nextCursor")
        if cursor is None:
            break
        params = {"pageSize": 200, "cursor": cursor}
    assert [decision["n"] for decision in found] == list(range(len(found), 0, -1))
    return found[::-1]


def started(api, flow_id):
    return [decision for decision in decisions(api, flow_id) if decision["verdict"] == "STARTED"]


def runs(api, flow_id):
    return api.data(f"/flows/{flow_id}/runs", params={"pageSize": 200})


def wait_started(api, flow_id, n, timeout=20):
    return wait_until(lambda: (found := started(api, flow_id)) and len(found) >= n and found, timeout, f"{n} slots that started")


def update(api, flow_id, **members):
    response = api.put(f"/flows/{flow_id}", json={"name": "a flow", "steps": [step()], **members})
    assert response.status_code == 200, response.text


def test_each_second_starts_a_run_in_time(api):
    flow_id = api.create_flow([step(inputs={"at": "${run.inputs.at}"})], cron=EVERY_SECOND, labels={"team": "blue"},
                              schedule={"inputs": {"at": "${slot}", "day": "${slot.date}"}})
    found = wait_started(api, flow_id, 5)
    slots = [seconds(decision["slot"]) for decision in found]
    assert slots == [slots[0] + i for i in range(len(slots))]
    assert all(decision["lateMs"] < 1000 and decision["slots"] == 1 for decision in found), found
    assert found[0]["runId"] == api.wait_end(found[0]["runId"])["id"]
    by_id = {run["id"]: run for run in runs(api, flow_id)}
    for decision in found[:-1]:
        run = by_id[decision["runId"]]
        assert run["triggeredBy"] == "system"
        assert run["labels"] == {"team": "blue", "flowops.slot": decision["slot"]}
        assert seconds(run["createdAt"]) - seconds(decision["slot"]) < 1
    assert api.status(found[0]["runId"])["steps"][0]["outputs"]["at"] == found[0]["slot"]
    assert [run["id"] for run in api.data("/runs", params={"label": f"flowops.slot={found[1]['slot']}"})] == [found[1]["runId"]]
    assert api.delete(f"/flows/{flow_id}?force=true").status_code == 204
    n = len(runs(api, flow_id))
    assert api.get(f"/flows/{flow_id}/schedule/decisions").status_code == 404
    wait_until(lambda: all(run["status"] in ("COMPLETED", "STOPPED") for run in runs(api, flow_id)), what="the end of all runs")
    assert len(runs(api, flow_id)) <= n + 1  # one may have been under way


def test_next_run_follows_every_change(api):
    flow_id = api.create_flow([step()], cron="0 0 1 1 *")
    year = datetime.datetime.now(datetime.timezone.utc).year
    assert api.data(f"/flows/{flow_id}")["nextRunAt"] == f"{year + 1}-01-01T00:00:00.000Z"
    update(api, flow_id, cron="0 0 1 1 *", timezone="Asia/Tokyo")
    assert api.data(f"/flows/{flow_id}")["nextRunAt"] in (f"{year}-12-31T15:00:00.000Z", f"{year + 1}-12-31T15:00:00.000Z")
    update(api, flow_id, cron="0 0 1 1 *", schedule={"paused": True})
    assert api.data(f"/flows/{flow_id}")["nextRunAt"] is None
    update(api, flow_id)
    assert api.data(f"/flows/{flow_id}")["nextRunAt"] is None
    update(api, flow_id, cron="@every 30s")
    assert 0 < seconds(api.data(f"/flows/{flow_id}")["nextRunAt"]) - datetime.datetime.now().timestamp() <= 30


def test_a_pause_starts_nothing(api):
    flow_id = api.create_flow([step()], cron=EVERY_SECOND)
    wait_started(api, flow_id, 2)
    update(api, flow_id, cron=EVERY_SECOND, schedule={"paused": True})
    reset = wait_until(lambda: [d for d in decisions(api, flow_id) if d["verdict"] == "RESET"], what="the reset")[0]
    n = len(started(api, flow_id))
    other = api.create_flow([step()], cron=EVERY_SECOND)
    wait_started(api, other, 3)  # three seconds, by the same scheduler
    assert len(started(api, flow_id)) == n
    update(api, flow_id, cron=EVERY_SECOND)
    again = wait_started(api, flow_id, n + 1)[n]
    assert seconds(again["slot"]) > seconds(reset["lastSlot"]) + 2


def test_overlaps(api):
    slow = [delay(2500)]
    skip, queue, cancel = (api.create_flow(slow, cron=EVERY_SECOND, schedule={"overlap": overlap})
                           for overlap in ("SKIP", "QUEUE", "CANCEL_RUNNING"))
    wait_started(api, skip, 2)
    found = decisions(api, skip)
    skipped = [decision for decision in found if decision["verdict"] == "SKIPPED"]
    assert {decision["reason"] for decision in skipped} == {"OVERLAP"}
    first, second = started(api, skip)[:2]
    assert seconds(second["slot"]) - seconds(first["slot"]) >= 2
    assert seconds(api.status(second["runId"])["createdAt"]) >= seconds(api.wait_end(first["runId"])["completedAt"])

    queued = [decision["slot"] for decision in decisions(api, queue) if decision["verdict"] == "QUEUED"]
    found = wait_started(api, queue, 3)
    assert [decision["slot"] for decision in found[1:3]] == queued[:2] and found[1]["wasQueued"]
    ended = seconds(api.wait_end(found[0]["runId"])["completedAt"])
    assert 0 <= seconds(api.status(found[1]["runId"])["createdAt"]) - ended < 2

    found = wait_started(api, cancel, 3)
    assert found[1]["cancelsRunning"]
    assert api.wait_end(found[0]["runId"])["status"] == "STOPPED"
    for flow_id in (skip, queue, cancel):
        assert api.delete(f"/flows/{flow_id}?force=true").status_code == 204


def test_after_a_crash_as_misfire_says(make_server):
    server = make_server().start()
    api = Client(server)
    every, latest, none = (api.create_flow([step()], cron=EVERY_SECOND, schedule={"misfire": misfire, "misfireGraceSeconds": 0})
                           for misfire in ("ALL", "LATEST", "SKIP"))
    wait_started(api, every, 2)
    server.kill()
    witness = make_server("witness").start()  # three seconds by a clock that goes on
    other = Client(witness)
    wait_started(other, other.create_flow([step()], cron=EVERY_SECOND), 3)
    witness.stop()
    server.start()
    began = datetime.datetime.now().timestamp()

    def gone_on(flow_id):
        found = started(api, flow_id)
        return found and seconds(found[-1]["slot"]) > began and found

    found = wait_until(lambda: gone_on(every), 20, "slots after the start")
    slots = [seconds(decision["slot"]) for decision in found]
    assert slots == [slots[0] + i for i in range(len(slots))]
    for flow_id in (latest, none):
        wait_until(lambda: gone_on(flow_id), 20, "slots after the start")
        found = decisions(api, flow_id)
        covered = [seconds(decision["slot"]) + i for decision in found for i in range(decision["slots"])]
        assert covered == [covered[0] + i for i in range(len(covered))]  # none is passed over
        assert [d for d in found if d["reason"] == "MISFIRE" and d["slots"] >= 2], found
    for flow_id in (every, latest, none):
        def all_made():
            found = started(api, flow_id)
            made = {run["id"] for run in runs(api, flow_id)}
            return {decision["runId"] for decision in found} <= made and len(made) >= len(found) and found
        found = wait_until(all_made, what="the runs of all that started")
        assert len({decision["slot"] for decision in found}) == len(found)
        labels = [run["labels"]["flowops.slot"] for run in runs(api, flow_id)]
        assert len(set(labels)) == len(labels)
    server.stop()


def test_decisions_are_their_owners(api, server):
    flow_id = api.create_flow([step()], cron=EVERY_SECOND)
    wait_started(api, flow_id, 3)
    update(api, flow_id)
    stranger = Client(server)
    error_of(stranger.get(f"/flows/{flow_id}/schedule/decisions"), 404, "NOT_FOUND")
    error_of(api.get(f"/flows/{new_id()}/schedule/decisions"), 404, "NOT_FOUND")
    error_of(api.get(f"/flows/{flow_id}/schedule/decisions?cursor=x"), 400, "VALIDATION_ERROR", "cursor")
    error_of(api.get(f"/flows/{flow_id}/schedule/decisions?pageSize=0"), 400, "VALIDATION_ERROR", "pageSize")
    error_of(api.post(f"/flows/{flow_id}/schedule/decisions"), 405, "METHOD_NOT_ALLOWED")
    wait_until(lambda: decisions(api, flow_id)[-1]["slot"] is not None, what="decisions")
    page = api.get(f"/flows/{flow_id}/schedule/decisions", params={"pageSize": 2}).json()
    assert len(page["data"]) == 2
    cursor = page["metadata"]["additional"]["nextCursor"]
    more = api.get(f"/flows/{flow_id}/schedule/decisions", params={"pageSize": 1, "cursor": cursor}).json()["data"]
    assert more[0]["n"] == page["data"][-1]["n"] - 1
    other = api.create_flow([step()], cron="@yearly")
    error_of(api.get(f"/flows/{other}/schedule/decisions", params={"cursor": cursor}), 400, "VALIDATION_ERROR", "cursor")
    assert api.data(f"/flows/{other}/schedule/decisions") == []


def test_metrics_tell_of_schedules(api):
    flow_id = api.create_flow([step()], cron=EVERY_SECOND)
    wait_started(api, flow_id, 1)
    text = api.get(f"{api.server.url}/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("flowops_schedule"))
    assert float(figures["flowops_schedules"]) >= 1
    assert float(figures['flowops_schedule_decisions_total{verdict="started"}']) >= 1
    assert float(figures['flowops_schedule_lateness_seconds_bucket{le="1"}']) >= 1
    assert float(figures["flowops_schedule_lateness_seconds_count"]) >= 1
    update(api, flow_id)
