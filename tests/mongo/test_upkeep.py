"""What an operator does with a store in MongoDB: prove it, mend it, move it there and back, let old runs go."""

import datetime

import pymongo
import pytest

from harness import Client, Server, delay, in_threads, mongo_uri, new_id, step, wait_until
from upkeep import copy, figures, flowops, fsck, kill_copies, prove_while_in_use, stored_run_ids

DAY = datetime.timedelta(days=1)


def store_of(server):
    return mongo_uri(server.settings["MONGO_DB"])


@pytest.fixture(scope="module")
def mongo():
    with pymongo.MongoClient(mongo_uri()) as client:
        yield client


@pytest.fixture
def database(mongo):
    """The name of a database that is not there yet, and goes with the test."""
    name = f"flowops_{new_id()[:13].replace('-', '')}"
    yield name
    mongo.drop_database(name)


@pytest.fixture
def make_server(tmp_path, mongo):
    """Servers on a database of their own, or on the embedded store: make_server(name, is_embedded, **settings)."""
    servers = []

    def make(name="data", is_embedded=False, **settings):
        server = Server(tmp_path / name, **settings)
        if is_embedded:
            del server.settings["MONGO_URI"], server.settings["MONGO_DB"]
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.kill()
        if "MONGO_DB" in server.settings:
            mongo.drop_database(server.settings["MONGO_DB"])


@pytest.fixture
def ended(make_server):
    """A server that was stopped, with some runs that ended, and its client."""
    server = make_server().start()
    api = Client(server)
    for _ in range(5):
        api.run([step(), step()])
    server.stop()
    return server, api


# ---- fsck ----


def test_a_sound_store_is_proved(ended):
    server, _ = ended
    report = fsck(store_of(server))
    assert figures(report)[0] == 5 and " 0 faults" in report
    assert "127.0.0.1" not in report and "mongodb:" not in report.replace("mongodb: ", "")
    code, out, _ = flowops("fsck", MONGO_URI=mongo_uri(), MONGO_DB=server.settings["MONGO_DB"])
    assert code == 0 and figures(out)[0] == 5


def test_what_is_not_there_is_not_made(database, mongo, tmp_path):
    for arguments in (["fsck", "--store", mongo_uri(database)], ["copy", "--from", mongo_uri(database), "--to", tmp_path / "copy"]):
        code, out, err = flowops(*arguments)
        assert code == 2 and out == "" and "there is no store" in err
    assert mongo[database].list_collection_names() == []
    assert not (tmp_path / "copy").exists()


def test_a_server_that_is_gone_is_no_fault():
    code, out, err = flowops("fsck", "--store", "mongodb://127.0.0.1:1/flowops")
    assert code == 2 and out == "" and err.startswith("flowops: ")


def test_a_live_store_raises_no_alarm(make_server):
    server = make_server().start()
    prove_while_in_use(server, store_of(server), n_writers=3, n_looks=3)


def test_damaged_documents_are_named_and_mended(ended, mongo):
    server, api = ended
    runs = mongo[server.settings["MONGO_DB"]].runs
    ids = sorted(document["_id"] for document in runs.find({}, {"_id": 1}))
    runs.delete_one({"_id": ids[0]})
    runs.update_one({"_id": ids[1]}, {"$set": {"status": "FAILED"}})
    runs.update_one({"_id": ids[2]}, {"$set": {"rest": ',"steps":[]}'}})
    runs.update_one({"_id": ids[3]}, {"$set": {"seq": 1000}})
    report = fsck(store_of(server), status=1)
    for run_id in ids[:4]:
        assert f"run {run_id}: " in report
    assert f"run {ids[4]}: " not in report
    assert " 4 faults, 4 mended" in fsck(store_of(server), "--repair")
    assert " 0 faults" in fsck(store_of(server))
    api.server.start()
    assert {api.status(run_id)["status"] for run_id in ids} == {"COMPLETED"}
    api.server.stop()


# ---- copy ----


def is_slow(mongo):
    """Whether every look for something costs a walk over everything (FerretDB)."""
    return "ferretdbVersion" in mongo.server_info()


def make_runs(make_server, n_runs):
    """Runs in an embedded store that was killed, 10 of them going; the client and the ids of those."""
    server = make_server("embedded", is_embedded=True).start()
    api = Client(server)
    flow_ids = [api.create_flow([step(), step()], labels={"n": "1"}), api.create_flow([step("fail", inputs={"message": "no"})])]
    run_ids = in_threads(lambda i: api.start(flow_ids[i % 2]), range(n_runs - 10), 4)
    for run_id in run_ids:
        api.wait_end(run_id, 60)
    flow_id = api.create_flow([step(), delay(3000)])
    going = [api.start(flow_id) for _ in range(10)]
    for run_id in going:
        api.wait_status(run_id, "RUNNING")
    server.kill()
    return server, api, going


def test_there_and_back_again(make_server, mongo, tmp_path):
    n_runs = 40 if is_slow(mongo) else 300
    embedded, api, going = make_runs(make_server, n_runs)
    shared = make_server("shared")
    report = copy(embedded.data_dir, store_of(shared))
    assert f"{n_runs} of {n_runs} runs" in report and "both sides hold the same" in report
    assert f" 0 of {n_runs} runs" in copy(embedded.data_dir, store_of(shared))
    assert "both sides hold the same" in copy(store_of(shared), tmp_path / "back")
    assert figures(fsck(embedded.data_dir)) == figures(fsck(store_of(shared))) == figures(fsck(tmp_path / "back"))
    assert f" 0 of {n_runs} runs" in copy(tmp_path / "back", store_of(shared))

    shared.start()
    there = Client(shared, user=api.user)
    for run_id in going:
        assert there.wait_end(run_id, 60)["status"] == "COMPLETED"
    assert len(there.data("/runs", params={"status": "FAILED", "pageSize": 200})) == (n_runs - 10) // 2
    shared.stop()
    fsck(store_of(shared))


@pytest.mark.parametrize("is_from_mongo", [False, True], ids=["to MongoDB", "from MongoDB"])
def test_a_copy_that_was_killed_goes_on(make_server, mongo, tmp_path, is_from_mongo):
    n_runs, n_kills = (45, 1) if is_slow(mongo) else (120, 2)  # large ones: a group of writes is full with 60
    server = make_server("source", is_embedded=not is_from_mongo, ENGINE="off").start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    in_threads(lambda _: api.start(flow_id, {"inputs": {"x": "y" * 60_000}}), range(n_runs), 4)
    server.stop()
    shared = server if is_from_mongo else make_server("shared")
    collections = mongo[shared.settings["MONGO_DB"]]
    if is_from_mongo:
        source, target = store_of(shared), tmp_path / "embedded"
    else:
        source, target = server.data_dir, store_of(shared)

    def count():
        return len(stored_run_ids(target)) if is_from_mongo else collections.run_events.count_documents({})

    n_there = kill_copies(["--from", source, "--to", target], count, n_kills, n_runs)
    said = copy(source, target)
    assert f"of {n_runs} runs" in said and f" {n_runs} of {n_runs} runs" not in said and "both sides hold the same" in said
    assert " 0 documents behind" in said and count() == n_runs > n_there
    assert collections.runs.count_documents({}) == n_runs


def test_two_stores_are_never_mixed(ended, make_server):
    server, _ = ended
    other = make_server("other").start()
    Client(other).run([step()])
    other.stop()
    assert "the source has not" in copy(store_of(server), store_of(other), status=2)


def test_a_store_is_not_copied_onto_itself(ended):
    store = store_of(ended[0])
    for target in (store, store.replace("://", "://me:hunter2@") + "?appName=x"):
        said = copy(store, target, status=2)
        assert "a store is not copied onto itself" in said and "hunter2" not in said


# ---- another program's database ----


def test_a_database_of_another_program_is_left_alone(database, mongo, make_server):
    mongo[database].runs.insert_one({"_id": "x", "status": "RUNNING"})
    server = make_server(MONGO_DB=database)
    status, log = server.refuses_to_start()
    assert status != 0 and "another program's" in log
    assert mongo[database].list_collection_names() == ["runs"]


# ---- deleting a run ----


def test_a_deleted_run_leaves_nothing(make_server, mongo):
    server = make_server().start()
    api = Client(server)
    gone = [api.run([step()])["id"] for _ in range(2)][1]
    assert api.delete(f"/runs/{gone}").status_code == 204
    collections = mongo[server.settings["MONGO_DB"]]
    assert collections.runs.count_documents({"_id": gone}) == 0
    assert collections.run_events.count_documents({"runId": gone}) == 0
    server.stop()
    assert figures(fsck(store_of(server)))[0] == 1


def test_runs_past_their_retention_go_and_others_stay(make_server, mongo):
    server = make_server(RUN_RETENTION_DAYS=7).start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    run_ids = [api.start(flow_id) for _ in range(60)]
    for run_id in run_ids:
        api.wait_end(run_id)
    going = api.start(api.create_flow([delay(60_000)]))
    api.wait_status(going, "RUNNING")
    server.stop()
    old, young, half_gone = run_ids[:40], run_ids[40:], run_ids[0]
    collections = mongo[server.settings["MONGO_DB"]]
    now = datetime.datetime.now(datetime.timezone.utc)
    for ids, days in ((old, 8), (young, 6)):
        collections.runs.update_many({"_id": {"$in": ids}}, {"$set": {"settledAt": now - days * DAY}})
    collections.run_events.delete_many({"runId": half_gone})  # as a crash in the midst of a deletion leaves it
    server.start()
    wait_until(lambda: collections.runs.count_documents({"_id": {"$in": old}}) == 0, 30, "retention")
    assert collections.run_events.count_documents({"runId": {"$in": old}}) == 0
    for run_id in young:
        assert api.status(run_id)["status"] == "COMPLETED"
    assert api.status(going)["status"] in ("RUNNING", "PENDING")
    server.stop()
