"""What a schedule is going to do, asked before it is saved and after."""

import datetime

import pytest

from harness import Client, error_of, new_id

pytestmark = pytest.mark.sanitizer

BERLIN = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}


def slots(answer, member="slot"):
    return [slot[member] for slot in answer["slots"]]


def preview(api, **body):
    response = api.post("/schedules/preview", json=body)
    assert response.status_code == 200, response.text
    return response.json()["data"]


def test_a_cron_that_is_not_saved_yet(api):
    answer = preview(api, **BERLIN, count=3, **{"from": "2026-03-28T00:00:00Z"})
    assert answer["description"] == "at 02:30 every day"
    assert slots(answer) == ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
    assert slots(answer, "local") == [
        "2026-03-28T02:30:00.000+01:00",
        "2026-03-29T03:00:00.000+02:00",
        "2026-03-30T02:30:00.000+02:00",
    ]
    assert answer["flowId"] is None


def test_without_a_from_it_begins_now(api):
    answer = preview(api, cron="@every 1s", count=1000)
    assert len(answer["slots"]) == 1000
    first = datetime.datetime.fromisoformat(slots(answer)[0])
    assert abs((first - datetime.datetime.now(datetime.UTC)).total_seconds()) < 10


def test_a_saved_flow_shows_when_each_slot_starts(api):
    flow_id = api.create_flow(**BERLIN, schedule={"jitterSeconds": 600})
    path = f"/flows/{flow_id}/schedule?count=5&from=2026-03-28T00:00:00Z"
    answer = api.data(path)
    assert answer == api.data(path)
    assert answer["flowId"] == flow_id and answer["schedule"]["jitterSeconds"] == 600
    unsaved = preview(api, **BERLIN, count=5, **{"from": "2026-03-28T00:00:00Z"}, schedule={"jitterSeconds": 600})
    assert slots(answer) == slots(unsaved) and slots(unsaved, "runAt") == [None] * 5
    late = [
        (datetime.datetime.fromisoformat(slot["runAt"]) - datetime.datetime.fromisoformat(slot["slot"])).total_seconds()
        for slot in answer["slots"]
    ]
    assert all(0 <= seconds <= 600 for seconds in late) and len(set(late)) > 1
    assert len(api.data(f"/flows/{flow_id}/schedule")["slots"]) == 20


def test_a_flow_without_a_cron_has_no_slots(api):
    answer = api.data(f"/flows/{api.create_flow()}/schedule")
    assert answer["cron"] is None and answer["description"] is None and answer["slots"] == []


def test_somebody_elses_schedule_is_not_there(api, server):
    flow_id = api.create_flow(**BERLIN)
    error_of(Client(server).get(f"/flows/{flow_id}/schedule"), 404, "NOT_FOUND")
    error_of(api.get(f"/flows/{new_id()}/schedule"), 404, "NOT_FOUND")
    assert api.delete(f"/flows/{flow_id}").status_code == 204
    error_of(api.get(f"/flows/{flow_id}/schedule"), 404, "NOT_FOUND")


def test_every_fault_of_the_question(api):
    body = {
        "cron": "0 25 * * *",
        "timezone": "Europe/Berln",
        "count": 1001,
        "from": "2100-01-01T00:00:00Z",
        "schedule": {"startAt": "2026-02-02T00:00:00Z", "endAt": "2026-02-01T00:00:00Z"},
    }
    response = api.post("/schedules/preview", json=body)
    fields = {error["field"] for error in response.json()["errors"]}
    assert fields == {"cron", "timezone", "count", "from", "schedule.endAt"}
    assert "column 3" in error_of(response, 400, "VALIDATION_ERROR", "cron")["message"]
    assert "Europe/Berlin" in error_of(response, 400, "VALIDATION_ERROR", "timezone")["message"]
    for cron in ("@every 1ms", "30 2 31 2 *", "", "* * * *"):
        error_of(api.post("/schedules/preview", json={"cron": cron}), 400, "VALIDATION_ERROR", "cron")
    flow_id = api.create_flow(**BERLIN)
    for query, field in (("count=0", "count"), ("count=1001", "count"), ("from=x", "from"), ("from=2100-01-01T00:00:00Z", "from")):
        error_of(api.get(f"/flows/{flow_id}/schedule?{query}"), 400, "VALIDATION_ERROR", field)


def test_a_flow_with_a_mistyped_zone_gets_near_matches_too(api):
    flow_id = api.create_flow(**BERLIN)
    for response in (
        api.post("/flows", json={"name": "n", "cron": "@daily", "timezone": "berlin"}),
        api.put(f"/flows/{flow_id}", json={"name": "n", "cron": "@daily", "timezone": "Amerika/New_York"}),
    ):
        assert "did you mean" in error_of(response, 400, "VALIDATION_ERROR", "timezone")["message"]


def test_a_machine_without_zone_files_says_so_once_and_has_utc(make_server, tmp_path):
    empty = tmp_path / "zones"
    empty.mkdir()
    server = make_server(TZDIR=empty).start()
    assert server.log().count("there are no time zone files") == 1
    api = Client(server)
    assert len(preview(api, cron="@daily", timezone="UTC", count=2)["slots"]) == 2
    message = error_of(api.post("/schedules/preview", json=BERLIN), 400, "VALIDATION_ERROR", "timezone")["message"]
    assert "did you mean" not in message
    server.stop()
