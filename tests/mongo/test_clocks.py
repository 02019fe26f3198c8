"""Two replicas whose clocks differ by an hour: what they agree on does not hang on either's time."""

import pytest

from harness import BINARY, Client, in_threads, list_order, new_id, step, wait_until
from kafka_harness import together

SKEWS = {"ahead": 3600, "behind": -3600}


@pytest.fixture(params=list(SKEWS))
def replicas(request, make_replica):
    """The second one's wall clock is off; its monotonic clock is not."""
    skewed = {"LD_PRELOAD": BINARY.parent / "tests" / "contract" / "clock_skew.so", "CLOCK_SKEW_S": SKEWS[request.param]}
    resend = {"COMMAND_RESEND_SECONDS": "600"}  # what is taken over too early is not to be taken for what is sent again
    pair = [make_replica("one", **resend).spawn(), make_replica("two", **resend, **skewed).spawn()]
    yield from together(pair)


def seqs(events):
    return [event["seq"] for event in events]


def test_runs_commands_and_lists_are_right(apis, make_engine):
    flow_id = apis[0].create_flow([step(inputs={"x": "1"}), step()])
    engine = make_engine().start()
    runs = in_threads(lambda i: apis[i % 2].start(flow_id), range(40), 4)
    details = [apis[(i + 1) % 2].wait_end(run_id, 60) for i, run_id in enumerate(runs)]
    assert len(set(runs)) == 40 and {detail["status"] for detail in details} == {"COMPLETED"}
    made = sorted(detail["createdAt"] for detail in details)
    assert made[0][:13] != made[-1][:13], "the clocks do not differ"
    for run_id in runs:
        assert apis[0].events(run_id) == apis[1].events(run_id)
        assert seqs(apis[0].events(run_id)) == list(range(1, len(apis[0].events(run_id)) + 1))
    expected = list_order(details)
    for api in apis:
        wait_until(lambda api=api: [run["id"] for run in api.data("/runs", params={"pageSize": 200})] == expected, 10, "the list")
        seen, cursor = [], None
        while True:
            answer = api.get("/runs", params={"pageSize": 7, **({"cursor": cursor} if cursor else {})}).json()
            seen += [run["id"] for run in answer["data"]]
            cursor = (answer["metadata"].get("additional") or {}).get("nextCursor")
            if not cursor:
                break
        assert seen == expected
    engine.stop()


def test_racing_clients_have_one_winner(apis):
    flow_id = apis[0].create_flow([step()])
    for i in range(3):
        run_id = apis[i % 2].start(flow_id)
        answers = in_threads(lambda n: Client(apis[n % 2].server, apis[0].user).command(run_id, "stop").status_code, range(64), 64)
        assert sorted(answers) == [200] * 63 + [202]
        assert seqs(apis[0].events(run_id)) == [1, 2]


def test_a_key_and_a_version_are_the_same_on_both(apis):
    flow_id = apis[1].create_flow([step()])
    key = new_id()
    assert apis[0].start(flow_id, headers={"Idempotency-Key": key}) == apis[1].start(flow_id, headers={"Idempotency-Key": key})
    for i in range(6):
        assert apis[i % 2].put(f"/flows/{flow_id}", json={"name": f"name {i}"}).status_code == 200
        assert [api.data(f"/flows/{flow_id}")["version"] for api in apis] == [i + 2] * 2
    run_id = apis[0].start(flow_id)
    assert apis[1].status(run_id)["flowVersion"] == 7


def kinds_by_run(broker):
    kinds = {}
    for command in broker.commands():
        kinds.setdefault(command["runId"], []).append(command["eventType"])
    return kinds


def test_nothing_is_published_for_a_replica_that_lives(broker, apis):
    """Another's commands are taken over after 10 s by the clock of whoever waits: an hour of difference does not make it early."""
    flow_id = apis[0].create_flow([step()])
    runs = [apis[i % 2].start(flow_id) for i in range(40)]
    for i, run_id in enumerate(runs):
        assert apis[(i + 1) % 2].command(run_id, "pause").status_code == 202
    kinds = wait_until(lambda: (seen := kinds_by_run(broker)) and all(len(seen.get(r, [])) >= 2 for r in runs) and seen, 30,
                       "the commands")
    assert [kinds[run_id] for run_id in runs] == [["EXECUTION_START", "EXECUTION_PAUSE"]] * 40


def test_what_a_killed_replica_did_not_publish_is_published(broker, replicas, apis):
    flow_id = apis[0].create_flow([step()])
    runs = in_threads(lambda _: apis[1].start(flow_id), range(60), 8)
    replicas[1].kill()
    wait_until(lambda: kinds_by_run(broker).keys() >= set(runs), 60, "every START")
    wait_until(lambda: all(apis[0].get(f"/runs/{run_id}/status").status_code == 200 for run_id in runs), 30, "every document")
