"""Runs over HTTP: starting, keys, steering, reading, listing, and what a delete does to them."""

import collections
import datetime
import re

import pytest

from harness import (
    BASE, TERMINAL, Client, Server, delay, error_of, in_threads, list_order, new_id, step, step_of, wait_until,
)

pytestmark = pytest.mark.sanitizer

INSTANT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,}Z$")
DETAIL = {
    "id", "flowId", "triggeredBy", "status", "error", "startedAt", "completedAt", "outputs", "steps",
    "createdAt", "updatedAt", "seq", "pendingCommand", "flowVersion", "labels",
}
STEP = {"stepId", "status", "error", "startedAt", "completedAt", "attempt", "outputs"}
A_MINUTE = 60_000


@pytest.fixture(scope="module")
def idle_server(tmp_path_factory):
    """Without an engine: what is started stays as it was accepted."""
    server = Server(tmp_path_factory.mktemp("idle") / "data", ENGINE="off").start()
    yield server
    server.stop()


@pytest.fixture
def idle(idle_server):
    return Client(idle_server)


# ---- start ----


def test_a_start_is_accepted_with_the_runs_place(idle):
    flow_id = idle.create_flow([step()])
    response = idle.post(f"/flows/{flow_id}/start")
    assert response.status_code == 202
    run_id = response.json()["data"]
    assert isinstance(run_id, str)
    assert response.headers["Location"].endswith(f"{BASE}/runs/{run_id}/status")
    response = idle.get(f"/runs/{run_id}/status")
    detail = response.json()["data"]
    assert response.headers["ETag"] == '"1"' and detail["seq"] == 1
    assert detail["id"] == run_id and detail["flowId"] == flow_id and detail["triggeredBy"] == idle.user
    assert detail["status"] == "PENDING" and detail["flowVersion"] == 1
    assert detail["pendingCommand"]["command"] == "START"
    assert set(detail["pendingCommand"]) == {"command", "commandId", "requestedAt"}


def test_a_runs_detail_has_every_member_and_null_where_there_is_no_value(idle):
    detail = idle.status(idle.start(idle.create_flow([step()])))
    assert DETAIL <= set(detail)
    assert STEP <= set(detail["steps"][0])
    for name in ("error", "startedAt", "completedAt"):
        assert detail[name] is None and detail["steps"][0][name] is None
    assert detail["steps"][0]["status"] == "PENDING" and detail["steps"][0]["outputs"] is None
    assert detail["labels"] == {} and INSTANT.match(detail["createdAt"])


def test_a_finished_run(api):
    detail = api.run([step(inputs={"x": "1"})])
    assert detail["status"] == "COMPLETED" and detail["error"] is None and detail["pendingCommand"] is None
    assert detail["startedAt"] <= detail["completedAt"]
    one = detail["steps"][0]
    assert one["status"] == "COMPLETED" and one["attempt"] == 1 and one["outputs"] == {"x": "1"}
    assert detail["startedAt"] <= one["startedAt"] <= one["completedAt"] <= detail["completedAt"]


def test_steps_are_flattened_in_definition_order(idle):
    names = "a b c d e f g h".split()
    ids = {name: new_id() for name in names}

    def named(name, **members):
        return step(step_id=ids[name], **members)

    tree = [
        named("a", children=[named("b", children=[named("c")]), named("d")]),
        {
            "stepId": ids["e"], "type": "DECISION",
            "branches": [{"condition": "true", "steps": [named("g")]}, {"steps": [named("h")]}],
            "children": [named("f")],
        },
    ]
    detail = idle.status(idle.start(idle.create_flow(tree)))
    assert [one["stepId"] for one in detail["steps"]] == [ids[name] for name in names]


def test_a_flow_without_steps_completes_at_once(api):
    detail = api.run([])
    assert detail["status"] == "COMPLETED" and detail["steps"] == []


def test_what_a_start_may_say(idle):
    flow_id = idle.create_flow([step()], labels={"team": "a", "env": "test"})
    body = {"flowId": flow_id, "triggeredBy": "nightly", "labels": {"env": "live", "n": "1"}, "inputs": {"x": "y"}, "other": 1}
    detail = idle.status(idle.start(flow_id, body))
    assert detail["triggeredBy"] == "nightly"
    assert detail["labels"] == {"team": "a", "env": "live", "n": "1"}
    assert idle.start(flow_id, {}) and idle.start(flow_id, {"flowId": None, "triggeredBy": None, "labels": None})


def test_what_a_start_must_not_say(idle):
    flow_id = idle.create_flow([step()])
    path = f"/flows/{flow_id}/start"
    error_of(idle.post(path, json={"flowId": new_id()}), 400, "VALIDATION_ERROR", "flowId")
    response = idle.post(path, json={"flowId": 5, "triggeredBy": {}, "labels": {"a": 1}, "inputs": []})
    assert {error["field"] for error in response.json()["errors"]} == {"flowId", "triggeredBy", "labels.a", "inputs"}
    error_of(idle.post(path, json={"inputs": {"x": "y" * 65537}}), 400, "VALIDATION_ERROR")
    error_of(idle.post(path, data=b"{", headers={"Content-Type": "application/json"}), 400, "INVALID_REQUEST")
    assert idle.data("/runs") == []


def test_a_run_keeps_the_definition_it_started_with(idle):
    old, new = new_id(), new_id()
    flow_id = idle.create_flow([step(step_id=old)])
    first = idle.start(flow_id)
    assert idle.put(f"/flows/{flow_id}", json={"name": "b", "steps": [step(step_id=new)]}).status_code == 200
    second = idle.start(flow_id)
    assert [one["stepId"] for one in idle.status(first)["steps"]] == [old]
    assert [one["stepId"] for one in idle.status(second)["steps"]] == [new]
    assert idle.status(first)["flowVersion"] == 1 and idle.status(second)["flowVersion"] == 2


# ---- idempotency ----


def test_the_same_key_gives_the_same_run(idle):
    flow_id = idle.create_flow([step()])
    body = {"labels": {"b": "2", "a": "1"}, "inputs": {"x": "é"}}
    first = idle.start(flow_id, body, headers={"Idempotency-Key": "k-1"})
    again = idle.post(f"/flows/{flow_id}/start", headers={"Idempotency-Key": "k-1", "Content-Type": "application/json"},
                      data=' {"inputs": {"x": "\\u00e9"}, "labels": {"a": "1", "b": "2"}} ')
    assert again.status_code == 202 and again.json()["data"] == first
    assert idle.start(flow_id, body, headers={"Idempotency-Key": "k-2"}) != first
    assert idle.start(flow_id, body) != first
    assert len(idle.data("/runs")) == 3


def test_the_same_key_with_another_body_is_a_conflict(idle):
    flow_id = idle.create_flow([step()])
    idle.start(flow_id, {"inputs": {"x": "1"}}, headers={"Idempotency-Key": "k"})
    error_of(idle.post(f"/flows/{flow_id}/start", json={"inputs": {"x": "2"}}, headers={"Idempotency-Key": "k"}), 409, "CONFLICT")
    error_of(idle.post(f"/flows/{flow_id}/start", headers={"Idempotency-Key": "k"}), 409, "CONFLICT")


def test_a_key_is_its_owners_and_its_flows(idle_server, idle):
    key = {"Idempotency-Key": "the-same"}
    first_flow, second_flow = idle.create_flow(), idle.create_flow()
    other = Client(idle_server)
    runs = {idle.start(first_flow, headers=key), idle.start(second_flow, headers=key), other.start(other.create_flow(), headers=key)}
    assert len(runs) == 3


def test_a_key_holds_after_a_delete(api):
    flow_id = api.create_flow([step()])
    run_id = api.start(flow_id, headers={"Idempotency-Key": "k"})
    api.wait_end(run_id)
    assert api.delete(f"/flows/{flow_id}").status_code == 204
    assert api.start(flow_id, headers={"Idempotency-Key": "k"}) == run_id
    error_of(api.post(f"/flows/{flow_id}/start", headers={"Idempotency-Key": "other"}), 404, "NOT_FOUND")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\xe9"])
def test_keys_that_are_none(idle, key):
    flow_id = idle.create_flow()
    response = idle.post(f"/flows/{flow_id}/start", headers={"Idempotency-Key": key.encode("latin-1")})
    assert response.status_code == 400, response.text
    assert idle.start(flow_id, headers={"Idempotency-Key": "~" * 255})


def test_many_starts_with_one_key_at_once_make_one_run(idle):
    flow_id = idle.create_flow([step()])
    clients = [Client(idle.server, idle.user) for _ in range(8)]
    runs = in_threads(lambda i: clients[i % 8].start(flow_id, headers={"Idempotency-Key": "race"}), range(32), 8)
    assert len(set(runs)) == 1 and len(idle.data("/runs")) == 1


# ---- pause, resume, stop ----


def test_a_command_is_recorded_not_carried_out(idle):
    run_id = idle.start(idle.create_flow([step()]))
    response = idle.command(run_id, "stop")
    assert response.status_code == 202
    detail = response.json()["data"]
    assert detail["status"] == "PENDING" and detail["pendingCommand"]["command"] == "STOP" and detail["seq"] == 2
    assert response.headers["ETag"] == '"2"'
    assert idle.status(run_id) == detail


def test_thirty_stops_at_once(idle):
    run_id = idle.start(idle.create_flow([step()]))
    clients = [Client(idle.server, idle.user) for _ in range(30)]
    answers = in_threads(lambda client: client.command(run_id, "stop"), clients, 30)
    assert collections.Counter(answer.status_code for answer in answers) == {202: 1, 200: 29}
    assert len({answer.json()["data"]["pendingCommand"]["commandId"] for answer in answers}) == 1
    assert idle.status(run_id)["seq"] == 2


def test_a_stop_takes_a_pauses_place_and_nothing_takes_its_own(idle):
    run_id = idle.start(idle.create_flow([step()]))
    assert idle.command(run_id, "pause").status_code == 202
    assert idle.command(run_id, "pause").status_code == 200
    assert idle.command(run_id, "resume").status_code == 202
    assert idle.command(run_id, "pause").status_code == 202
    assert idle.command(run_id, "stop").status_code == 202
    for command in ("pause", "resume"):
        assert "STOP" in error_of(idle.command(run_id, command), 409, "CONFLICT")["message"]
    assert idle.command(run_id, "stop").status_code == 200
    commands = [event.get("command") for event in idle.events(run_id)]
    assert commands == ["START", "PAUSE", "RESUME", "PAUSE", "STOP"]


def test_what_the_state_rules_out_names_it(api):
    run_id = api.run([step()])["id"]
    for command in ("pause", "resume", "stop"):
        assert "COMPLETED" in error_of(api.command(run_id, command), 409, "CONFLICT")["message"]


def test_a_stop_cannot_be_forced_before_its_time(idle):
    run_id = idle.start(idle.create_flow([step()]))
    error_of(idle.command(run_id, "stop?force=true"), 409, "CONFLICT")
    idle.command(run_id, "stop")
    error_of(idle.command(run_id, "stop?force=true"), 409, "CONFLICT")
    assert idle.status(run_id)["status"] == "PENDING"


def test_if_match_on_commands(idle):
    run_id = idle.start(idle.create_flow([step()]))
    error_of(idle.command(run_id, "pause", headers={"If-Match": '"9"'}), 412, "PRECONDITION_FAILED")
    assert idle.command(run_id, "pause", headers={"If-Match": '"1"'}).status_code == 202
    error_of(idle.command(run_id, "stop", headers={"If-Match": '"1"'}), 412, "PRECONDITION_FAILED")
    assert idle.command(run_id, "stop", headers={"If-Match": "*"}).status_code == 202


def test_if_none_match_on_status(idle):
    run_id = idle.start(idle.create_flow([step()]))
    assert idle.get(f"/runs/{run_id}/status", headers={"If-None-Match": '"1"'}).status_code == 304
    idle.command(run_id, "pause")
    assert idle.get(f"/runs/{run_id}/status", headers={"If-None-Match": '"1"'}).status_code == 200


def test_commands_on_runs_that_are_not_there(api):
    for command in ("pause", "resume", "stop"):
        error_of(api.command(new_id(), command), 404, "NOT_FOUND")
        error_of(api.command("x", command), 400, "INVALID_REQUEST")


def test_stop_cancels_what_runs_and_what_waits(api):
    running, waiting = new_id(), new_id()
    flow_id = api.create_flow([delay(A_MINUTE, step_id=running), step(step_id=waiting, inputs={"x": f"${{{running}.ms}}"})])
    run_id = api.start(flow_id)
    api.wait_step(run_id, running, "RUNNING")
    response = api.command(run_id, "stop")
    assert response.status_code == 202
    detail = api.wait_end(run_id, timeout=10)
    assert detail["status"] == "STOPPED" and detail["pendingCommand"] is None and detail["completedAt"]
    assert {one["status"] for one in detail["steps"]} == {"CANCELLED"}
    assert api.command(run_id, "stop").status_code == 200
    error_of(api.command(run_id, "pause"), 409, "CONFLICT")


def test_pause_lets_running_steps_finish_and_starts_nothing_new(api):
    first, second = new_id(), new_id()
    flow_id = api.create_flow([delay(400, step_id=first), step(step_id=second, inputs={"x": f"after ${{{first}.ms}}"})])
    run_id = api.start(flow_id)
    api.wait_step(run_id, first, "RUNNING")
    assert api.command(run_id, "pause").status_code == 202
    detail = api.wait_status(run_id, "PAUSED")
    assert step_of(detail, first)["status"] == "COMPLETED" and step_of(detail, second)["status"] == "PENDING"
    assert detail["pendingCommand"] is None
    assert api.command(run_id, "pause").status_code == 200
    assert api.command(run_id, "resume").status_code == 202
    detail = api.wait_end(run_id)
    assert detail["status"] == "COMPLETED" and step_of(detail, second)["status"] == "COMPLETED"


def test_a_paused_run_can_be_stopped(api):
    first = new_id()
    run_id = api.start(api.create_flow([delay(200, step_id=first), step(inputs={"x": f"${{{first}.ms}}"})]))
    api.wait_step(run_id, first, "RUNNING")
    api.command(run_id, "pause")
    api.wait_status(run_id, "PAUSED")
    assert api.command(run_id, "stop").status_code == 202
    assert api.wait_end(run_id)["status"] == "STOPPED"


def test_pause_and_resume_many_times_loses_nothing(api):
    steps, last = [], None
    for _ in range(12):
        inputs = {"ms": "20", **({"after": f"${{{last}.ms}}"} if last else {})}
        steps.append(step("delay", inputs=inputs))
        last = steps[-1]["stepId"]
    run_id = api.start(api.create_flow(steps))
    while api.status(run_id)["status"] not in TERMINAL:
        for command in ("pause", "resume"):
            response = api.command(run_id, command)
            assert response.status_code in (200, 202) or api.status(run_id)["status"] in TERMINAL | {"PENDING"}, response.text
        detail = api.status(run_id)
        pending = detail["pendingCommand"]
        if detail["status"] == "PAUSED" and not (pending and pending["command"] == "RESUME"):
            api.command(run_id, "resume")
    detail = api.wait_end(run_id)
    assert detail["status"] == "COMPLETED" and {one["status"] for one in detail["steps"]} == {"COMPLETED"}
    assert [one["attempt"] for one in detail["steps"]] == [1] * 12


# ---- the journal ----


def test_events_count_up_by_one_and_tell_the_story(api):
    detail = api.run([step()])
    events = api.events(detail["id"])
    assert [event["seq"] for event in events] == list(range(1, detail["seq"] + 1))
    assert events[0]["eventType"] == "RUN_CREATED" and events[0]["command"] == "START"
    story = [(event["eventType"], event.get("status")) for event in events[1:]]
    assert story == [("FLOW_STATUS", "RUNNING"), ("STEP_STATUS", "RUNNING"), ("STEP_STATUS", "COMPLETED"), ("FLOW_STATUS", "COMPLETED")]
    assert all(event["runId"] == detail["id"] and event["flowId"] == detail["flowId"] for event in events)
    assert all(INSTANT.match(event["timestamp"]) for event in events)


def test_events_in_pages(api):
    run_id = api.run([step() for _ in range(5)])["id"]
    everything = api.events(run_id)
    pages, after = [], 0
    while page := api.events(run_id, after=after, limit=4):
        assert len(page) <= 4
        pages += page
        after = page[-1]["seq"]
    assert pages == everything
    assert api.events(run_id, after=10**6) == []
    for params in ({"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": "x"}):
        assert api.get(f"/runs/{run_id}/events", params=params).status_code == 400
    error_of(api.get(f"/runs/{new_id()}/events"), 404, "NOT_FOUND")


# ---- lists ----


def ids(api, path="/runs", **params):
    return [run["id"] for run in api.data(path, params={name.rstrip("_"): value for name, value in params.items()})]


def test_lists_and_their_filters(idle):
    first_flow, second_flow = idle.create_flow([step()], labels={"team": "red"}), idle.create_flow([step()])
    one = idle.start(first_flow)
    two = idle.start(first_flow, {"triggeredBy": "me", "labels": {"team": "blue"}})
    three = idle.start(second_flow, {"labels": {"k=v": "x=y"}})
    wait_until(lambda: ids(idle) == [three, two, one], 5, "the list")  # lists may lag by a second
    summary = idle.data("/runs")[0]
    assert "steps" not in summary and "outputs" not in summary and DETAIL - {"steps", "outputs"} <= set(summary)
    assert ids(idle, f"/flows/{first_flow}/runs") == [two, one] == ids(idle, flowId=first_flow)
    assert ids(idle, triggeredBy="me") == [two]
    assert ids(idle, label="team") == [two, one]
    assert ids(idle, label="team=red") == [one]
    assert ids(idle, status="PENDING") == [three, two, one] and ids(idle, status="COMPLETED") == []
    assert ids(idle, flowId=first_flow, label="team=blue", status="PENDING", triggeredBy="me") == [two]
    assert ids(idle, flowId=new_id()) == []
    created = [idle.status(run_id)["createdAt"] for run_id in (one, three)]
    assert ids(idle, from_=created[0], to="2100-01-01T00:00:00Z") == [three, two, one]
    assert ids(idle, to=created[0]) == []
    future = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).isoformat()
    assert ids(idle, from_=future) == [] and ids(idle, to=future) == [three, two, one]
    for params in ({"status": "DONE"}, {"flowId": "x"}, {"from": "yesterday"}, {"to": "1"}, {"label": "=x"}):
        assert idle.get("/runs", params=params).status_code == 400, params


def test_keys_may_have_dots_and_dollars(api):
    values = {"a.b": "1", "$set": "2", ".": "3", "$": "", "x.$y.z": "a.$b"}
    labels = {"a.b": "$c", "$in": "x.y"}
    detail = api.run([step(inputs=values)], labels=labels)
    assert detail["status"] == "COMPLETED" and detail["steps"][0]["outputs"] == values and detail["labels"] == labels
    assert api.data(f"/flows/{detail['flowId']}")["steps"][0]["inputs"] == values
    done = [event for event in api.events(detail["id"]) if event.get("outputs")]
    assert [event["outputs"] for event in done] == [values]
    for label in ("a.b=$c", "a.b", "$in=x.y", "$in"):
        assert [run["id"] for run in api.data("/runs", params={"label": label})] == [detail["id"]], label


def test_a_filter_follows_the_status(api):
    flow_id = api.create_flow([delay(A_MINUTE)])
    run_id = api.start(flow_id)
    wait_until(lambda: ids(api, status="RUNNING") == [run_id], what="RUNNING in the list")
    api.command(run_id, "stop")
    api.wait_end(run_id)
    wait_until(lambda: ids(api, status="STOPPED") == [run_id] and ids(api, status="RUNNING") == [], what="STOPPED in the list")


def test_runs_in_pages_with_a_filter(idle):
    flow_id, other = idle.create_flow(), idle.create_flow()
    runs = [idle.start(flow_id) for _ in range(7)]
    for _ in range(3):
        idle.start(other)
    wait_until(lambda: len(idle.data("/runs")) == 10, 5)
    page = idle.get("/runs", params={"flowId": flow_id, "pageSize": 3}).json()
    assert page["metadata"]["totalCount"] == 7
    seen = [run["id"] for run in page["data"]]
    while cursor := page["metadata"].get("additional", {}).get("nextCursor"):
        idle.start(flow_id)
        page = idle.get("/runs", params={"flowId": flow_id, "pageSize": 3, "cursor": cursor}).json()
        seen += [run["id"] for run in page["data"]]
    assert seen == list_order(idle.status(run_id) for run_id in runs)


# ---- flows with runs ----


def test_delete_counts_what_is_going(idle):
    flow_id = idle.create_flow([step()])
    for _ in range(3):
        idle.start(flow_id)
    assert "3" in error_of(idle.delete(f"/flows/{flow_id}"), 409, "CONFLICT")["message"]
    assert idle.data(f"/flows/{flow_id}")["version"] == 1


def test_delete_with_force_stops_what_is_going(api):
    flow_id = api.create_flow([delay(A_MINUTE)])
    runs = [api.start(flow_id) for _ in range(3)]
    for run_id in runs:
        api.wait_status(run_id, "RUNNING")
    error_of(api.delete(f"/flows/{flow_id}"), 409, "CONFLICT")
    assert api.delete(f"/flows/{flow_id}?force=true").status_code == 204
    error_of(api.get(f"/flows/{flow_id}"), 404, "NOT_FOUND")
    for run_id in runs:
        assert api.wait_end(run_id, timeout=15)["status"] == "STOPPED"


def test_a_deleted_flows_runs_stay_readable(api):
    detail = api.run([step()])
    assert api.delete(f"/flows/{detail['flowId']}").status_code == 204
    assert api.status(detail["id"]) == detail
    assert api.events(detail["id"])
    assert ids(api) == [detail["id"]]


# ---- limits ----


def test_starts_beyond_the_limit_of_open_runs_are_503_and_then_fit_again(make_server):
    server = make_server(MAX_OPEN_RUNS=2).start()
    api = Client(server)
    flow_id = api.create_flow([delay(A_MINUTE)])
    runs = [api.start(flow_id) for _ in range(2)]
    response = api.post(f"/flows/{flow_id}/start")
    error_of(response, 503, "UNAVAILABLE")
    assert int(response.headers["Retry-After"]) >= 1
    assert response.json()["metadata"]["additional"]["outcome"] == "none"
    api.command(runs[0], "stop")
    api.wait_end(runs[0])
    wait_until(lambda: api.post(f"/flows/{flow_id}/start").status_code == 202, 5, "room")
    server.stop()
