"""Taking over what the service that was here before wrote: documents of its shape, written as its driver wrote them, read back
over REST."""

import datetime
import subprocess
import uuid

import pymongo
import pytest
from bson.binary import Binary, UuidRepresentation

from harness import BINARY, Client, Server, environment, mongo_uri, new_id
from upkeep import flowops, kill_copies, stored_run_ids

OWNER = "11111111-2222-4333-8444-555555555555"
T0 = datetime.datetime(2024, 3, 1, 9, 0, 0, 123000, tzinfo=datetime.timezone.utc)


def java(text):
    """A UUID as the old driver stored it."""
    return Binary.from_uuid(uuid.UUID(text), UuidRepresentation.JAVA_LEGACY)


def standard(text):
    return Binary.from_uuid(uuid.UUID(text), UuidRepresentation.STANDARD)


def at(seconds):
    return T0 + datetime.timedelta(seconds=seconds)


def shown(seconds):
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%S.") + "123Z"


def flow_of(flow_id, steps=(), **members):
    return {"_id": java(flow_id), "_class": "com.flowops.execution.model.Flow", "name": "old", "ownerId": java(OWNER),
            "createdAt": at(0), "updatedAt": at(5), "steps": list(steps), **members}


def step_of(step_id, plugin="echo", **members):
    return {"stepId": java(step_id), "pluginId": plugin, "type": "action", "inputs": {"x": "1"}, **members}


def run_of(run_id, flow_id, status, steps=(), **members):
    return {"_id": java(run_id), "_class": "com.flowops.execution.model.FlowRun", "flowId": java(flow_id),
            "triggeredBy": java(OWNER), "status": status, "steps": list(steps), **members}


def state(step_id, status, **members):
    return {"stepId": java(step_id), "status": status, **members}


@pytest.fixture
def old():
    """A database with what the old service wrote."""
    with pymongo.MongoClient(mongo_uri(), tz_aware=True) as client:
        name = f"old_{new_id()[:13].replace('-', '')}"
        yield client[name]
        client.drop_database(name)


@pytest.fixture
def target(tmp_path):
    """A store of ours, named as the tests of this server name theirs; not started."""
    server = Server(tmp_path / "target")
    yield server
    server.kill()
    with pymongo.MongoClient(mongo_uri()) as client:
        client.drop_database(server.settings["MONGO_DB"])


def take_over(old, target, *arguments, status=0):
    done = subprocess.run([BINARY, "copy", "--from-legacy", mongo_uri(old.name), "--to", mongo_uri(target.settings["MONGO_DB"]), *arguments],
                          env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def client_of(target, user=OWNER):
    return Client(target.start(), user=user)


def test_the_byte_order_of_the_manual():
    text = "00112233-4455-6677-8899-aabbccddeeff"
    assert bytes(java(text)).hex() == "7766554433221100ffeeddccbbaa9988" and java(text).subtype == 3


def test_a_flow_is_taken_with_its_tree(old, target):
    flow_id, ids = new_id(), [new_id() for _ in range(5)]
    old.flows.insert_one(flow_of(flow_id, [
        step_of(ids[0], plugin=java(ids[4]), config={"timeoutMs": 1000, "retryCount": 2}, outputs={"y": "string"}, children=[step_of(ids[1])]),
        {"stepId": standard(ids[2]), "type": "Decision", "branches": [
            {"branchId": java(new_id()), "condition": "1 == 1", "steps": [step_of(ids[3], inputs={"n": 7, "b": True})]}]},
    ], cron="0 0 9 * * ?"))
    report = take_over(old, target)
    assert "1 of 1 flow versions" in report and "both sides hold the same" in report
    api = client_of(target)
    assert [flow["id"] for flow in api.data("/flows")] == [flow_id]
    flow = api.data(f"/flows/{flow_id}")
    assert (flow["name"], flow["version"], flow["createdAt"], flow["updatedAt"]) == ("old", 1, shown(0), shown(5))
    assert flow["cron"] == "0 0 9 * * *"
    first, second = flow["steps"]
    assert (first["stepId"], first["pluginId"], first["type"]) == (ids[0], ids[4], "ACTION")
    assert first["config"] == {"timeoutMs": 1000, "retryCount": 2, "retryDelayMs": None}
    assert first["children"][0]["stepId"] == ids[1] and first["outputs"] == {"y": "string"}
    assert second["type"] == "DECISION" and second["branches"][0]["steps"][0]["inputs"] == {"n": "7", "b": "true"}
    target.stop()


@pytest.mark.parametrize("status", ["COMPLETED", "failed", "Stopped"])
def test_an_ended_run_says_what_its_document_said(old, target, status):
    flow_id, run_id, ids = new_id(), new_id(), [new_id() for _ in range(3)]
    old.flows.insert_one(flow_of(flow_id, [step_of(step_id) for step_id in ids]))
    old.runs.insert_one(run_of(run_id, flow_id, status, [
        state(ids[0], "Completed", startedAt=at(11), completedAt=at(12), outputs={"y": 1, "z": {"deep": [1, "a"]}}),
        state(ids[1], "failed", startedAt=at(11), completedAt=at(13), error="no"),
        state(ids[2], "SKIPPED", completedAt=at(13)),
    ], startedAt=at(10), completedAt=at(14), createdAt=at(9), error="it ended"))
    take_over(old, target)
    api = client_of(target)
    run = api.status(run_id)
    assert (run["status"], run["error"], run["flowId"], run["triggeredBy"]) == (status.upper(), "it ended", flow_id, OWNER)
    assert (run["createdAt"], run["startedAt"], run["completedAt"]) == (shown(9), shown(10), shown(14))
    assert run["pendingCommand"] is None and run["flowVersion"] == 1
    told = [(step["stepId"], step["status"], step["error"], step["startedAt"], step["completedAt"]) for step in run["steps"]]
    assert told == [(ids[0], "COMPLETED", None, shown(11), shown(12)), (ids[1], "FAILED", "no", shown(11), shown(13)),
                    (ids[2], "SKIPPED", None, None, shown(13))]
    assert run["steps"][0]["outputs"] == {"y": 1, "z": {"deep": [1, "a"]}}
    events = api.events(run_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["eventType"], events[1]["status"], events[-1]["status"]) == ("RUN_CREATED", "RUNNING", status.upper())
    target.stop()


def test_ids_in_any_form_and_what_has_no_createdAt(old, target):
    flow_id, run_ids = new_id(), [new_id() for _ in range(4)]
    old.flows.insert_one({**flow_of(flow_id), "_id": standard(flow_id), "ownerId": OWNER.upper()})
    runs = [{**run_of(run_ids[0], flow_id, "COMPLETED", startedAt=at(3), completedAt=at(8)), "_id": run_ids[0].upper()},
            {**run_of(run_ids[1], flow_id, "COMPLETED", completedAt=at(6)), "_id": standard(run_ids[1])},
            run_of(run_ids[2], flow_id, "FAILED", startedAt=at(1), completedAt=at(2)), run_of(run_ids[3], flow_id, "COMPLETED")]
    runs[2]["flowId"] = flow_id
    del runs[2]["triggeredBy"]
    old.runs.insert_many(runs)
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
    take_over(old, target)
    assert "0 of 4 runs" in take_over(old, target)  # the time of the copy stays what it was
    api = client_of(target)
    assert [api.status(run_id)["createdAt"] for run_id in run_ids[:3]] == [shown(3), shown(6), shown(1)]
    assert api.status(run_ids[3])["createdAt"] > before.isoformat()
    assert api.status(run_ids[2])["triggeredBy"] == OWNER
    target.stop()


def test_unfinished_runs_go_on(old, target):
    flow_id, ids = new_id(), [new_id(), new_id()]
    pending, running, paused = new_id(), new_id(), new_id()
    old.flows.insert_one(flow_of(flow_id, [step_of(step_id) for step_id in ids]))
    done = state(ids[0], "COMPLETED", startedAt=at(2), completedAt=at(3))
    old.runs.insert_many([
        run_of(pending, flow_id, "SCHEDULED", createdAt=at(1)),
        run_of(running, flow_id, "RUNNING", [done, state(ids[1], "RUNNING", startedAt=at(4))], startedAt=at(1)),
        run_of(paused, flow_id, "PAUSED", [done], startedAt=at(1), updatedAt=at(5)),
    ])
    assert "1 to publish" in take_over(old, target)
    api = client_of(target)
    assert api.wait_end(pending)["status"] == "COMPLETED"
    detail = api.wait_end(running)
    assert detail["status"] == "COMPLETED" and detail["steps"][0]["completedAt"] == shown(3)
    assert api.status(paused)["status"] == "PAUSED"
    assert api.command(paused, "resume").status_code == 202
    assert api.wait_end(paused)["status"] == "COMPLETED"
    target.stop()


def test_what_cannot_be_taken_is_named_and_the_rest_comes(old, target):
    flow_id, good, lost_flow, orphan, odd = new_id(), new_id(), new_id(), new_id(), new_id()
    old.flows.insert_many([flow_of(flow_id, cron="whenever"), {"_id": "no uuid", "name": "x", "ownerId": java(OWNER)},
                           flow_of(lost_flow, [step_of(new_id(), type="loop")])])
    old.runs.insert_many([
        run_of(good, flow_id, "COMPLETED", startedAt=at(1), completedAt=at(2)),
        run_of(orphan, new_id(), "COMPLETED"), run_of(odd, flow_id, "DANCING"), {"_id": 7, "status": "COMPLETED"},
        run_of(new_id(), lost_flow, "COMPLETED"), {**run_of(good, flow_id, "FAILED"), "_id": good},
    ])
    report = take_over(old, target, status=1)
    for text in ("flow no uuid: ", f"flow {lost_flow}: ", f"run {orphan}: ", f"run {odd}: ", "run 7: ", f"run {good}: "):
        assert f"{text}cannot be taken: " in report, report
    assert f'flow {flow_id}: its cron "whenever" is left out' in report
    assert "2 flows and 5 runs could not be taken, 1 flows lost their schedule" in report
    assert "both sides hold the same" in report
    api = client_of(target)
    assert [run["id"] for run in api.data("/runs")] == [good]
    target.stop()


def test_an_owner_is_asked_for_once(old, target):
    flows = [new_id() for _ in range(3)]
    documents = [flow_of(flow_id) for flow_id in flows]
    del documents[1]["ownerId"], documents[2]["ownerId"]
    documents[2]["createdBy"] = OWNER
    old.flows.insert_many(documents)
    report = take_over(old, target, status=2)
    assert report.count("\n") == 1 and flows[1] in report and "--owner" in report
    heir = new_id()
    take_over(old, target, "--owner", heir)
    api = client_of(target)
    assert {flow["id"] for flow in api.data("/flows")} == {flows[0], flows[2]}
    assert [flow["id"] for flow in Client(target, user=heir).data("/flows")] == [flows[1]]
    target.stop()


def test_wrong_usage_is_one_line(old, target, tmp_path):
    old.flows.insert_one(flow_of(new_id()))
    for words in (["--from-legacy", mongo_uri(old.name)], ["--from-legacy", str(tmp_path), "--to", str(tmp_path / "x")],
                  ["--from", "a", "--from-legacy", "b", "--to", "c"], ["--from", "a", "--to", "b", "--owner", OWNER],
                  ["--from-legacy", mongo_uri(old.name), "--to", str(tmp_path / "x"), "--owner", "me"],
                  ["--from-legacy", mongo_uri(old.name), "--to", mongo_uri(old.name)],
                  ["--from-legacy", mongo_uri("nothing_there"), "--to", str(tmp_path / "x")]):
        done = subprocess.run([BINARY, "copy", *words], env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done
    assert not (tmp_path / "x").exists()
    assert old.list_collection_names() == ["flows"]
    target.start()
    target.stop()
    report = take_over(pymongo.MongoClient(mongo_uri())[target.settings["MONGO_DB"]], target, status=2)
    assert "--from" in report


def test_a_copy_that_was_killed_goes_on(old, target, tmp_path):
    n_runs, flow_id, step_id = 4000, new_id(), new_id()
    old.flows.insert_one(flow_of(flow_id, [step_of(step_id)]))
    old.runs.insert_many([run_of(new_id(), flow_id, "COMPLETED", [state(step_id, "COMPLETED", startedAt=at(2), completedAt=at(3))],
                                 startedAt=at(1), completedAt=at(4)) for _ in range(n_runs)])
    store = tmp_path / "embedded"
    words = ["--from-legacy", mongo_uri(old.name), "--to", store]
    n_there = kill_copies(words, lambda: len(stored_run_ids(store)), 1, n_runs)
    code, out, err = flowops("copy", *words)
    assert code == 0, (out, err)
    assert f"{n_runs - n_there} of {n_runs} runs" in out and "both sides hold the same" in out


def test_documents_of_which_nearly_everything_is_left_out(old, target):
    flow_id, run_ids = new_id(), [new_id() for _ in range(3)]
    plugin = new_id()
    old.flows.insert_one({"_id": java(flow_id), "_class": "x", "ownerId": java(OWNER),
                          "steps": [{"type": "aCtIoN", "pluginId": java(plugin)}, {"type": "decision", "branches": [{}]}]})
    old.runs.insert_many([
        {"_id": java(run_ids[0]), "_class": "x", "flowId": java(flow_id), "status": "cOmPlEtEd"},
        {"_id": java(run_ids[1]), "flowId": java(flow_id), "status": "FAILED", "createdAt": "2024-03-01T09:00:00Z", "steps": None, "error": None},
        {"_id": java(run_ids[2]), "flowId": java(flow_id), "status": "pending"},
    ])
    report = take_over(old, target)
    assert "3 of 3 runs" in report and "both sides hold the same" in report
    assert "0 of 3 runs" in take_over(old, target)
    api = client_of(target)
    flow = api.data(f"/flows/{flow_id}")
    assert (flow["name"], flow["description"], flow["cron"], flow["version"]) == (flow_id, None, None, 1)
    assert [(step["type"], step["pluginId"]) for step in flow["steps"]] == [("ACTION", plugin), ("DECISION", None)]
    assert all(step["stepId"] for step in flow["steps"]) and flow["steps"][1]["branches"][0]["branchId"]
    for run_id, status in zip(run_ids, ("COMPLETED", "FAILED")):
        run = api.status(run_id)
        assert (run["status"], run["error"], run["triggeredBy"]) == (status, None, OWNER)
        assert len(run["steps"]) == 2
        events = api.events(run_id)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert api.status(run_ids[1])["createdAt"] == "2024-03-01T09:00:00.000Z"
    assert api.wait_end(run_ids[2])["status"] in ("COMPLETED", "FAILED")  # no engine here knows the plugin
    target.stop()
