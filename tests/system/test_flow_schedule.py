"""A flow's `schedule` over HTTP: kept, shown, replaced, and every fault of it at once."""

import pytest

pytestmark = pytest.mark.sanitizer

DEFAULTS = {
    "misfire": "LATEST",
    "misfireGraceSeconds": 60,
    "overlap": "ALLOW",
    "startAt": None,
    "endAt": None,
    "jitterSeconds": 0,
    "paused": False,
    "inputs": {},
}


def test_a_flow_without_a_schedule_says_null(api):
    assert api.data(f"/flows/{api.create_flow()}")["schedule"] is None


def test_a_schedule_comes_back_with_its_defaults(api):
    flow_id = api.create_flow(cron="0 9 * * mon-fri|0 12 L * *", schedule={})
    assert api.data(f"/flows/{flow_id}")["schedule"] == DEFAULTS


def test_a_schedule_comes_back_as_it_went_in(api):
    schedule = {
        "misfire": "ALL",
        "misfireGraceSeconds": 5,
        "overlap": "CANCEL_RUNNING",
        "startAt": "2026-02-01T00:00:00.000Z",
        "endAt": "2027-02-01T00:00:00.000Z",
        "jitterSeconds": 300,
        "paused": True,
        "inputs": {"day": "${slot.date}", "at": "${slot}"},
    }
    flow_id = api.create_flow(cron="@daily", schedule=schedule)
    assert api.data(f"/flows/{flow_id}")["schedule"] == schedule
    shown = api.data(f"/flows/{flow_id}")
    assert api.put(f"/flows/{flow_id}", json={"name": "n", "cron": shown["cron"], "schedule": shown["schedule"]}).status_code == 200
    assert api.data(f"/flows/{flow_id}")["schedule"] == schedule


def test_put_replaces_it_as_it_does_the_cron(api):
    flow_id = api.create_flow(cron="@daily", schedule={"paused": True})
    assert api.put(f"/flows/{flow_id}", json={"name": "n", "cron": "@daily"}).status_code == 200
    assert api.data(f"/flows/{flow_id}")["schedule"] is None


def test_every_fault_comes_with_its_path(api):
    schedule = {
        "misfire": "NEVER",
        "overlap": 1,
        "misfireGraceSeconds": -1,
        "jitterSeconds": 10**9,
        "startAt": "2026-02-01T00:00:00Z",
        "endAt": "2026-01-01T00:00:00Z",
        "paused": "no",
        "inputs": {"a": "${run.inputs.x}"},
    }
    response = api.post("/flows", json={"name": "n", "cron": "@every 1ms", "schedule": schedule})
    assert response.status_code == 400
    assert {error["field"] for error in response.json()["errors"]} == {"cron"} | {
        f"schedule.{name}" for name in ("misfire", "overlap", "misfireGraceSeconds", "jitterSeconds", "endAt", "paused", "inputs.a")
    }
