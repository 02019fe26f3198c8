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
import pytest
import requests

from harness import BINARY, Client, RealServer, Server, delay, environment, error_of, new_id, step, wait_until


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
    wait_until(lambda: load.flow_id and api.get("/runs", params={"page": 0, "pageSize": 1}).json()["metadata"]["totalCount"] == len(run_ids),
               30, "a list of just these runs")


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
        wait_until(lambda: api.get("/runs", params={"page": 0}).json()["metadata"]["totalCount"] > 10, 30, "some load")
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
