"""A store that is not there, dies under load, stands still, refuses the password: what clients are told meanwhile, and that
nothing which was acknowledged is lost. Each test has a server of its own, which it may hurt."""

import json
import signal
import socketserver
import struct
import subprocess
import threading
import time

import bson
import pymongo
import pytest
import requests

from harness import BINARY, Client, RealServer, Server, delay, environment, error_of, new_id, step, wait_until
from manager import Manager


@pytest.fixture
def make_mongo(tmp_path):
    servers = []

    def make(name="ferretdb"):
        servers.append(RealServer(name, tmp_path / name))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def make_server(tmp_path):
    servers = []

    def make(address, login="", **settings):
        server = Server(tmp_path / f"service{len(servers)}", MONGO_URI=f"mongodb://{login}{address}", MONGO_DB="flowops", **settings)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.kill()


def readiness(server):
    response = requests.get(f"{server.url}/readyz", timeout=15)
    return response.status_code, response.text


def start_without_store(server):
    server.spawn()
    server.port = int(wait_until(server._announced_port, 30, "the server's address"))
    return server


def is_sound(mongo):
    done = subprocess.run([BINARY, "fsck", "--store", f"mongodb://{mongo.address}/flowops"], env=environment(), capture_output=True,
                          text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def assert_unavailable(response, outcomes):
    error_of(response, 503, "UNAVAILABLE")
    assert int(response.headers["Retry-After"]) >= 1
    assert response.json()["metadata"]["additional"]["outcome"] in outcomes


def count_runs(api):
    response = api.get("/runs", params={"page": 0, "pageSize": 1})
    return response.json()["metadata"]["totalCount"] if response.status_code == 200 else None


class Load:
    """Starts runs, each under a key of its own, one after another on each thread; remembers how each was answered."""

    def __init__(self, server, flow_id, user, n_threads=3, pause_s=0.1):
        self.server, self.flow_id, self.user, self.pause_s = server, flow_id, user, pause_s
        self.acknowledged, self.in_doubt, self.refused, self.errors = {}, [], 0, []
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._work) for _ in range(n_threads)]
        for thread in self.threads:
            thread.start()

    def _work(self):
        api = Client(self.server, self.user)
        try:
            while not self.is_over.wait(self.pause_s):
                key = new_id()
                response = api.post(f"/flows/{self.flow_id}/start", headers={"Idempotency-Key": key}, timeout=60)
                if response.status_code == 202:
                    self.acknowledged[key] = response.json()["data"]
                    continue
                assert_unavailable(response, ("none", "unknown"))
                self.refused += 1
                if response.json()["metadata"]["additional"]["outcome"] == "unknown":
                    self.in_doubt.append(key)
        except BaseException as error:
            self.errors.append(error)

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors[0]


def assert_nothing_is_lost(load):
    """Each acknowledged run is there, ends, and has a journal without a gap; a key gives its run again, and what was in doubt
    is there once or not at all."""
    api = Client(load.server, load.user)
    for key, run_id in load.acknowledged.items():
        assert api.wait_end(run_id, 60)["status"] == "COMPLETED"
        events = api.events(run_id)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["eventType"] for event in events].count("RUN_CREATED") == 1
    settled = {}
    for key in list(load.acknowledged)[-10:] + load.in_doubt:
        settled[key] = api.start(load.flow_id, headers={"Idempotency-Key": key})
        assert load.acknowledged.get(key, settled[key]) == settled[key]
        api.wait_end(settled[key], 60)
    run_ids = set(load.acknowledged.values()) | set(settled.values())
    assert len(run_ids) == len(load.acknowledged) + len(load.in_doubt)
    wait_until(lambda: count_runs(api) == len(run_ids), 30, "a list of just these runs")


def test_a_store_that_is_down_at_the_start(make_mongo, make_server):
    mongo = make_mongo()
    server = start_without_store(make_server(mongo.address))
    api = Client(server)
    status, text = readiness(server)
    assert status == 503 and "the store" in text
    assert_unavailable(api.post("/flows", json={"name": "a flow"}), ("none",))
    assert_unavailable(api.get("/flows"), ("none",))
    mongo.start()
    wait_until(lambda: readiness(server)[0] == 200, 30, "readiness")
    assert api.run([step()])["status"] == "COMPLETED"
    server.stop()
    is_sound(mongo)


def test_a_store_that_is_killed_under_load_and_back_after_twenty_seconds(make_mongo, make_server):
    mongo = make_mongo().start()
    server = make_server(mongo.address).start()
    api = Client(server)
    load = Load(server, api.create_flow([step()]), api.user)
    wait_until(lambda: len(load.acknowledged) >= 20, 30, "some load")
    mongo.kill()
    began = time.monotonic()
    wait_until(lambda: load.refused > 0 or load.errors, 30, "a refusal")
    wait_until(lambda: readiness(server)[0] == 503, 15, "/readyz to say so")
    assert requests.get(f"{server.url}/healthz", timeout=5).status_code == 200
    wait_until(lambda: time.monotonic() - began > 20, 30, "the twenty seconds")
    n_before = len(load.acknowledged)
    mongo.start()
    wait_until(lambda: len(load.acknowledged) >= n_before + 20 or load.errors, 60, "load that goes on")
    load.end()
    wait_until(lambda: readiness(server)[0] == 200, 30, "readiness")
    assert_nothing_is_lost(load)
    server.stop()
    is_sound(mongo)


def test_a_store_that_stands_still_starves_no_watchdog(make_mongo, make_server, tmp_path):
    """The shortest watchdog that is documented: the writer is looked at every 30 s."""
    mongo = make_mongo("mongo-java").start()
    manager = Manager(str(tmp_path / "notify"))
    server = make_server(mongo.address, **manager.settings(WATCHDOG_USEC=60_000_000)).start()
    api = Client(server)
    load = Load(server, api.create_flow([step()]), api.user)
    wait_until(lambda: len(load.acknowledged) >= 20, 30, "some load")
    manager.expect("READY=1")
    mongo.signal(signal.SIGSTOP)
    for _ in range(2):  # the second may see no step since the first
        manager.expect("WATCHDOG=1", timeout=32)
    mongo.signal(signal.SIGCONT)
    load.end()
    manager.socket.close()
    assert_nothing_is_lost(load)
    server.stop()


@pytest.mark.parametrize("name", ["ferretdb", "mongo-java"])
def test_a_store_that_stands_still_for_ten_seconds(make_mongo, make_server, name):
    mongo = make_mongo(name).start()
    server = make_server(mongo.address).start()
    api = Client(server)
    load = Load(server, api.create_flow([step()]), api.user)
    wait_until(lambda: len(load.acknowledged) >= 20, 30, "some load")
    mongo.signal(signal.SIGSTOP)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 10, 30, "the ten seconds")
    n_before = len(load.acknowledged)
    mongo.signal(signal.SIGCONT)
    wait_until(lambda: len(load.acknowledged) >= n_before + 20 or load.errors, 60, "load that goes on")
    load.end()
    assert_nothing_is_lost(load)
    server.stop()
    is_sound(mongo)


@pytest.mark.parametrize("name", ["ferretdb", "mongo-java"])
@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
def test_sigterm_while_the_store_stands_still(make_mongo, make_server, name, is_busy):
    mongo = make_mongo(name).start()
    server = make_server(mongo.address).start()
    api = Client(server)
    flow_id = api.create_flow([step(), delay(200), step()])
    is_over = threading.Event()

    def work():
        client = Client(server, api.user)
        while not is_over.is_set():
            try:
                run_id = client.start(flow_id)
                client.status(run_id)
                client.data("/runs")
                client.put(f"/flows/{flow_id}", json={"name": "other"})
            except (requests.RequestException, AssertionError):
                is_over.wait(0.01)

    threads = [threading.Thread(target=work) for _ in range(8 if is_busy else 0)]
    for thread in threads:
        thread.start()
    if is_busy:
        wait_until(lambda: (count_runs(api) or 0) > 10, 30, "some load")
    mongo.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped > 1, 10, "calls that hang")
    server.terminate()
    began = time.monotonic()
    try:
        status = server.process.wait(30)
        took = time.monotonic() - began
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert status == 0, server.log()
    assert took < 10, f"the end took {took:.1f} s"


def test_a_list_goes_on_where_it_was_when_the_store_has_been_restarted(make_mongo, make_server):
    mongo = make_mongo().start()
    server = make_server(mongo.address, ENGINE="off").start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    run_ids = [api.start(flow_id) for _ in range(30)]
    seen, params = [], {"pageSize": 10}
    while params is not None:
        answer = wait_until(lambda: (r := api.get("/runs", params=params)).status_code == 200 and r.json(), 30, "a page")
        seen += [run["id"] for run in answer["data"]]
        cursor = (answer["metadata"].get("additional") or {}).get("nextCursor")
        params = {"pageSize": 10, "cursor": cursor} if cursor else None
        mongo.kill()
        mongo.start()
    assert sorted(seen) == sorted(run_ids)
    server.stop()


# ---- credentials ----


class Refuser(socketserver.ThreadingTCPServer):
    """As much of MongoDB's protocol as tells a client that its password is wrong."""

    allow_reuse_address = daemon_threads = True

    class Connection(socketserver.StreamRequestHandler):
        def handle(self):
            while True:
                header = self.rfile.read(16)
                if len(header) < 16:
                    return
                length, request_id, _, opcode = struct.unpack("<iiii", header)
                body = self.rfile.read(length - 16)
                is_query = opcode == 2004  # OP_QUERY: flags, name, skip, limit; else OP_MSG: flags, a section of kind 0
                command = bson.decode_all(body[body.index(b"\0", 4) + 9:] if is_query else body[5:])[0]
                answer = bson.encode(self.server.answer(next(iter(command))))
                head = struct.pack("<iqii", 8, 0, 0, 1) if is_query else b"\0\0\0\0\0"
                self.wfile.write(struct.pack("<iiii", 16 + len(head) + len(answer), 1, request_id, 1 if is_query else 2013) + head + answer)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Connection)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.logins = 0

    def answer(self, name):
        if name.lower() in ("hello", "ismaster"):
            return {"ok": 1, "ismaster": True, "isWritablePrimary": True, "maxWireVersion": 17, "minWireVersion": 0,
                    "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
                    "saslSupportedMechs": ["SCRAM-SHA-256"]}
        if name in ("saslStart", "saslContinue"):
            self.logins += 1
            return {"ok": 0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed: somebody, hush@word"}
        return {"ok": 0, "code": 13, "codeName": "Unauthorized", "errmsg": "command requires authentication"}


@pytest.fixture
def refuser():
    with Refuser() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["as MongoDB", "ferretdb"])
def test_a_wrong_password_is_one_clear_line_without_it(make_mongo, make_server, refuser, name):
    mongo = refuser if name == "as MongoDB" else make_mongo(name).start()
    server = start_without_store(make_server(mongo.address, login="somebody:hush%40word@", ENGINE="off"))
    api = Client(server)
    assert_unavailable(api.post("/flows", json={"name": "a flow"}), ("none",))
    assert_unavailable(api.get("/runs"), ("none",))
    assert readiness(server)[0] == 503
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 5, 10, "two rounds of the sweeper")
    server.stop()
    log = server.log()
    lines = [json.loads(line) for line in log.splitlines() if "refuses the login" in line]
    told = [line["message"] for line in lines]
    assert told.count("the store does not answer") == 1 and len(set(told)) == len(told), told
    assert set(told) <= {"the store does not answer", "the store refused a write; its callers get 503", "schedules wait; it is tried again"}
    assert "hush" not in log and "somebody" not in log
    assert name == "ferretdb" or refuser.logins > 0
    fsck = subprocess.run([BINARY, "fsck", "--store", f"mongodb://somebody:hush%40word@{mongo.address}/flowops"], env=environment(),
                          capture_output=True, text=True, timeout=60, check=False)
    assert fsck.returncode == 2 and fsck.stderr == "flowops: cannot use the database: MongoDB refuses the login\n", fsck.stderr


# ---- indexes ----


def test_an_index_that_is_refused_is_told_of_and_the_rest_works(make_mongo, make_server):
    mongo = make_mongo().start()
    with pymongo.MongoClient(f"mongodb://{mongo.address}") as client:
        client.flowops.flows.create_index([("owner", 1), ("createdAt", -1), ("_id", 1)], name="somebody's")
    server = make_server(mongo.address).start()
    wait_until(lambda: "degraded" in readiness(server)[1], 30, "the word of it")
    assert "indexes" in readiness(server)[1]
    assert Client(server).run([step()])["status"] == "COMPLETED"
    server.stop()
    lines = [json.loads(line) for line in server.log().splitlines() if "lacks indexes" in line]
    assert len(lines) == 1 and "indexes of flows" in lines[0]["error"], server.log()
