"""kill -9 at any moment: nothing acknowledged is lost, and what was going goes on."""

import random
import threading
import time

import requests

from harness import Client, delay, in_threads, new_id, step, step_events, step_of, wait_until

KILLS = 20


class Load:
    """Creates flows and starts runs until told to end; remembers what was acknowledged."""

    def __init__(self, server, user, n_threads=6):
        self.server, self.user = server, user
        self.flows, self.runs = {}, {}
        self.errors = []
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._work, args=(i,)) for i in range(n_threads)]
        for thread in self.threads:
            thread.start()

    def _work(self, thread):
        api = Client(self.server, self.user)
        n = 0
        while not self.is_over.is_set():
            n += 1
            try:
                first = new_id()
                response = api.post("/flows", timeout=10, json={
                    "name": f"{thread}/{n}",
                    "steps": [step(step_id=first, inputs={"x": "1"}), delay(20), step(inputs={"y": f"${{{first}.x}}"})],
                })
                assert response.status_code in (201, 503), response.text
                if response.status_code == 201:
                    flow_id = response.json()["data"]["id"]
                    self.flows[flow_id] = f"{thread}/{n}"
                    self._start(api, flow_id, n)
            except requests.RequestException:
                self.is_over.wait(0.01)  # it is down for the moment
                api = Client(self.server, self.user)
            except BaseException as error:
                self.errors.append(error)
                return

    def _start(self, api, flow_id, n):
        for i in range(3):
            key = f"{flow_id}-{n}-{i}"
            response = api.post(f"/flows/{flow_id}/start", timeout=10, headers={"Idempotency-Key": key})
            assert response.status_code in (202, 503), response.text
            if response.status_code == 202:
                self.runs[response.json()["data"]] = (flow_id, key)

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors[0]


def test_twenty_kills_under_load(make_server):
    randomness = random.Random(20)
    server = make_server().start()
    load = Load(server, new_id())
    begin = time.monotonic()
    try:
        for _ in range(KILLS):
            goal = len(load.runs) + randomness.randint(5, 60)
            wait_until(lambda: len(load.runs) >= goal or load.errors, 20, "acknowledged starts")
            server.kill()
            server.start()
    finally:
        load.end()
    api = Client(server, load.user)
    print(f"{KILLS} kills in {time.monotonic() - begin:.1f} s: {len(load.flows)} flows, {len(load.runs)} runs")

    clients = [Client(server, load.user) for _ in range(8)]

    def check_flow(i_and_id):
        i, flow_id = i_and_id
        assert clients[i % 8].data(f"/flows/{flow_id}")["name"] == load.flows[flow_id]

    def check_run(i_and_id):
        i, run_id = i_and_id
        client = clients[i % 8]
        detail = client.wait_end(run_id, timeout=60)
        assert detail["status"] == "COMPLETED" and detail["flowId"] == load.runs[run_id][0], detail
        assert {one["status"] for one in detail["steps"]} == {"COMPLETED"}, detail
        assert [event["seq"] for event in client.events(run_id)] == list(range(1, detail["seq"] + 1))

    in_threads(check_flow, enumerate(load.flows), 8)
    in_threads(check_run, enumerate(load.runs), 8)

    # Acknowledged or not: whatever was begun ends.
    for status in ("PENDING", "RUNNING"):
        wait_until(lambda: api.get("/runs", params={"status": status}).json()["metadata"]["totalCount"] == 0, 20, f"no run {status}")
    # A repeat of a start that was acknowledged long ago is the same run.
    for run_id, (flow_id, key) in list(load.runs.items())[:50]:
        assert api.start(flow_id, headers={"Idempotency-Key": key}) == run_id
    server.stop()


def test_a_run_goes_on_where_it_was(make_server):
    server = make_server().start()
    api = Client(server)
    done, cut, last = new_id(), new_id(), new_id()
    flow_id = api.create_flow([
        step(step_id=done, inputs={"x": "kept"}),
        delay(1500, step_id=cut, children=[step(step_id=last, inputs={"y": f"${{{done}.x}}"})]),
    ])
    run_id = api.start(flow_id)
    api.wait_step(run_id, cut, "RUNNING")
    api.wait_step(run_id, done, "COMPLETED")
    before = api.events(run_id)
    server.kill()
    server.start()
    detail = api.wait_end(run_id)
    assert detail["status"] == "COMPLETED"
    assert step_of(detail, last)["outputs"] == {"y": "kept"}
    events = api.events(run_id)
    assert events[: len(before)] == before and [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["status"] for event in step_events(events, done)] == ["RUNNING", "COMPLETED"]
    assert [(event["status"], event["attempt"]) for event in step_events(events, cut)] == [("RUNNING", 1), ("RUNNING", 2), ("COMPLETED", 2)]
    assert [event["eventType"] for event in events].count("RUN_HANDED_OVER") == 1
    server.stop()


def test_an_attempt_cut_by_a_crash_uses_up_no_retry(make_server):
    server = make_server().start()
    api = Client(server)
    one = new_id()
    run_id = api.start(api.create_flow([delay(700, step_id=one, config={"retryCount": 0})]))
    api.wait_step(run_id, one, "RUNNING")
    server.kill()
    server.start()
    detail = api.wait_end(run_id)
    assert detail["status"] == "COMPLETED" and detail["steps"][0]["attempt"] == 2
    server.stop()


def test_a_paused_run_stays_paused(make_server):
    server = make_server().start()
    api = Client(server)
    first, second = new_id(), new_id()
    run_id = api.start(api.create_flow([delay(200, step_id=first), step(step_id=second, inputs={"x": f"${{{first}.ms}}"})]))
    api.wait_step(run_id, first, "RUNNING")
    assert api.command(run_id, "pause").status_code == 202
    api.wait_status(run_id, "PAUSED")
    server.kill()
    server.start()
    wait_until(lambda: any(event["eventType"] == "RUN_HANDED_OVER" for event in api.events(run_id)), what="the hand-over")
    assert api.status(run_id)["status"] == "PAUSED"
    assert api.command(run_id, "resume").status_code in (200, 202)
    assert api.wait_end(run_id)["status"] == "COMPLETED"
    assert [event["status"] for event in step_events(api.events(run_id), first)].count("COMPLETED") == 1
    server.stop()


def test_a_stop_that_was_accepted_is_carried_out_afterwards(make_server):
    server = make_server().start()
    api = Client(server)
    run_ids = [api.start(api.create_flow([delay(60000)])) for _ in range(5)]
    for run_id in run_ids:
        api.wait_status(run_id, "RUNNING")
    for run_id in run_ids:
        assert api.command(run_id, "stop").status_code == 202
    server.kill()
    server.start()
    for run_id in run_ids:
        assert api.wait_end(run_id)["status"] == "STOPPED"
    server.stop()


def test_a_stream_resumes_across_a_crash(make_server):
    server = make_server().start()
    api = Client(server)
    run_id = api.start(api.create_flow([step(), delay(800)]))
    with api.stream(run_id, params="?from=0") as stream:
        seen = [stream.next().id for _ in range(4)]
        server.kill()
    server.start()
    with api.stream(run_id, last_event_id=seen[-1]) as stream:
        seen += [frame.id for frame in stream]
    assert seen == list(range(1, api.wait_end(run_id)["seq"] + 1))
    server.stop()


def test_deletes_and_updates_survive(make_server):
    server = make_server().start()
    api = Client(server)
    gone, changed, forced = api.create_flow(), api.create_flow(), api.create_flow([delay(60000)])
    run_id = api.start(forced)
    api.wait_status(run_id, "RUNNING")
    assert api.delete(f"/flows/{gone}").status_code == 204
    assert api.put(f"/flows/{changed}", json={"name": "second"}).status_code == 200
    assert api.delete(f"/flows/{forced}?force=true").status_code == 204
    server.kill()
    server.start()
    assert api.get(f"/flows/{gone}").status_code == 404
    assert api.data(f"/flows/{changed}")["name"] == "second"
    assert api.wait_end(run_id)["status"] == "STOPPED"
    server.stop()


def test_an_orderly_end_and_a_new_start_lose_nothing(make_server):
    server = make_server().start()
    api = Client(server)
    finished = api.run([step()])
    open_run = api.start(api.create_flow([delay(600)]))
    server.restart()
    assert api.status(finished["id"]) == finished
    assert api.wait_end(open_run)["status"] == "COMPLETED"
    server.stop()


def end_in_the_middle(server):
    """Lets an engine loose on waiting runs and ends it at once; how many runs it was caught in the middle of."""
    server.settings["ENGINE"] = "off"
    server.start()
    api = Client(server)
    ids = [new_id() for _ in range(20)]
    chain = [step(step_id=own, inputs={"x": f"${{{before}.x}}" if before else "1"})
             for before, own in zip([None] + ids, ids)]
    flow_id = api.create_flow(chain)
    runs = in_threads(lambda _: api.start(flow_id), range(400))
    server.stop()
    server.settings["ENGINE"] = "on"
    server.start()
    wait_until(lambda: api.status(runs[0])["status"] != "PENDING", 40, "the first run's start")  # a shared store: 10 s are owed to others
    api.session.close()  # an open connection would be given a moment, and the engine with it
    server.stop()
    server.start()
    for run_id in runs:
        assert api.wait_end(run_id, timeout=60)["status"] == "COMPLETED"
    n_caught = 0
    for run_id in runs:
        events = api.events(run_id)
        n_caught += sum(event["eventType"] == "RUN_HANDED_OVER" for event in events) > 1
        # one after the other, and an echo ends as soon as it has begun: what was begun was finished
        assert [event["attempt"] for event in events if event["eventType"] == "STEP_STATUS"] == [1] * 40
    server.stop()
    return n_caught


def test_a_clean_end_repeats_no_finished_step(make_server):
    """What the engine had reported when SIGTERM came is in the journal before the process ends."""
    server = make_server()
    assert any(end_in_the_middle(server) for _ in range(5)), "the end always came too late"


def test_no_step_begins_behind_a_stop_that_came_before_the_engine(make_server):
    server = make_server(ENGINE="off").start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    runs = [api.start(flow_id) for _ in range(20)]
    for run_id in runs:
        assert api.command(run_id, "stop").status_code == 202
    server.stop()
    server.settings["ENGINE"] = "on"
    server.start()
    for run_id in runs:
        detail = api.wait_end(run_id)
        assert (detail["status"], detail["steps"][0]["status"]) == ("STOPPED", "CANCELLED")
    server.stop()
