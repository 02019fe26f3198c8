"""What the engine does with a flow: order, references, decisions, conditions, attempts, time limits."""

import datetime

import pytest

from harness import Client, delay, new_id, step, step_events, step_of

pytestmark = pytest.mark.sanitizer


def seconds(earlier, later):
    return (datetime.datetime.fromisoformat(later[:-1]) - datetime.datetime.fromisoformat(earlier[:-1])).total_seconds()


def statuses(detail):
    return [one["status"] for one in detail["steps"]]


def seq_of(events, step_id, status):
    return next(event["seq"] for event in step_events(events, step_id) if event["status"] == status)


# ---- plugins ----


def test_echo_gives_its_inputs(api):
    detail = api.run([step(inputs={"text": "hällo", "dotted.key": "$1"})])
    assert detail["steps"][0]["outputs"] == {"text": "hällo", "dotted.key": "$1"}


def test_delay_takes_its_time(api):
    detail = api.run([delay(300)])
    one = detail["steps"][0]
    assert detail["status"] == "COMPLETED" and 0.29 <= seconds(one["startedAt"], one["completedAt"]) < 5


def test_delay_with_a_wrong_number_fails_and_says_so(api):
    detail = api.run([step("delay", inputs={"ms": "soon"})])
    assert detail["status"] == "FAILED" and "ms" in detail["steps"][0]["error"]


def test_fail_fails_with_its_message(api):
    detail = api.run([step("fail", inputs={"message": "as asked"})])
    assert detail["status"] == "FAILED" and statuses(detail) == ["FAILED"]
    assert "as asked" in detail["steps"][0]["error"] and detail["error"]


def test_transform_renders_templates(api):
    source = new_id()
    detail = api.run([
        step(step_id=source, inputs={"who": "world"}),
        step("transform", inputs={"greeting": f"hello ${{{source}.who}}!", "fixed": "x"}),
    ])
    assert detail["steps"][1]["outputs"] == {"greeting": "hello world!", "fixed": "x"}


def test_a_plugin_that_no_engine_has_fails_its_step(api):
    plugin = new_id()
    detail = api.run([step(plugin)])
    assert detail["status"] == "FAILED" and plugin in detail["steps"][0]["error"]


# ---- references and order ----


def test_references_in_both_forms_and_run_inputs(api):
    a, b = new_id(), new_id()
    detail = api.run(
        [
            step(step_id=b, inputs={"whole": f"{a}.x", "mixed": f"<${{{a}.x}}|${{run.inputs.name}}>", "plain": "$5"}),
            step(step_id=a, inputs={"x": "${run.inputs.name}"}),
        ],
        {"inputs": {"name": "N"}},
    )
    assert step_of(detail, b)["outputs"] == {"whole": "N", "mixed": "<N|N>", "plain": "$5"}
    events = api.events(detail["id"])
    assert seq_of(events, a, "COMPLETED") < seq_of(events, b, "RUNNING")


def test_a_reference_without_a_value_fails_the_step(api):
    a = new_id()
    detail = api.run([step(step_id=a, inputs={"x": "1"}), step(inputs={"y": f"${{{a}.nope}}"})])
    assert detail["status"] == "FAILED" and statuses(detail) == ["COMPLETED", "FAILED"]
    assert "nope" in detail["steps"][1]["error"]


def test_a_child_waits_for_its_parent(api):
    parent, child, grandchild = new_id(), new_id(), new_id()
    detail = api.run([delay(100, step_id=parent, children=[step(step_id=child, children=[step(step_id=grandchild)])])])
    events = api.events(detail["id"])
    assert seq_of(events, parent, "COMPLETED") < seq_of(events, child, "RUNNING")
    assert seq_of(events, child, "COMPLETED") < seq_of(events, grandchild, "RUNNING")


def test_a_chain_runs_in_order_and_each_step_once(api):
    chain = [step(inputs={"n": "0"})]
    for i in range(1, 40):
        chain.append(step(inputs={"n": f"{i}", "from": f"${{{chain[-1]['stepId']}.n}}"}))
    detail = api.run(chain)
    assert statuses(detail) == ["COMPLETED"] * 40
    events = [event for event in api.events(detail["id"]) if event.get("status") == "RUNNING" and "stepId" in event]
    assert [event["stepId"] for event in events] == [one["stepId"] for one in chain]


def test_independent_steps_run_at_once(api):
    detail = api.run([delay(500) for _ in range(20)])
    assert seconds(detail["startedAt"], detail["completedAt"]) < 5


def test_a_limit_of_parallel_steps_holds(make_server):
    server = make_server(ENGINE_MAX_PARALLEL_STEPS=2).start()
    api = Client(server)
    running = most = 0
    for event in api.events(api.run([delay(50) for _ in range(8)])["id"]):
        if "stepId" in event:
            running += {"RUNNING": 1, "COMPLETED": -1}[event["status"]]
            most = max(most, running)
    assert most == 2
    server.stop()


def test_flow_running_comes_first_and_the_end_comes_last(api):
    events = api.events(api.run([step() for _ in range(10)])["id"])
    kinds = [event["eventType"] for event in events]
    assert kinds[:2] == ["RUN_CREATED", "FLOW_STATUS"] and kinds[-1] == "FLOW_STATUS"
    assert set(kinds[2:-1]) == {"STEP_STATUS"}


def test_a_thousand_steps(api):
    detail = api.run([step(inputs={"i": str(i)}) for i in range(1000)], timeout=60)
    assert detail["status"] == "COMPLETED" and set(statuses(detail)) == {"COMPLETED"}
    assert detail["seq"] == 2003


# ---- failures ----


def test_a_failed_step_fails_the_run_once_running_steps_ended(api):
    slow, bad, after = new_id(), new_id(), new_id()
    detail = api.run([
        delay(400, step_id=slow),
        step("fail", step_id=bad, inputs={"message": "no"}),
        step(step_id=after, inputs={"x": f"${{{slow}.ms}}"}),
    ])
    assert detail["status"] == "FAILED"
    assert step_of(detail, slow)["status"] == "COMPLETED" and step_of(detail, bad)["status"] == "FAILED"
    assert step_of(detail, after)["status"] in ("SKIPPED", "CANCELLED")


def test_retries_are_visible_in_the_journal(api):
    one = new_id()
    config = {"retryCount": 3, "retryDelayMs": 10}
    detail = api.run([step("fail", step_id=one, inputs={"message": "not yet", "times": "2"}, config=config)])
    assert detail["status"] == "COMPLETED" and detail["steps"][0]["attempt"] == 3
    told = [(event["status"], event["attempt"]) for event in step_events(api.events(detail["id"]), one)]
    assert told == [("RUNNING", 1), ("RUNNING", 2), ("RUNNING", 3), ("COMPLETED", 3)]
    errors = [event["error"] for event in step_events(api.events(detail["id"]), one)]
    assert errors[0] is None and "not yet" in errors[1] and "not yet" in errors[2]


def test_retries_run_out(api):
    one = new_id()
    detail = api.run([step("fail", step_id=one, inputs={"message": "never"}, config={"retryCount": 2, "retryDelayMs": 1})])
    assert detail["status"] == "FAILED" and detail["steps"][0]["attempt"] == 3
    assert [event["status"] for event in step_events(api.events(detail["id"]), one)].count("FAILED") == 1


def test_the_delay_between_attempts_doubles(api):
    one = new_id()
    config = {"retryCount": 3, "retryDelayMs": 100}
    detail = api.run([step("fail", step_id=one, inputs={"message": "m", "times": "3"}, config=config)])
    times = [event["timestamp"] for event in step_events(api.events(detail["id"]), one) if event["status"] == "RUNNING"]
    gaps = [seconds(a, b) for a, b in zip(times, times[1:])]
    assert len(gaps) == 3 and sum(gaps) > 0.3 and gaps[2] > gaps[0], gaps


def test_a_time_limit_cancels_the_attempt(api):
    detail = api.run([delay(60000, config={"timeoutMs": 150})], timeout=10)
    one = detail["steps"][0]
    assert detail["status"] == "FAILED" and "150" in one["error"]
    assert 0.14 <= seconds(one["startedAt"], one["completedAt"]) < 5


def test_a_time_limit_holds_for_each_attempt(api):
    detail = api.run([delay(60000, config={"timeoutMs": 100, "retryCount": 2, "retryDelayMs": 1})], timeout=10)
    assert detail["status"] == "FAILED" and detail["steps"][0]["attempt"] == 3


def test_a_stop_ends_the_wait_between_attempts(api):
    one = new_id()
    run_id = api.start(api.create_flow([step("fail", step_id=one, inputs={"message": "m"}, config={"retryCount": 5, "retryDelayMs": 60000})]))
    api.wait_step(run_id, one, "RUNNING")
    api.command(run_id, "stop")
    detail = api.wait_end(run_id, timeout=10)
    assert detail["status"] == "STOPPED" and statuses(detail) == ["CANCELLED"]


def test_outputs_beyond_their_size_are_left_out_and_it_says_so(api):
    a = new_id()
    half = "x" * 40000
    detail = api.run([
        step(step_id=a, inputs={"x": half}),
        step("transform", inputs={"twice": f"${{{a}.x}}${{{a}.x}}"}),
    ])
    two = detail["steps"][1]
    assert two["outputs"] is None and two["error"]


# ---- conditions and decisions ----


@pytest.mark.parametrize(
    "condition, holds",
    [
        ("true", True),
        ("false", False),
        ("1 < 2 && 2 <= 2", True),
        ("!(1 == 1)", False),
        ("${A.n} > 9", True),
        ("${A.n} == '10' || false", True),
        ("${A.text} contains 'ell'", True),
        ("${A.text} matches '^h.*o$'", True),
        ("A.text != 'hello'", False),
        ("${A.none} == null", True),
    ],
)
def test_a_condition_decides_whether_a_step_runs(api, condition, holds):
    a, b, c = new_id(), new_id(), new_id()
    detail = api.run([
        step(step_id=a, inputs={"n": "10", "text": "hello"}),
        step(step_id=b, condition=condition.replace("A.", f"{a}."), inputs={"x": f"${{{a}.n}}"}),
        step(step_id=c, inputs={"x": f"${{{b}.x}}"}),
    ])
    assert detail["status"] == "COMPLETED"
    assert statuses(detail)[1:] == (["COMPLETED"] * 2 if holds else ["SKIPPED"] * 2)


def decision(branches, **members):
    return {"stepId": new_id(), "type": "DECISION", "branches": branches, **members}


def test_the_first_branch_that_holds_is_taken(api):
    a, first, second, third = (new_id() for _ in range(4))
    detail = api.run([
        step(step_id=a, inputs={"n": "5"}),
        decision([
            {"condition": f"${{{a}.n}} > 9", "steps": [step(step_id=first, children=[step()])]},
            {"condition": f"${{{a}.n}} > 4", "steps": [step(step_id=second, children=[step()])]},
            {"steps": [step(step_id=third)]},
        ]),
    ])
    assert detail["status"] == "COMPLETED"
    assert statuses(detail) == ["COMPLETED", "COMPLETED", "SKIPPED", "SKIPPED", "COMPLETED", "COMPLETED", "SKIPPED"]


def test_a_decision_without_a_branch_that_holds_skips_them_all(api):
    inside = new_id()
    detail = api.run([decision([{"condition": "false", "steps": [step(step_id=inside)]}])])
    assert detail["status"] == "COMPLETED" and statuses(detail) == ["COMPLETED", "SKIPPED"]


def test_nested_decisions(api):
    leaf, other = new_id(), new_id()
    inner = decision([{"condition": "false", "steps": [step(step_id=other)]}, {"steps": [step(step_id=leaf)]}])
    detail = api.run([decision([{"steps": [inner]}, {"steps": [step()]}])])
    assert step_of(detail, leaf)["status"] == "COMPLETED" and step_of(detail, other)["status"] == "SKIPPED"
    assert statuses(detail)[-1] == "SKIPPED"


def test_a_skipped_parent_skips_its_children(api):
    detail = api.run([step(condition="false", children=[step(children=[step()])])])
    assert detail["status"] == "COMPLETED" and statuses(detail) == ["SKIPPED"] * 3
