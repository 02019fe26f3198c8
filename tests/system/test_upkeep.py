"""What an operator does to a store: prove it, mend it, move it, let old runs go; and deleting single runs over HTTP."""

import contextlib
import re
import sqlite3

import pytest

from harness import Client, delay, error_of, in_threads, new_id, step, wait_until
from upkeep import copy, figures, flowops, fsck, kill_copies, prove_while_in_use, stored_run_ids

DAY_MS = 24 * 3600 * 1000


def edit(store, *statements):
    with contextlib.closing(sqlite3.connect(store / "flowops.db")) as db, db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement


@pytest.fixture
def ended(make_server):
    """A store, nobody at it, with some runs that ended; and its client for when the server is started again."""
    server = make_server().start()
    api = Client(server)
    for _ in range(5):
        api.run([step(), step()])
    server.stop()
    return server.data_dir, api


# ---- fsck ----


@pytest.mark.sqlite
def test_a_sound_store_is_proved_with_figures(ended):
    store, _ = ended
    report = fsck(store)
    assert figures(report)[0] == 5
    assert " 0 faults" in report and re.search(r"[1-9]\d* runs/s, [1-9]\d* events/s", report)


@pytest.mark.sqlite
def test_the_configured_store_is_the_default(ended):
    store, _ = ended
    code, out, err = flowops("fsck", DATA_DIR=store)
    assert code == 0, err
    assert figures(out)[0] == 5


@pytest.mark.sqlite
def test_what_cannot_be_looked_at_is_neither_sound_nor_faulty(tmp_path):
    for arguments in (["--store", tmp_path / "none"], ["--nonsense"], ["argument"]):
        code, out, err = flowops("fsck", *arguments)
        assert code == 2 and out == "" and err.startswith("flowops: ")
    assert not (tmp_path / "none").exists()


@pytest.mark.sanitizer
@pytest.mark.sqlite
def test_a_live_store_raises_no_alarm(make_server):
    server = make_server().start()
    prove_while_in_use(server, server.data_dir, n_writers=6, n_looks=8)


@pytest.mark.sqlite
def test_repair_needs_the_store_alone(make_server):
    server = make_server().start()
    code, _, err = flowops("fsck", "--store", server.data_dir, "--repair")
    assert code == 2 and str(server.process.pid) in err
    server.stop()


@pytest.mark.sanitizer
@pytest.mark.sqlite
def test_damaged_documents_are_named_and_mended(ended):
    store, api = ended
    ids = stored_run_ids(store)
    edit(
        store,
        f"DELETE FROM runs WHERE id = '{ids[0]}'",
        f"UPDATE runs SET status = 3 WHERE id = '{ids[1]}'",
        f"UPDATE runs SET rest = '{{}}' WHERE id = '{ids[2]}'",
        f"UPDATE runs SET seq = seq + 1 WHERE id = '{ids[3]}'",
    )
    report = fsck(store, status=1)
    for run_id in ids[:4]:
        assert f"run {run_id}: " in report
    assert f"run {ids[4]}: " not in report
    assert " 4 faults, 4 mended" in fsck(store, "--repair")
    assert " 0 faults" in fsck(store)
    api.server.start()
    for run_id in ids:
        assert api.status(run_id)["status"] == "COMPLETED"
    api.server.stop()


@pytest.mark.sqlite
def test_a_damaged_journal_is_left_for_a_backup(ended):
    store, _ = ended
    run_id = stored_run_ids(store)[0]
    edit(store, f"UPDATE journal SET events = substr(events, 5) WHERE run_id = '{run_id}' AND seq = 1")
    assert f"run {run_id}: " in fsck(store, status=1)
    report = fsck(store, "--repair", status=1)
    assert " 0 mended" in report
    assert figures(fsck(store, status=1))[0] == 5


# ---- copy ----


@pytest.mark.sqlite
def test_a_copy_holds_the_same_and_serves_it(ended, tmp_path, make_server):
    store, api = ended
    out = copy(store, tmp_path / "copy")
    assert "both sides hold the same" in out
    assert figures(fsck(store)) == figures(fsck(tmp_path / "copy"))
    server = make_server("copy").start()
    there = Client(server, user=api.user)
    runs = there.data("/runs")
    assert [run["id"] for run in reversed(runs)] == stored_run_ids(store)
    for run in runs:
        assert there.status(run["id"])["status"] == "COMPLETED"
        assert [event["seq"] for event in there.events(run["id"])] == list(range(1, run["seq"] + 1))
    server.stop()


@pytest.mark.sanitizer
@pytest.mark.sqlite
def test_unfinished_runs_go_on_at_the_target(make_server, tmp_path):
    server = make_server().start()
    api = Client(server)
    flow_id = api.create_flow([step(), delay(1000)])
    run_ids = [api.start(flow_id) for _ in range(10)]
    for run_id in run_ids:
        api.wait_status(run_id, "RUNNING")
    server.kill()
    copy(server.data_dir, tmp_path / "copy")
    target = make_server("copy").start()
    there = Client(target, user=api.user)
    for run_id in run_ids:
        assert there.wait_end(run_id)["status"] == "COMPLETED"
    target.stop()
    fsck(tmp_path / "copy")


@pytest.mark.sqlite
def test_a_copy_that_was_killed_goes_on(make_server, tmp_path):
    server = make_server(ENGINE="off").start()
    api = Client(server)
    flow_id = api.create_flow([])
    in_threads(lambda _: [api.start(flow_id) for _ in range(1000)], range(4))
    server.stop()
    target = tmp_path / "copy"
    n_there = kill_copies(["--from", server.data_dir, "--to", target], lambda: len(stored_run_ids(target)), 2, 4000)
    said = copy(server.data_dir, target)
    assert f"{4000 - n_there} of 4000 runs" in said and "both sides hold the same" in said
    assert "0 of 4000 runs" in copy(server.data_dir, target)


@pytest.mark.sqlite
def test_two_stores_are_never_mixed(ended, make_server):
    store, _ = ended
    other = make_server("other").start()
    run_id = Client(other).run([step()])["id"]
    other.stop()
    err = copy(store, other.data_dir, status=2)
    assert "the source has not" in err
    assert stored_run_ids(other.data_dir) == [run_id]


@pytest.mark.sqlite
def test_a_store_is_not_copied_onto_itself(ended, tmp_path):
    store, _ = ended
    (tmp_path / "other name").symlink_to(store)
    for target in (store, f"{store}/.", tmp_path / "other name"):
        err = copy(store, target, status=2)
        assert err == "flowops: a store is not copied onto itself: --to names what is copied from\n"


@pytest.mark.sqlite
def test_a_journal_that_differs_is_named(ended, tmp_path):
    store, _ = ended
    copy(store, tmp_path / "copy")
    run_id = stored_run_ids(store)[2]
    edit(tmp_path / "copy", f"UPDATE journal SET events = replace(events, 'COMPLETED', 'CANCELLED') WHERE run_id = '{run_id}'")
    err = copy(store, tmp_path / "copy", status=2)
    assert run_id in err and "another one in the target" in err


@pytest.mark.sqlite
def test_a_copy_takes_nothing_from_where_nothing_is(tmp_path):
    err = copy(tmp_path / "none", tmp_path / "copy", status=2)
    assert "there is no store" in err
    assert not (tmp_path / "none").exists() and not (tmp_path / "copy").exists()


@pytest.mark.sqlite
def test_a_store_in_use_is_not_copied(server, tmp_path):
    err = copy(server.data_dir, tmp_path / "copy", status=2)
    assert "in use by process" in err


# ---- deleting a run ----


@pytest.mark.sanitizer
def test_an_ended_run_is_deleted(api):
    kept, gone = api.run([step()])["id"], api.run([step()])["id"]
    response = api.delete(f"/runs/{gone}")
    assert response.status_code == 204 and response.content == b""
    for path in ("status", "events"):
        error_of(api.get(f"/runs/{gone}/{path}"), 404, "NOT_FOUND")
    error_of(api.get(f"/stream/{gone}"), 404, "NOT_FOUND")
    error_of(api.command(gone, "stop"), 404, "NOT_FOUND")
    error_of(api.delete(f"/runs/{gone}"), 404, "NOT_FOUND")
    assert [run["id"] for run in api.data("/runs")] == [kept]


def test_a_run_that_is_going_is_not_deleted(api):
    run_id = api.start(api.create_flow([delay(60_000)]))
    api.wait_status(run_id, "RUNNING")
    error = error_of(api.delete(f"/runs/{run_id}"), 409, "CONFLICT")
    assert "RUNNING" in error["message"]
    api.command(run_id, "stop")
    api.wait_end(run_id)
    assert api.delete(f"/runs/{run_id}").status_code == 204


def test_somebody_elses_run_is_not_there_to_delete(api, server):
    run_id = api.run([step()])["id"]
    error_of(Client(server).delete(f"/runs/{run_id}"), 404, "NOT_FOUND")
    assert api.status(run_id)["status"] == "COMPLETED"


def test_a_delete_takes_conditions(api):
    detail = api.run([step()])
    path = f"/runs/{detail['id']}"
    error_of(api.delete(path, headers={"If-Match": f'"{detail["seq"] - 1}"'}), 412, "PRECONDITION_FAILED")
    error_of(api.delete(path, headers={"If-Match": "nonsense"}), 400, "INVALID_REQUEST")
    assert api.delete(path, headers={"If-Match": f'"{detail["seq"]}"'}).status_code == 204


def test_what_is_no_run_cannot_be_deleted(api):
    error_of(api.delete(f"/runs/{new_id()}"), 404, "NOT_FOUND")
    error_of(api.delete("/runs/nonsense"), 400, "INVALID_REQUEST")
    response = api.get(f"/runs/{new_id()}")
    assert response.status_code == 405 and response.headers["Allow"] == "DELETE, OPTIONS"


def test_a_key_begins_anew_once_its_run_is_deleted(api):
    flow_id = api.create_flow([step()])
    key = {"Idempotency-Key": new_id()}
    run_id = api.start(flow_id, {"inputs": {"n": "1"}}, headers=key)
    api.wait_end(run_id)
    error_of(api.post(f"/flows/{flow_id}/start", json={"inputs": {"n": "2"}}, headers=key), 409, "CONFLICT")
    assert api.delete(f"/runs/{run_id}").status_code == 204
    assert api.start(flow_id, {"inputs": {"n": "2"}}, headers=key) == run_id
    assert api.wait_end(run_id)["status"] == "COMPLETED"


@pytest.mark.sqlite
def test_a_deleted_run_stays_deleted_after_a_kill(make_server):
    server = make_server().start()
    api = Client(server)
    run_ids = [api.run([step()])["id"] for _ in range(4)]
    for run_id in run_ids[:2]:
        assert api.delete(f"/runs/{run_id}").status_code == 204
    server.kill()
    server.start()
    assert {run["id"] for run in api.data("/runs")} == set(run_ids[2:])
    server.stop()
    assert figures(fsck(server.data_dir))[0] == 2


# ---- retention ----


def grow_old(store, run_ids, days):
    names = ", ".join(f"'{run_id}'" for run_id in run_ids)
    edit(store, f"UPDATE runs SET updated_at = updated_at - {days * DAY_MS} WHERE id IN ({names})")


@pytest.mark.sqlite
def test_runs_past_their_retention_go_and_others_stay(make_server):
    server = make_server(RUN_RETENTION_DAYS=7).start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    run_ids = [api.start(flow_id) for _ in range(200)]
    for run_id in run_ids:
        api.wait_end(run_id)
    going = api.start(api.create_flow([delay(60_000)]))
    api.wait_status(going, "RUNNING")
    server.kill()
    old, young = run_ids[:150], run_ids[150:]
    grow_old(server.data_dir, old + [going], 8)
    grow_old(server.data_dir, young, 6)
    server.start()
    while_deleting = [api.start(flow_id) for _ in range(20)]
    wait_until(lambda: api.get(f"/runs/{old[-1]}/status").status_code == 404, what="retention")
    wait_until(lambda: not set(stored_run_ids(server.data_dir)) & set(old), what="the rest")
    for run_id in young + while_deleting:
        assert api.wait_end(run_id)["status"] == "COMPLETED"
    assert api.status(going)["status"] == "RUNNING"
    server.stop()
    assert figures(fsck(server.data_dir))[0] == len(young) + len(while_deleting) + 1


def test_retention_out_of_bounds_is_refused(make_server):
    for value in ("-1", "36501", "soon"):
        status, log = make_server(RUN_RETENTION_DAYS=value).refuses_to_start()
        assert status != 0 and "RUN_RETENTION_DAYS" in log
