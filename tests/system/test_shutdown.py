"""How a server ends when it is asked to: what it took is answered, streams say when to come back, what was ordered goes on."""

import contextlib
import http.client
import json
import signal
import socket
import time

import requests

from harness import BASE, Client, delay, in_threads, new_id, read_all, step, wait_until

N_STREAMS = 500
LONGEST_S = 10


def is_gone(server):
    """SIGTERM has been taken: the port is nobody's."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # just as the port was closed
    return False


def connect(server, stack):
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))


def start_request(flow_id, user):
    return (f"POST {BASE}/flows/{flow_id}/start HTTP/1.1\r\nHost: localhost\r\nX-User-Id: {user}\r\n"
            f"Content-Length: 0\r\n\r\n").encode()


def answer_of(peer):
    """The run's id, or None when the service was shutting down: one whole answer in any case."""
    response = http.client.HTTPResponse(peer, method="POST")
    response.begin()
    body = json.loads(response.read())
    if response.status == 503:
        assert int(response.getheader("Retry-After")) > 0
        assert body["metadata"]["additional"]["outcome"] == "none"
        return None
    assert response.status == 202, body
    return body["data"]


def test_an_idle_server_ends_at_once(make_server):
    server = make_server().start()
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 5


def test_a_second_signal_changes_nothing(make_server):
    server = make_server().start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        server.process.send_signal(number)
    assert server.process.wait(LONGEST_S) == 0
    assert server.log().count('"stopped"') == 1


def test_a_silent_connection_is_closed_without_a_word(make_server):
    server = make_server().start()
    with contextlib.ExitStack() as stack:
        silent = connect(server, stack)
        wait_until(lambda: int(metric(server, "flowops_http_connections")) >= 2, 10, "the connection")
        server.terminate()
        assert read_all(silent, 5) == b""
    server.stop()


def metric(server, name):
    text = requests.get(f"{server.url}/metrics", timeout=10, headers={"Connection": "close"}).text
    return next(line.split()[1] for line in text.splitlines() if line.startswith(name + " "))


def test_a_request_that_is_still_arriving_may_end_and_is_refused(make_server):
    server = make_server().start()
    user = new_id()
    flow_id = Client(server, user).create_flow([step()])
    with contextlib.ExitStack() as stack:
        late = connect(server, stack)
        request = start_request(flow_id, user)
        late.sendall(request[:-2])
        wait_until(lambda: int(metric(server, "flowops_http_connections")) >= 2, 10, "the connection")
        server.terminate()
        wait_until(lambda: is_gone(server), LONGEST_S, "the end of accepting")
        late.sendall(request[-2:])
        assert answer_of(late) is None
    server.stop()


def test_what_was_received_when_the_signal_came_is_answered(make_server):
    """On open connections and on such as nobody has accepted yet: the process stands still until all of it has arrived."""
    server = make_server().start()
    user = new_id()
    flow_id = Client(server, user).create_flow([step()])
    request = start_request(flow_id, user)
    with contextlib.ExitStack() as stack:
        peers = [connect(server, stack) for _ in range(100)]
        wait_until(lambda: int(metric(server, "flowops_http_connections")) > len(peers), 10, "the connections")
        server.process.send_signal(signal.SIGSTOP)
        peers += [connect(server, stack) for _ in range(50)]
        for peer in peers:
            peer.sendall(request)
        server.terminate()
        server.process.send_signal(signal.SIGCONT)
        acknowledged = [run_id for run_id in map(answer_of, peers) if run_id is not None]
    server.stop()
    server.start()
    api = Client(server, user)
    for run_id in acknowledged:
        assert api.wait_end(run_id)["status"] == "COMPLETED"
    def count_runs():
        return api.get("/runs").json()["metadata"]["totalCount"]

    wait_until(lambda: count_runs() == len(acknowledged), 10, "all in the list")  # and no more: a 503 said that nothing happened
    server.stop()


def open_stream(server, user, run_id, stack):
    peer = connect(server, stack)
    peer.sendall(f"GET {BASE}/stream/{run_id} HTTP/1.1\r\nHost: localhost\r\nX-User-Id: {user}\r\n\r\n".encode())
    received = b""
    while b"event: snapshot" not in received:
        piece = peer.recv(65536)
        assert piece, received
        received += piece
    return peer


def start_until_the_end(server, user, flow_id, acknowledged):
    """Runs on one connection that is kept alive; each request is answered, and the last answer says that it is the last."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.connect()
    connection.auto_open = 0  # it is the server's to end it
    while True:
        connection.request("POST", f"{BASE}/flows/{flow_id}/start", headers={"X-User-Id": user, "Content-Length": "0"})
        response = connection.getresponse()
        body = json.loads(response.read())
        if response.status == 202:
            acknowledged.append(body["data"])
        else:  # the doors close a moment before the connections are told
            assert response.status == 503 and int(response.getheader("Retry-After")) > 0, body
        if response.getheader("Connection") == "close":
            connection.close()
            return


def test_five_hundred_streams_and_a_load_end_in_time(make_server):
    server = make_server().start()
    user = new_id()
    api = Client(server, user)
    flow_id = api.create_flow([step()])
    watched = [api.start(api.create_flow([delay(60000)])) for _ in range(20)]
    acknowledged = []
    with contextlib.ExitStack() as stack:
        streams = [open_stream(server, user, watched[i % len(watched)], stack) for i in range(N_STREAMS)]
        begin = []

        def work(number):
            if number > 0:
                start_until_the_end(server, user, flow_id, acknowledged)
                return
            wait_until(lambda: len(acknowledged) > 200, 30, "load")
            begin.append(time.monotonic())
            server.terminate()

        in_threads(work, range(9), 9)
        assert server.process.wait(LONGEST_S + 5) == 0
        assert time.monotonic() - begin[0] < LONGEST_S
        for peer in streams:
            last = read_all(peer, 5)
            assert b"retry: " in last and last.endswith(b"\r\n0\r\n\r\n"), last
    server.start()
    api = Client(server, user)
    for run_id in acknowledged:
        assert api.wait_end(run_id)["status"] == "COMPLETED"
    assert {api.status(run_id)["status"] for run_id in watched} == {"RUNNING"}
    server.stop()


def test_nobody_is_let_in_while_the_last_are_served(make_server):
    server = make_server().start()
    with contextlib.ExitStack() as stack:
        slow = connect(server, stack)
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        wait_until(lambda: int(metric(server, "flowops_http_connections")) >= 2, 10, "the connection")
        server.terminate()
        wait_until(lambda: is_gone(server), LONGEST_S, "the end of accepting")
        assert server.process.poll() is None
        slow.sendall(b"\r\n")
        assert read_all(slow, 5).startswith(b"HTTP/1.1 200 ")
    server.stop()


def test_what_no_engine_has_taken_yet_waits_for_the_next_start(make_server):
    server = make_server(ENGINE="off").start()
    user = new_id()
    api = Client(server, user)
    flow_id = api.create_flow([step()])
    acknowledged = [api.start(flow_id) for _ in range(50)]
    server.stop()
    server.settings["ENGINE"] = "on"
    server.start()
    api = Client(server, user)
    for run_id in acknowledged:
        assert api.wait_end(run_id)["status"] == "COMPLETED"
    server.stop()


def blocks_sigterm(server):
    """It has begun: before that, the signal ends it at once."""
    status = open(f"/proc/{server.process.pid}/status", encoding="ascii").read()
    blocked = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return int(blocked, 16) >> (signal.SIGTERM - 1) & 1 == 1


def test_an_end_while_it_starts_is_no_start(make_server):
    server = make_server(MONGO_URI="mongodb://127.0.0.1:1").spawn()  # nobody is there: its time-out is waited for
    wait_until(lambda: blocks_sigterm(server), 10, "the start")
    server.terminate()
    assert server.process.wait(LONGEST_S) == 0
    log = server.log()
    assert '"stopped"' in log and '"ready"' not in log and "FlowOps Execution Service on" not in log
