"""Backfills: the missed slots of a range, started in order, a few at a time, once each, whatever happens on the way."""

import datetime

import pytest

from harness import TERMINAL, Client, delay, error_of, new_id, step, wait_until

pytestmark = pytest.mark.sanitizer

DAILY = {"cron": "0 6 * * *", "timezone": "Europe/Berlin"}
JANUARY = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}


def instant(time):
    return time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def week(n_days):
    """A range of so many daily slots."""
    return {"from": "2026-01-01T00:00:00Z", "to": f"2026-01-{n_days + 1:02}T00:00:00Z"}


def create(api, flow_id, status=202, headers=None, **body):
    response = api.post(f"/flows/{flow_id}/backfill", json=body, headers=headers)
    assert response.status_code == status, response.text
    return response.json()["data"]


def get(api, flow_id, backfill_id):
    return api.data(f"/flows/{flow_id}/backfills/{backfill_id}")


def steer(api, flow_id, backfill_id, command, status=202):
    response = api.post(f"/flows/{flow_id}/backfills/{backfill_id}/{command}")
    assert response.status_code == status, response.text
    return response.json().get("data")


def wait_for(api, flow_id, backfill_id, *statuses, timeout=30):
    def arrived():
        backfill = get(api, flow_id, backfill_id)
        return backfill["status"] in statuses and not backfill["open"] and backfill

    return wait_until(arrived, timeout, f"{backfill_id} {statuses}")


def runs_of(api, flow_id, backfill_id=None):
    """Oldest first, as they were made."""
    label = {} if backfill_id is None else {"label": f"flowops.backfill={backfill_id}"}
    runs = api.data(f"/flows/{flow_id}/runs", params={"pageSize": 200, **label})
    return sorted(runs, key=lambda run: (run["createdAt"], run["labels"]["flowops.slot"]))


def slots_of(runs):
    return [run["labels"]["flowops.slot"] for run in runs]


def days(first, last):
    return [f"2026-01-{day:02}T05:00:00.000Z" for day in range(first, last + 1)]


def test_the_slots_of_a_range_run_in_order(api):
    flow_id = api.create_flow([step()], **DAILY, schedule={"inputs": {"day": "${slot.date}"}}, labels={"team": "red"})
    backfill = create(api, flow_id, **week(5))
    assert backfill["slots"] == backfill["slotsInRange"] == 5 and backfill["maxParallel"] == 1
    done = wait_for(api, flow_id, backfill["id"], "COMPLETED")
    assert done["completed"] == done["started"] == 5
    runs = runs_of(api, flow_id, backfill["id"])
    assert slots_of(runs) == days(1, 5)
    assert {run["triggeredBy"] for run in runs} == {"system"}
    assert {run["labels"]["team"] for run in runs} == {"red"}
    details = [api.status(run["id"]) for run in runs]
    assert [detail["inputs"]["day"] for detail in details] == [f"2026-01-{day:02}" for day in range(1, 6)]
    for one, next_one in zip(details, details[1:]):
        assert one["completedAt"] <= next_one["createdAt"]


def test_at_most_max_parallel_are_open(api):
    flow_id = api.create_flow([delay(300)], **DAILY)
    backfill = create(api, flow_id, **week(9), maxParallel=3)
    most = 0

    def ended():
        nonlocal most
        most = max(most, sum(run["status"] not in TERMINAL for run in runs_of(api, flow_id)))
        return get(api, flow_id, backfill["id"])["status"] == "COMPLETED"

    wait_until(ended, 30, "the backfill's end")
    assert most == 3
    assert sorted(slots_of(runs_of(api, flow_id))) == days(1, 9)


def test_a_dry_run_starts_nothing(api):
    flow_id = api.create_flow([step()], **DAILY)
    answer = create(api, flow_id, 200, **JANUARY, dryRun=True)
    assert answer["dryRun"] is True and answer["slots"] == 31
    assert [slot["slot"] for slot in answer["firstSlots"]] == days(1, 20)
    assert runs_of(api, flow_id) == [] and api.data(f"/flows/{flow_id}/backfills") == []
    backfill = create(api, flow_id, **week(1))
    wait_for(api, flow_id, backfill["id"], "COMPLETED")
    assert runs_of(api, flow_id)[0]["id"] == answer["firstSlots"][0]["runId"]


def test_a_slot_that_ran_never_runs_again(api):
    flow_id = api.create_flow([step()], **DAILY)
    first = create(api, flow_id, **week(3))
    wait_for(api, flow_id, first["id"], "COMPLETED")
    second = create(api, flow_id, **week(5))
    assert (second["slotsInRange"], second["slots"]) == (5, 2)
    wait_for(api, flow_id, second["id"], "COMPLETED")
    assert slots_of(runs_of(api, flow_id, second["id"])) == days(4, 5)
    nothing = create(api, flow_id, **week(5))
    assert nothing["status"] == "COMPLETED" and nothing["slots"] == 0
    for run in runs_of(api, flow_id):
        wait_until(lambda run=run: api.delete(f"/runs/{run['id']}").status_code == 204, what="the run's deletion")
    assert create(api, flow_id, 200, **week(5), dryRun=True)["slots"] == 0


def test_slots_that_the_schedule_started_are_no_gap(api):
    flow_id = api.create_flow([step()], cron="@every 1s")
    wait_until(lambda: len(runs_of(api, flow_id)) >= 2, what="two scheduled runs")
    assert api.put(f"/flows/{flow_id}", json={"name": "n", "cron": "@every 1s", "schedule": {"paused": True}}).status_code == 200
    wait_until(lambda: all(run["status"] in TERMINAL for run in runs_of(api, flow_id)), what="the runs' end")
    slots = slots_of(runs_of(api, flow_id))
    first, last = (datetime.datetime.fromisoformat(slot) for slot in (slots[0], slots[-1]))
    begin = first - datetime.timedelta(seconds=5)
    answer = create(api, flow_id, 200, **{"from": instant(begin), "to": instant(last + datetime.timedelta(milliseconds=1))}, dryRun=True)
    assert answer["slots"] == answer["slotsInRange"] - len(slots)
    assert not set(slots) & {slot["slot"] for slot in answer["firstSlots"]}
    for run in runs_of(api, flow_id):
        assert api.delete(f"/runs/{run['id']}").status_code == 204
    again = create(api, flow_id, 200, **{"from": instant(begin), "to": instant(last + datetime.timedelta(milliseconds=1))}, dryRun=True)
    assert again["slots"] == answer["slots"]


def test_pause_and_resume(api):
    flow_id = api.create_flow([delay(150)], **DAILY)
    backfill_id = create(api, flow_id, **week(6), maxParallel=2)["id"]
    wait_until(lambda: get(api, flow_id, backfill_id)["started"] >= 2, what="a start")
    paused = steer(api, flow_id, backfill_id, "pause")
    assert paused["status"] == "PAUSED" and paused["updatedBy"] == api.user
    assert steer(api, flow_id, backfill_id, "pause", 200)["status"] == "PAUSED"
    still = wait_for(api, flow_id, backfill_id, "PAUSED")
    assert still["started"] == still["completed"] == paused["started"]
    assert len(runs_of(api, flow_id)) == paused["started"]
    assert steer(api, flow_id, backfill_id, "resume")["status"] == "RUNNING"
    assert wait_for(api, flow_id, backfill_id, "COMPLETED")["completed"] == 6
    error_of(api.post(f"/flows/{flow_id}/backfills/{backfill_id}/cancel"), 409, "CONFLICT")


def test_cancel(api):
    flow_id = api.create_flow([delay(150)], **DAILY)
    backfill_id = create(api, flow_id, **week(20))["id"]
    wait_until(lambda: get(api, flow_id, backfill_id)["started"] >= 1, what="a start")
    cancelled = steer(api, flow_id, backfill_id, "cancel")
    assert cancelled["status"] == "CANCELLED" and cancelled["reason"] == "BY_USER"
    end = wait_for(api, flow_id, backfill_id, "CANCELLED")
    assert end["started"] == end["completed"] < 20
    assert len(runs_of(api, flow_id)) == end["started"]
    assert steer(api, flow_id, backfill_id, "cancel", 200)["status"] == "CANCELLED"
    error_of(api.post(f"/flows/{flow_id}/backfills/{backfill_id}/resume"), 409, "CONFLICT")
    rest = create(api, flow_id, 200, **week(20), dryRun=True)
    assert rest["slots"] == 20 - end["started"]


def test_failed_and_stopped_runs_are_counted(api):
    flow_id = api.create_flow([step("fail", inputs={"message": "no"})], **DAILY)
    backfill = create(api, flow_id, **week(3))
    assert wait_for(api, flow_id, backfill["id"], "COMPLETED")["failed"] == 3
    flow_id = api.create_flow([delay(60000)], **DAILY)
    backfill = create(api, flow_id, **week(2))
    for n in (1, 2):
        run = wait_until(lambda n=n: len(runs_of(api, flow_id)) == n and runs_of(api, flow_id)[-1], what=f"run {n}")
        assert api.command(run["id"], "stop").status_code == 202
    assert wait_for(api, flow_id, backfill["id"], "COMPLETED")["stopped"] == 2


def test_a_deleted_flow_cancels_its_backfill(api):
    flow_id = api.create_flow([delay(60000)], **DAILY)
    backfill_id = create(api, flow_id, **week(5))["id"]
    wait_until(lambda: len(runs_of(api, flow_id)) == 1, what="a run")
    assert api.delete(f"/flows/{flow_id}?force=true").status_code == 204
    end = wait_for(api, flow_id, backfill_id, "CANCELLED")
    assert (end["reason"], end["started"], end["stopped"]) == ("FLOW_DELETED", 1, 1)


def test_a_flow_that_loses_its_cron_cancels_its_backfill(api):
    flow_id = api.create_flow([delay(200)], **DAILY)
    backfill_id = create(api, flow_id, **week(20))["id"]
    wait_until(lambda: get(api, flow_id, backfill_id)["started"] >= 1, what="a start")
    assert api.put(f"/flows/{flow_id}", json={"name": "n"}).status_code == 200
    assert wait_for(api, flow_id, backfill_id, "CANCELLED")["reason"] == "NO_CRON"


def test_the_list_is_newest_first_and_paged(api, server):
    flow_id = api.create_flow([step()], **DAILY)
    made = [create(api, flow_id, **week(n))["id"] for n in (1, 2, 3)]
    for backfill_id in made:
        wait_for(api, flow_id, backfill_id, "COMPLETED")
    listed = api.data(f"/flows/{flow_id}/backfills")
    assert [backfill["id"] for backfill in listed] == made[::-1]
    assert listed[0] == get(api, flow_id, made[2])
    response = api.get(f"/flows/{flow_id}/backfills?pageSize=2").json()
    assert response["metadata"]["totalCount"] == 3
    cursor = response["metadata"]["additional"]["nextCursor"]
    rest = api.data(f"/flows/{flow_id}/backfills", params={"pageSize": 2, "cursor": cursor})
    assert [backfill["id"] for backfill in rest] == made[:1]
    stranger = Client(server)
    assert stranger.data(f"/flows/{flow_id}/backfills") == []
    error_of(stranger.get(f"/flows/{flow_id}/backfills/{made[0]}"), 404, "NOT_FOUND")
    error_of(stranger.post(f"/flows/{flow_id}/backfills/{made[0]}/pause"), 404, "NOT_FOUND")
    error_of(api.get(f"/flows/{new_id()}/backfills/{made[0]}"), 404, "NOT_FOUND")
    error_of(api.get(f"/flows/{flow_id}/backfills/x"), 400, "INVALID_REQUEST")


def test_the_same_key_makes_one(api):
    flow_id = api.create_flow([step()], **DAILY)
    key = {"Idempotency-Key": "again"}
    first = create(api, flow_id, headers=key, **week(2))
    wait_for(api, flow_id, first["id"], "COMPLETED")
    assert create(api, flow_id, headers=key, **week(2))["id"] == first["id"]
    error_of(api.post(f"/flows/{flow_id}/backfill", json=week(3), headers=key), 409, "CONFLICT")
    assert len(api.data(f"/flows/{flow_id}/backfills")) == 1


def test_refusals(api, server):
    flow_id = api.create_flow([step()], cron="* * * * *")
    path = f"/flows/{flow_id}/backfill"

    def refused(field, **body):
        return error_of(api.post(path, json=body), 400, "VALIDATION_ERROR", field)["message"]

    two_years = {"from": "2020-01-01T00:00:00Z", "to": "2021-12-31T00:00:00Z"}
    assert "at least 1000000 slots" in refused("from", **two_years)
    assert "44640 slots" in refused("from", **{**JANUARY})
    assert "44640 slots" in refused("from", **JANUARY, dryRun=True)
    assert "now" in refused("to", **{"from": "2026-01-01T00:00:00Z", "to": "2090-01-01T00:00:00Z"})
    refused("from", **{"from": "2100-01-01T00:00:00Z"})
    refused("to", **{"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"})
    refused("from", **{"from": "2090-01-01T00:00:00Z"})
    refused("from", **{"from": JANUARY["to"], "to": JANUARY["from"]})
    refused("from", to="2026-01-01T00:00:00Z")
    refused("maxParallel", **week(1), maxParallel=0)
    refused("maxParallel", **week(1), maxParallel=101)
    refused("dryRun", **week(1), dryRun="yes")
    error_of(api.post(path), 400, "INVALID_REQUEST")
    error_of(api.post(f"/flows/{api.create_flow()}/backfill", json=week(1)), 409, "CONFLICT")
    error_of(Client(server).post(path, json=week(1)), 404, "NOT_FOUND")
    error_of(api.post(f"/flows/{new_id()}/backfill", json=week(1)), 404, "NOT_FOUND")
    assert api.data(f"/flows/{flow_id}/backfills") == []


def test_too_many_open_ones(api):
    flow_id = api.create_flow([delay(60000)], **DAILY)
    for n in range(1, 21):
        create(api, flow_id, **week(n))
    assert "20" in error_of(api.post(f"/flows/{flow_id}/backfill", json=week(25)), 409, "CONFLICT")["message"]
    assert create(api, flow_id, 200, **week(25), dryRun=True)["slots"] > 0


def test_an_end_in_the_middle_costs_nothing(make_server):
    server = make_server().start()
    api = Client(server)
    flow_id = api.create_flow([delay(20)], cron="0 * * * *")
    backfill_id = create(api, flow_id, **{"from": "2026-01-01T00:00:00Z", "to": "2026-01-06T00:00:00Z"}, maxParallel=4)["id"]
    for n in (10, 40, 80):
        wait_until(lambda n=n: get(api, flow_id, backfill_id)["started"] >= n, what=f"{n} starts")
        server.kill()
        server.start()
    end = wait_for(api, flow_id, backfill_id, "COMPLETED", timeout=60)
    assert end["completed"] == end["started"] == 120 and end["deleted"] == 0
    slots = slots_of(runs_of(api, flow_id, backfill_id))
    assert len(slots) == len(set(slots)) == 120
    server.stop()


def test_a_paused_one_is_paused_after_a_restart(make_server):
    server = make_server().start()
    api = Client(server)
    flow_id = api.create_flow([delay(100)], **DAILY)
    backfill_id = create(api, flow_id, **week(5))["id"]
    steer(api, flow_id, backfill_id, "pause")
    paused = wait_for(api, flow_id, backfill_id, "PAUSED")
    server.restart()
    assert get(api, flow_id, backfill_id) == paused
    steer(api, flow_id, backfill_id, "resume")
    assert wait_for(api, flow_id, backfill_id, "COMPLETED")["completed"] == 5
    server.stop()


def test_no_room_for_runs_is_waited_for(make_server):
    server = make_server(MAX_OPEN_RUNS=2).start()
    api = Client(server)
    flow_id = api.create_flow([delay(100)], **DAILY)
    backfill_id = create(api, flow_id, **week(6), maxParallel=5)["id"]
    assert wait_for(api, flow_id, backfill_id, "COMPLETED")["completed"] == 6
    server.stop()
