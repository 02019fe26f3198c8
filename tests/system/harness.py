"""What the whole-binary tests stand on: a server of our own, a client, a reader of event streams, waiting with a deadline.

The program under test is $FLOWOPS_BINARY, or build/flowops. With $FLOWOPS_TEST_MONGO (host:port, or a URI, of a server of the
MongoDB protocol) every server keeps its data there, in a database of its own.
"""

import dataclasses
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("FLOWOPS_BINARY", ROOT / "build" / "flowops")).resolve()
MONGO = os.environ.get("FLOWOPS_TEST_MONGO")
BASE = "/api/executions"
TERMINAL = {"COMPLETED", "FAILED", "STOPPED"}
STEP_TERMINAL = {"COMPLETED", "FAILED", "SKIPPED", "CANCELLED"}
OURS = (
    "EXECUTION_SERVICE_PORT LISTEN_ADDR DATA_DIR AUTH_MODE GATEWAY_SECRET ALLOW_UNAUTHENTICATED ENGINE "
    "ENGINE_MAX_PARALLEL_STEPS MAX_OPEN_RUNS HTTP_LOOPS STORE_READERS CACHE_BYTES COMMAND_RESEND_SECONDS LOG_LEVEL LOG_FORMAT "
    "KAFKA_BROKER KAFKA_OPTIONS KAFKA_PARTITIONS KAFKA_REPLICATION MONGO_URI MONGO_DB RUN_RETENTION_DAYS "
    "MONGO_PORT KAFKA_PORT KAFKA_CLUSTER_ID"
).split()
SANITIZER_REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion|assertion failed")


def wait_until(condition, timeout=15.0, what="the condition"):
    """Gives the first true value of condition(); fails when there is none in time."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come in {timeout} s; last: {value!r}")
        pause.wait(0.01)


def new_id():
    return str(uuid.uuid4())


def environment(**settings):
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    env["MONGOC_DISABLE_SHM"] = "1"  # what libmongoc leaves of a killed process makes it warn in the next one of the same number
    env.update({name: str(value) for name, value in settings.items()})
    return env


def kill_now(process):
    """As kill -9 does."""
    process.kill()
    process.wait()


def mongo_uri(database=""):
    """$FLOWOPS_TEST_MONGO as a URI with this database in its path; a login in it is the server's, not that database's."""
    scheme, _, rest = (MONGO if "://" in MONGO else f"mongodb://{MONGO}").partition("://")
    place, _, options = rest.partition("?")
    hosts = place.partition("/")[0]
    if "@" in hosts and "authsource=" not in options.lower():
        options += ("&" if options else "") + "authSource=admin"
    return f"{scheme}://{hosts}/{database}" + (f"?{options}" if options else "")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class RealServer:
    """What tools/servers starts, in a process group of its own: signals hit the server itself, too."""

    def __init__(self, name, folder, words=()):
        self.name, self.words = name, words
        self.folder = Path(folder)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen([ROOT / "tools" / "servers", self.name, "--port", str(self.port), "--dir", self.folder,
                                         *self.words],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
        line = self.process.stdout.readline()
        assert line.startswith("ready"), f"{self.name} did not start: {line!r}"
        return self

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        """At once, as kill -9 does."""
        if self.process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.process = None


class Server:
    """build/flowops serve on a free port, with what it writes kept in a file."""

    def __init__(self, data_dir, limits=None, **settings):
        self.data_dir = Path(data_dir)
        self.settings = {"EXECUTION_SERVICE_PORT": 0, "LOG_FORMAT": "json"}
        if MONGO:
            name = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:16]
            self.settings.update(MONGO_URI=mongo_uri(), MONGO_DB=f"flowops_{name}")
        self.settings.update(settings)
        self.limits = limits
        self.log_path = self.data_dir.parent / (self.data_dir.name + ".log")
        self.process = None
        self.port = None

    def spawn(self):
        """Starts without waiting for anything."""
        self.log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve"],
                env=environment(DATA_DIR=self.data_dir, **self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir.parent,
                preexec_fn=self.limits,
            )
        return self

    def start(self, timeout=20.0):
        return self.spawn().start_waiting(timeout)

    def start_waiting(self, timeout=20.0):
        """What is left of a start after spawn()."""
        self.port = int(wait_until(self._announced_port, timeout, "the server's address"))
        wait_until(self._is_ready, timeout, "readiness")
        return self

    def _announced_port(self):
        assert self.process.poll() is None, f"the server ended: {self.log()}"
        found = re.search(r"https?://[^\s\"/]+:(\d+)", self.log())
        return found and found.group(1)

    def _is_ready(self):
        assert self.process.poll() is None, f"the server ended: {self.log()}"
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def log(self):
        """What was written since the last start."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode("utf-8", "replace")

    def refuses_to_start(self, timeout=20.0):
        """Starts a server that is to end by itself; gives its exit status and what it said."""
        self.spawn()
        try:
            return self.process.wait(timeout), self.log()
        finally:
            self.kill()

    def kill(self):
        if self.process is not None:
            kill_now(self.process)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout=20.0):
        """An orderly end, which is to be without complaint."""
        if self.process is None or self.process.returncode is not None:
            return
        self.terminate()
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end the server in {timeout} s: {self.log()[-2000:]}") from None
        log = self.log_path.read_text(encoding="utf-8", errors="replace")
        assert status == 0, f"exit status {status}: {log[-4000:]}"
        assert not SANITIZER_REPORT.search(log), log[-8000:]

    def restart(self):
        self.stop()
        return self.start()

    def is_sanitized(self):
        """Sanitizers keep freed memory for a while: figures of memory mean nothing then."""
        return re.search(r"lib[at]san", Path(f"/proc/{self.process.pid}/maps").read_text(encoding="utf-8")) is not None

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def processor_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Client:
    """One user of one server. Calls give the response; the named helpers insist on success and give the payload."""

    def __init__(self, server, user=None, headers=None):
        self.server = server
        self.user = user or new_id()
        self.session = requests.Session()
        self.session.headers.update({"X-User-Id": self.user, **(headers or {})})

    def call(self, method, path, timeout=30, **kwargs):
        url = path if path.startswith("http") else self.server.url + (path if path.startswith("/api") else BASE + path)
        return self.session.request(method, url, timeout=timeout, **kwargs)

    def get(self, path, **kwargs):
        return self.call("GET", path, **kwargs)

    def post(self, path, **kwargs):
        return self.call("POST", path, **kwargs)

    def put(self, path, **kwargs):
        return self.call("PUT", path, **kwargs)

    def delete(self, path, **kwargs):
        return self.call("DELETE", path, **kwargs)

    def data(self, path, **kwargs):
        response = self.get(path, **kwargs)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def create_flow(self, steps=None, name="a flow", **members):
        body = {"name": name, **members}
        if steps is not None:
            body["steps"] = steps
        response = self.post("/flows", json=body)
        assert response.status_code == 201, response.text
        return response.json()["data"]["id"]

    def start(self, flow_id, body=None, **kwargs):
        response = self.post(f"/flows/{flow_id}/start", **({} if body is None else {"json": body}), **kwargs)
        assert response.status_code == 202, response.text
        return response.json()["data"]

    def run(self, steps, body=None, timeout=20, **members):
        """Creates a flow, starts it and waits for its end; gives the run's detail."""
        return self.wait_end(self.start(self.create_flow(steps, **members), body), timeout)

    def status(self, run_id):
        return self.data(f"/runs/{run_id}/status")

    def wait_status(self, run_id, *statuses, timeout=20):
        def arrived():
            detail = self.status(run_id)
            assert detail["status"] in statuses or detail["status"] not in TERMINAL, detail
            return detail if detail["status"] in statuses else None

        return wait_until(arrived, timeout, f"{run_id} {statuses}")

    def wait_end(self, run_id, timeout=20):
        """The run's detail once it and every step of it has ended."""

        def ended():
            detail = self.status(run_id)
            is_settled = all(step["status"] in STEP_TERMINAL for step in detail["steps"])
            return detail if detail["status"] in TERMINAL and is_settled else None

        return wait_until(ended, timeout, f"the end of {run_id}")

    def wait_step(self, run_id, step_id, *statuses, timeout=20):
        return wait_until(lambda: step_of(self.status(run_id), step_id)["status"] in statuses, timeout, f"{step_id} {statuses}")

    def command(self, run_id, command, **kwargs):
        return self.post(f"/runs/{run_id}/{command}", **kwargs)

    def events(self, run_id, after=0, limit=1000):
        return self.data(f"/runs/{run_id}/events", params={"after": after, "limit": limit})

    def stream(self, run_id, **kwargs):
        return Stream(self, run_id, **kwargs)


def list_order(entities):
    """Ids of flows or runs as the contract orders lists: newest createdAt first, then by id."""
    by_id = sorted(entities, key=lambda entity: entity["id"])
    return [entity["id"] for entity in sorted(by_id, key=lambda entity: entity["createdAt"], reverse=True)]


def step(plugin="echo", step_id=None, **members):
    return {"stepId": step_id or new_id(), "pluginId": plugin, "type": "ACTION", **members}


def delay(ms, **members):
    return step("delay", inputs={"ms": str(ms)}, **members)


def step_of(detail, step_id):
    return next(step for step in detail["steps"] if step["stepId"] == step_id)


def step_events(events, step_id):
    return [event for event in events if event.get("stepId") == step_id]


def error_of(response, status, code, field=None):
    """Checks a failure's envelope; gives its only error, or the one of a field."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/json")
    body = response.json()
    assert body["metadata"]["success"] is False
    assert body["metadata"]["requestId"] == response.headers["X-Request-Id"]
    assert "data" not in body
    errors = [error for error in body["errors"] if field is None or error.get("field") == field]
    assert errors, body
    assert errors[0]["code"] == code and errors[0]["message"], body
    return errors[0]


@dataclasses.dataclass
class Frame:
    id: int
    event: str
    data: dict
    retry: str = None
    raw: str = ""

    @property
    def payload(self):
        return self.data["data"]


class Stream:
    """A run's event stream, read frame by frame."""

    def __init__(self, client, run_id, last_event_id=None, params="", timeout=20):
        self.connection = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=timeout)
        headers = {"X-User-Id": client.user, "Accept": "text/event-stream", **{
            name: value for name, value in client.session.headers.items() if name.startswith("X-Gateway")}}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        self.connection.request("GET", f"{BASE}/stream/{run_id}{params}", headers=headers)
        self.socket = self.connection.sock  # the connection lets go of it when the response is to end with it
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.comments = []
        self.retries = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.response.close()
        self.connection.close()

    def next(self):
        """The next frame, or None when the stream has ended. Comments are kept aside."""
        fields, raw = {}, []
        while True:
            line = self.response.readline()
            if not line:
                assert not fields, f"the stream ended inside a frame: {raw}"
                return None
            text = line.decode("utf-8").rstrip("\n").rstrip("\r")
            if text.startswith(":"):
                self.comments.append(text)
            elif text:
                name, _, value = text.partition(":")
                raw.append(text)
                assert name not in fields, f"{name} twice in a frame: {raw}"
                fields[name] = value[1:] if value.startswith(" ") else value
            elif "retry" in fields and len(fields) == 1:
                self.retries.append(fields["retry"])
                fields, raw = {}, []
            elif fields:
                if "retry" in fields:
                    self.retries.append(fields["retry"])
                return Frame(
                    id=int(fields["id"]) if "id" in fields else None,
                    event=fields.get("event"),
                    data=json.loads(fields["data"]),
                    retry=fields.get("retry"),
                    raw="\n".join(raw),
                )

    def __iter__(self):
        return iter(self.next, None)

    def until(self, condition):
        """Frames up to the first that meets the condition, which is the last of them."""
        frames = []
        for frame in self:
            frames.append(frame)
            if condition(frame):
                return frames
        raise AssertionError(f"the stream ended before: {frames}")


def ids_of(frames):
    return [frame.id for frame in frames]


def flow_status_of(frame):
    payload = frame.payload
    return payload["status"] if payload.get("eventType") == "FLOW_STATUS" else None


def exchange(port, request, timeout=15.0):
    """Sends bytes as they are; gives everything that comes back until the peer closes or the deadline."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as peer:
        peer.sendall(request)
        return read_all(peer, timeout)


def read_all(peer, timeout=15.0):
    deadline = time.monotonic() + timeout
    received = b""
    while True:
        peer.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            piece = peer.recv(65536)
        except (socket.timeout, ConnectionResetError):
            return received
        if not piece:
            return received
        received += piece


def in_threads(function, arguments, n_threads=16):
    """Calls function(argument) for each argument from that many threads; gives the results in order."""
    arguments = list(arguments)
    results = [None] * len(arguments)
    errors = []
    todo = iter(range(len(arguments)))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                i = next(todo, None)
            if i is None:
                return
            try:
                results[i] = function(arguments[i])
            except BaseException as error:  # reported by the caller's thread
                errors.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(min(n_threads, len(arguments)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
