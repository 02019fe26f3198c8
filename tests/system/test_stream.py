"""The event stream of a run: snapshot, frames that count up by one, resuming, and how it ends."""

import time

import pytest

from harness import (
    Client, Stream, delay, error_of, flow_status_of, ids_of, in_threads, new_id, step, wait_until,
)

pytestmark = pytest.mark.sanitizer
A_MINUTE = 60_000


def is_end(frame):
    return flow_status_of(frame) in ("COMPLETED", "FAILED", "STOPPED")


def status_frames(frames):
    return [frame for frame in frames if frame.event is None]


def test_an_unknown_run_is_404_before_any_stream(api):
    error_of(api.get(f"/stream/{new_id()}", headers={"Accept": "text/event-stream"}), 404, "NOT_FOUND")
    error_of(api.get("/stream/x"), 400, "INVALID_REQUEST")


def test_the_first_frame_is_a_snapshot_and_the_rest_follow_it(api):
    run_id = api.start(api.create_flow([delay(300), delay(600)]))
    with api.stream(run_id) as stream:
        assert stream.status == 200
        assert stream.response.getheader("Content-Type").startswith("text/event-stream")
        snapshot = stream.next()
        assert snapshot.event == "snapshot" and snapshot.payload["id"] == run_id
        assert snapshot.id == snapshot.payload["seq"]
        frames = stream.until(is_end)
        assert ids_of(frames) == list(range(snapshot.id + 1, snapshot.id + 1 + len(frames)))
        assert stream.retries and len(stream.retries) == 1
        assert stream.next() is None
    assert frames[-1].id == api.wait_end(run_id)["seq"]


def test_each_frame_is_the_journals_event_in_the_success_envelope(api):
    run_id = api.run([step(inputs={"x": "1"})])["id"]
    with api.stream(run_id, params="?from=0") as stream:
        frames = list(stream)
    assert [frame.payload for frame in frames] == api.events(run_id)
    assert ids_of(frames) == [frame.payload["seq"] for frame in frames]
    assert all(frame.data["metadata"]["success"] is True and frame.data["metadata"]["timestamp"] for frame in frames)
    assert [frame.event for frame in frames] == ["created", None, None, None, None]
    assert all(frame.raw.count("\n") <= 3 for frame in frames)


def test_commands_have_a_name_of_their_own(api):
    run_id = api.start(api.create_flow([delay(A_MINUTE)]))
    api.wait_status(run_id, "RUNNING")
    api.command(run_id, "stop")
    api.wait_end(run_id)
    with api.stream(run_id, params="?from=0") as stream:
        frames = list(stream)
    assert ids_of(frames) == list(range(1, len(frames) + 1))
    assert [frame.payload["command"] for frame in frames if frame.event == "command"] == ["STOP"]
    assert all(frame.payload["eventType"] in ("FLOW_STATUS", "STEP_STATUS") for frame in status_frames(frames))


def test_a_finished_run_gives_its_snapshot_and_ends(api):
    detail = api.run([step()])
    with api.stream(detail["id"]) as stream:
        frames = list(stream)
    assert [frame.event for frame in frames] == ["snapshot"]
    assert frames[0].payload == detail and frames[0].id == detail["seq"]


def test_resuming_has_no_gap_and_no_repeat_from_anywhere(api):
    detail = api.run([step() for _ in range(6)])
    last = detail["seq"]
    for seq in range(0, last):
        with api.stream(detail["id"], last_event_id=seq) as stream:
            assert ids_of(stream) == list(range(seq + 1, last + 1)), seq


def test_each_way_to_say_where_and_which_wins(api):
    detail = api.run([step()])
    run_id, last = detail["id"], detail["seq"]
    for header, params, first in [
        (None, "?lastEventId=2", 3), (None, "?from=2", 3), (None, "?from=0", 1), (3, "?lastEventId=1", 4),
        (3, "?from=0", 4), (None, "?from=0&lastEventId=3", 4), (0, "", 1),
    ]:
        with api.stream(run_id, last_event_id=header, params=params) as stream:
            assert ids_of(stream) == list(range(first, last + 1)), (header, params)


def test_past_the_end_of_an_ended_run_is_204(api):
    detail = api.run([step()])
    for seq in (detail["seq"], detail["seq"] + 1, 10**15):
        with api.stream(detail["id"], last_event_id=seq) as stream:
            assert stream.status == 204 and stream.response.read() == b""


def test_beyond_the_end_of_a_running_run_is_the_end(api):
    run_id = api.start(api.create_flow([delay(A_MINUTE)]))
    api.wait_status(run_id, "RUNNING")
    wait_until(lambda: len(api.events(run_id)) == 3, what="the step's RUNNING")
    with api.stream(run_id, last_event_id=10**6) as stream:
        assert stream.status == 200
        api.command(run_id, "stop")
        frames = stream.until(is_end)
        assert frames[0].id == 4


@pytest.mark.parametrize("value", ["x", "-1", "1.5"])
def test_an_id_that_is_none(api, value):
    run_id = api.run([step()])["id"]
    with api.stream(run_id, params=f"?from={value}") as stream:
        assert stream.status == 400


def test_nothing_is_told_to_strangers(server, api):
    run_id = api.start(api.create_flow([step()]))
    with Client(server).stream(run_id) as stream:
        assert stream.status == 404


def test_many_streams_of_one_run_see_the_same(api):
    first = new_id()
    run_id = api.start(api.create_flow([delay(700, step_id=first)] + [step(inputs={"x": f"${{{first}.ms}}"}) for _ in range(20)]))
    streams = [api.stream(run_id, params="?from=0") for _ in range(60)]
    seen = in_threads(lambda stream: [(frame.id, frame.payload) for frame in stream], streams, 60)
    assert all(one == seen[0] for one in seen)
    assert [seq for seq, _ in seen[0]] == list(range(1, len(seen[0]) + 1))
    for stream in streams:
        stream.close()


def test_a_client_that_drops_and_resumes_many_times_misses_nothing(api):
    steps = [step(inputs={"i": "0"})]
    for _ in range(60):
        steps.append(step(inputs={"after": f"${{{steps[-1]['stepId']}.i}}", "i": "1"}))
    run_id = api.start(api.create_flow(steps))
    seen, status = [], 200
    while status == 200:
        with api.stream(run_id, last_event_id=seen[-1] if seen else 0) as stream:
            status = stream.status
            for frame in stream if status == 200 else ():
                seen.append(frame.id)
                if len(seen) % 7 == 0:
                    break
    assert status == 204
    assert seen == list(range(1, api.status(run_id)["seq"] + 1))


def test_streams_that_go_away_leave_nothing_behind(server, api):
    run_id = api.start(api.create_flow([delay(A_MINUTE)]))
    api.wait_status(run_id, "RUNNING")
    before = server.open_descriptors()
    for _ in range(3):
        streams = [api.stream(run_id) for _ in range(100)]
        assert {stream.next().event for stream in streams} == {"snapshot"}
        for stream in streams:
            stream.close()
        wait_until(lambda: server.open_descriptors() <= before + 2, what="closed descriptors")
    api.command(run_id, "stop")
    api.wait_end(run_id)


def test_what_a_stream_client_still_sends_is_discarded(server, api):
    run_id = api.start(api.create_flow([delay(A_MINUTE)]))
    with api.stream(run_id) as stream:
        assert stream.next().event == "snapshot"
        stream.socket.setblocking(False)
        sent, junk = 0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
        before = server.resident_bytes()
        deadline = time.monotonic() + 2
        while sent < 32 * 1024 * 1024 and time.monotonic() < deadline:
            try:
                sent += stream.socket.send(junk)
            except BlockingIOError:
                pass
            except OSError:
                break  # closing such a client is as good as ignoring it
        assert server.resident_bytes() - before < 16 * 1024 * 1024 or server.is_sanitized()
    api.command(run_id, "stop")
    api.wait_end(run_id)


def test_a_client_that_does_not_read_costs_no_memory_and_loses_nothing(server, api):
    text = "x" * 30000
    steps = [step(inputs={"x": text}) for _ in range(8)]
    flow_id = api.create_flow([delay(300, step_id=new_id())] + steps)
    run_id = api.start(flow_id)
    streams = [Stream(api, run_id, params="?from=0", timeout=30) for _ in range(40)]
    last = api.wait_end(run_id)["seq"]
    assert [ids_of(stream) for stream in streams] == [list(range(1, last + 1))] * len(streams)
    for stream in streams:
        stream.close()


def test_a_comment_keeps_the_connection_alive(api):
    run_id = api.start(api.create_flow([delay(A_MINUTE)]))
    api.wait_status(run_id, "RUNNING")
    wait_until(lambda: len(api.events(run_id)) == 3, what="the step's RUNNING")
    with api.stream(run_id, last_event_id=3, timeout=18) as stream:
        begin = time.monotonic()
        while not stream.comments:
            line = stream.response.readline()
            assert line, "the stream ended"
            if line.startswith(b":"):
                stream.comments.append(line)
        assert time.monotonic() - begin < 17
    api.command(run_id, "stop")
    api.wait_end(run_id)
