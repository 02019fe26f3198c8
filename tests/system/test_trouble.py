"""What goes wrong around the server, and what it makes of it."""

import hashlib
import json
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

from harness import BASE, BINARY, MONGO, Client, environment, error_of, exchange, in_threads, step, wait_until


def one_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    return lines[0]


def snapshot_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# ---- starting ----


@pytest.mark.sqlite
def test_the_welcome_names_the_address_the_data_and_a_first_call(make_server):
    server = make_server(LOG_FORMAT="text").start()
    log = server.log()
    assert f"http://127.0.0.1:{server.port}" in log and str(server.data_dir) in log
    assert "curl" in log and f"{BASE}/flows" in log
    server.stop()


def test_help_and_unknown_words():
    def flowops(*arguments):
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=20, env=environment(), check=False)

    usage = flowops("--help")
    assert usage.returncode == 0 and "serve" in usage.stdout and "DATA_DIR" in usage.stdout
    assert re.search(r"KAFKA_BROKER.*\(serve, engine\)", usage.stdout) and re.search(r"DATA_DIR.*\(serve\)", usage.stdout)
    assert flowops("--version").returncode == 0
    for arguments in (("nonsense",), ("serve", "now"), ("engine", "now")):
        done = flowops(*arguments)
        assert done.returncode != 0 and done.stderr, arguments


@pytest.mark.sqlite
def test_a_second_server_on_the_same_data_is_refused_and_told_who_has_it(make_server):
    first = make_server().start()
    api = Client(first)
    flow_id = api.create_flow()
    second = make_server()
    status, said = second.refuses_to_start()
    assert status != 0
    assert str(first.process.pid) in one_line(said) and str(first.data_dir) in said
    assert api.data(f"/flows/{flow_id}")["id"] == flow_id
    first.kill()
    second.start()  # a lock does not outlive its holder
    assert Client(second, api.user).data(f"/flows/{flow_id}")["id"] == flow_id
    second.stop()


def test_a_port_that_is_taken_by_anyone(make_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = make_server(EXECUTION_SERVICE_PORT=port).refuses_to_start()
        assert status != 0 and str(port) in one_line(said)


def test_a_port_that_is_taken_by_another_of_us(make_server):
    first = make_server("one").start()
    status, said = make_server("two", EXECUTION_SERVICE_PORT=first.port).refuses_to_start()
    assert status != 0 and str(first.port) in one_line(said)
    assert Client(first).get("/flows").status_code == 200
    first.stop()


def test_a_port_of_ones_choice(make_server):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = make_server(EXECUTION_SERVICE_PORT=port).start()
    assert server.port == port
    assert Client(server).get("/flows").status_code == 200
    server.stop()


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"EXECUTION_SERVICE_PORT": "eighty"}, ["EXECUTION_SERVICE_PORT", "eighty"]),
        ({"EXECUTION_SERVICE_PORT": "65536"}, ["EXECUTION_SERVICE_PORT", "65536"]),
        ({"EXECUTION_SERVICE_PORT": "-1"}, ["EXECUTION_SERVICE_PORT"]),
        ({"EXECUTION_SERVICE_PORT": "80 80"}, ["EXECUTION_SERVICE_PORT"]),
        ({"LISTEN_ADDR": "localhost"}, ["LISTEN_ADDR", "localhost"]),
        ({"LISTEN_ADDR": "127.0.0.999"}, ["LISTEN_ADDR"]),
        ({"AUTH_MODE": "open"}, ["AUTH_MODE", "open"]),
        ({"AUTH_MODE": "jwt"}, ["AUTH_MODE", "jwt"]),
        ({"ENGINE": "maybe"}, ["ENGINE"]),
        ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL"]),
        ({"LOG_FORMAT": "xml"}, ["LOG_FORMAT"]),
        ({"CACHE_BYTES": "1e9"}, ["CACHE_BYTES"]),
        ({"MAX_OPEN_RUNS": "0"}, ["MAX_OPEN_RUNS"]),
        ({"STORE_READERS": "1000"}, ["STORE_READERS"]),
        ({"COMMAND_RESEND_SECONDS": "0"}, ["COMMAND_RESEND_SECONDS"]),
        ({"KAFKA_BROKER": "127.0.0.1:kafka"}, ["KAFKA_BROKER", "host:port"]),
        ({"KAFKA_BROKER": "127.0.0.1:9092,"}, ["KAFKA_BROKER"]),
        ({"KAFKA_BROKER": "127.0.0.1:99999"}, ["KAFKA_BROKER"]),
        ({"KAFKA_PARTITIONS": "0"}, ["KAFKA_PARTITIONS", "1 to 1000"]),
        ({"KAFKA_REPLICATION": "0"}, ["KAFKA_REPLICATION", "1 to 10"]),
        ({"KAFKA_REPLICATION": "-2"}, ["KAFKA_REPLICATION"]),
        ({"MONGO_DB": "flow.ops"}, ["MONGO_DB"]),
        ({"MONGO_DB": "f" * 64}, ["MONGO_DB"]),
        ({"LISTEN_ADDR": "0.0.0.0"}, ["AUTH_MODE"]),
        ({"LISTEN_ADDR": "0.0.0.0", "AUTH_MODE": "none"}, ["AUTH_MODE", "0.0.0.0"]),
        ({"LISTEN_ADDR": "::", "AUTH_MODE": "none"}, ["AUTH_MODE"]),
        ({"LISTEN_ADDR": "0.0.0.0", "AUTH_MODE": "none", "ALLOW_UNAUTHENTICATED": "yes"}, ["ALLOW_UNAUTHENTICATED"]),
    ],
)
def test_settings_that_are_wrong_are_named(make_server, settings, words):
    server = make_server(**settings)
    status, said = server.refuses_to_start()
    assert status not in (0, None)
    assert all(word in said for word in words), said
    assert not server.data_dir.exists()


def test_every_wrong_setting_is_named_at_once(make_server):
    status, said = make_server(EXECUTION_SERVICE_PORT="x", LOG_LEVEL="y", ENGINE="z").refuses_to_start()
    assert status != 0 and all(name in said for name in ("EXECUTION_SERVICE_PORT", "LOG_LEVEL", "ENGINE"))


def test_a_setting_with_two_faults_is_named_once(make_server):
    _, said = make_server(KAFKA_REPLICATION="none").refuses_to_start()
    assert said.count("KAFKA_REPLICATION") == 1


def test_secrets_are_never_repeated(make_server):
    settings = {"MONGO_URI": "http://me:hunter2@127.0.0.1", "KAFKA_OPTIONS": "sasl.password=hunter2", "KAFKA_PARTITIONS": "x"}
    status, said = make_server(**settings).refuses_to_start()
    assert status != 0 and "MONGO_URI" in said and "KAFKA_PARTITIONS" in said and "hunter2" not in said


def flowops_engine(**settings):
    return subprocess.run(
        [BINARY, "engine"], capture_output=True, text=True, timeout=20, env=environment(**settings), check=False
    )


def test_an_engine_on_its_own_needs_kafka():
    done = flowops_engine()
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "KAFKA_BROKER is not set" in done.stderr


def test_an_engine_on_its_own_looks_at_its_own_settings():
    done = flowops_engine(EXECUTION_SERVICE_PORT="eighty", MONGO_DB=".", KAFKA_PARTITIONS="0", LOG_LEVEL="loud")
    assert done.returncode == 1
    assert [line.split("=")[0].split()[1] for line in done.stderr.splitlines()] == [
        "KAFKA_PARTITIONS",
        "LOG_LEVEL",
        "KAFKA_BROKER",
    ]


def test_a_secret_that_is_not_used_is_warned_of(make_server):
    server = make_server(GATEWAY_SECRET="hunter2").start()
    warnings = [line for line in server.log().splitlines() if "GATEWAY_SECRET" in line]
    assert len(warnings) == 1 and "AUTH_MODE=gateway" in warnings[0] and "hunter2" not in server.log()
    server.stop()


def test_a_store_that_is_not_used_is_warned_of(make_server):
    server = make_server()
    server.data_dir.mkdir()
    (server.data_dir / "flowops.db").touch()
    server.settings["MONGO_URI"] = "mongodb://me:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=1"
    server.spawn()
    wait_until(lambda: "flowops.db" in server.log(), 20, "the warning")
    assert "MongoDB is used" in server.log() and "hunter2" not in server.log()


def test_a_container_may_listen_everywhere(make_server):
    server = make_server(LISTEN_ADDR="0.0.0.0", AUTH_MODE="none", ALLOW_UNAUTHENTICATED="container").start()
    assert Client(server).get("/flows").status_code == 200
    server.stop()


# ---- files that are not ours ----


def use_as_data(server, prepare):
    """Lets prepare(path of the database) make the files; the server is to refuse them and to touch nothing."""
    server.data_dir.mkdir()
    prepare(server.data_dir / "flowops.db")
    before = snapshot_of(server.data_dir)
    status, said = server.refuses_to_start()
    assert status not in (0, None)
    assert "flowops.db" in one_line(said)
    after = snapshot_of(server.data_dir)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name not in before and name != "flowops.lock"]
    return said


@pytest.mark.sqlite
def test_a_file_of_noise(make_server):
    use_as_data(make_server(), lambda path: path.write_bytes(b"no database at all\n" * 1000))


@pytest.mark.sqlite
def test_somebody_elses_database(make_server):
    def prepare(path):
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE photos (id INTEGER PRIMARY KEY, name TEXT)")
            db.execute("INSERT INTO photos (name) VALUES ('cat')")
        db.close()

    use_as_data(make_server(), prepare)


@pytest.mark.sqlite
def test_a_damaged_database(make_server):
    server = make_server("whole").start()
    api = Client(server)
    for _ in range(50):
        api.start(api.create_flow([step(inputs={"x": "y" * 500})]))
    server.stop()
    whole = bytearray((server.data_dir / "flowops.db").read_bytes())
    whole[100:140] = b"\xff" * 40  # the schema's first page

    use_as_data(make_server("damaged"), lambda path: path.write_bytes(whole))


@pytest.mark.sqlite
def test_a_newer_version_of_our_own(make_server):
    server = make_server("ours").start()
    server.stop()

    def prepare(path):
        path.write_bytes((server.data_dir / "flowops.db").read_bytes())
        db = sqlite3.connect(path)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute(f"PRAGMA user_version = {version + 1}")
        db.commit()
        db.close()
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)

    said = use_as_data(make_server("newer"), prepare)
    assert "newer" in said


@pytest.mark.sqlite
def test_a_data_directory_that_is_a_file(make_server):
    server = make_server()
    server.data_dir.write_text("in the way")
    status, said = server.refuses_to_start()
    assert status not in (0, None) and str(server.data_dir) in one_line(said)
    assert server.data_dir.read_text() == "in the way"


@pytest.mark.sqlite
def test_a_data_directory_is_made_for_its_owner_alone(make_server):
    server = make_server().start()
    assert server.data_dir.stat().st_mode & 0o077 == 0
    assert (server.data_dir / "flowops.db").stat().st_mode & 0o077 == 0
    server.stop()


# ---- a full disk ----


def fill_and_free(server, fill, free):
    """While nothing can be written: 503, and the process stays; afterwards all goes on and nothing is lost."""
    api = Client(server)
    flow_id = api.create_flow([step()])
    kept = api.run([step()])
    fill()
    acknowledged = []

    def refused():
        response = api.post(f"/flows/{flow_id}/start", timeout=20)
        if response.status_code == 202:
            acknowledged.append(response.json()["data"])
            return False
        error_of(response, 503, "UNAVAILABLE")
        assert int(response.headers["Retry-After"]) >= 1
        assert response.json()["metadata"]["additional"]["outcome"] in ("none", "unknown")
        return True

    wait_until(refused, 60, "a refusal")
    assert server.process.poll() is None
    assert api.status(kept["id"]) == kept  # reading goes on
    assert api.get(f"{server.url}/healthz").status_code == 200
    free()
    response = wait_until(lambda: [r for r in [api.post(f"/flows/{flow_id}/start")] if r.status_code == 202], 20, "recovery")[0]
    acknowledged.append(response.json()["data"])
    wait_until(lambda: api.get(f"{server.url}/readyz").status_code == 200, 10, "readiness")
    for run_id in acknowledged:
        assert api.wait_end(run_id, timeout=60)["status"] == "COMPLETED"
    server.kill()
    server.start()
    for run_id in acknowledged:
        assert api.status(run_id)["status"] == "COMPLETED"
    server.stop()


@pytest.mark.sqlite
def test_a_limit_on_file_sizes(make_server):
    def ignore_signal():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    server = make_server(limits=ignore_signal).start()
    pid = server.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

    def fill():
        largest = max(path.stat().st_size for path in server.data_dir.iterdir())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + 100_000, hard))

    fill_and_free(server, fill, lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard)))


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "flowops-test", folder], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting needs more rights than these")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.sqlite
def test_a_disk_that_is_full(make_server, small_disk):
    server = make_server("disk/data").start()
    ballast = small_disk / "ballast"

    def fill():
        with open(ballast, "wb", buffering=0) as file:  # what cannot be written is not tried again by the close
            try:
                while True:
                    file.write(b"\0" * 65536)
            except OSError:
                pass  # full

    try:
        fill_and_free(server, fill, ballast.unlink)
    finally:
        server.kill()


# ---- clients that misbehave ----


def drip(port, head, drop, until):
    """Sends a byte now and then; gives the seconds until the server had enough."""
    pause = threading.Event()
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(head)
        peer.setblocking(False)
        while time.monotonic() - begin < until:
            try:
                peer.send(drop)
                if peer.recv(65536) == b"":
                    return time.monotonic() - begin
            except BlockingIOError:
                pass
            except OSError:
                return time.monotonic() - begin
            pause.wait(0.2)
    return None


def test_a_request_that_drips_is_closed_after_ten_seconds(make_server):
    server = make_server().start()
    post = f"POST {BASE}/flows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    ways = [
        (b"GET /", b"x"),
        (f"GET {BASE}/flows HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".encode(), b"x"),
        ((post + "Content-Length: 100000\r\n\r\n").encode(), b" "),
        ((post + "Transfer-Encoding: chunked\r\n\r\n").encode(), b"1\r\n \r\n"),
    ]
    times = in_threads(lambda way: drip(server.port, *way, until=20), ways, len(ways))
    assert all(seconds is not None and 8 < seconds < 14 for seconds in times), times
    assert Client(server).get("/flows").status_code == 200
    server.stop()


def test_running_out_of_descriptors_pauses_and_recovers(make_server):
    def few():
        n = 80 + (64 if MONGO else 0)  # what a MongoDB takes for itself
        resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))

    server = make_server(limits=few).start()
    api = Client(server)
    flow_id = api.create_flow([step()])  # its connection is kept alive
    idle = []
    try:
        for _ in range(150):
            idle.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        assert api.data(f"/flows/{flow_id}")["id"] == flow_id
        run_id = api.start(flow_id)
        assert api.wait_end(run_id)["status"] == "COMPLETED"
        # Those that wait for a descriptor cost no processor time.
        begin, spent = time.monotonic(), server.processor_seconds()
        wait_until(lambda: time.monotonic() - begin > 1)
        assert server.processor_seconds() - spent < 0.3
        assert server.process.poll() is None
    finally:
        for peer in idle:
            peer.close()
    assert wait_until(lambda: Client(server).get("/flows", timeout=10).status_code == 200, 15, "a new connection")
    server.stop()


def test_ten_thousand_idle_connections_keep_nobody_out(make_server):
    wanted = 10_500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} descriptors are allowed here")
    server = make_server(limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))).start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    idle = []
    try:
        for i in range(10_000):
            peer = socket.socket()
            peer.bind((f"127.0.0.{1 + i % 4}", 0))
            peer.settimeout(20)
            peer.connect(("127.0.0.1", server.port))
            idle.append(peer)
        begin = time.monotonic()
        api = Client(server)
        assert api.run([step()])["status"] == "COMPLETED"
        assert time.monotonic() - begin < 10
    finally:
        for peer in idle:
            peer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    server.stop()


def test_clients_that_leave_before_their_answer_harm_nobody(make_server):
    server = make_server().start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    request = f"POST {BASE}/flows/{flow_id}/start HTTP/1.1\r\nHost: localhost\r\nX-User-Id: {api.user}\r\nContent-Length: 0\r\n\r\n"
    for _ in range(300):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset instead of an end
            peer.sendall(request.encode())
    assert api.run([step()])["status"] == "COMPLETED"
    wait_until(lambda: api.get("/runs", params={"status": "PENDING"}).json()["metadata"]["totalCount"] == 0, 20, "no run PENDING")
    server.stop()


# ---- watching ----


def test_health_and_metrics(make_server):
    server = make_server().start()
    api = Client(server)
    api.run([step()])
    assert api.get(f"{server.url}/healthz").status_code == 200
    assert api.get(f"{server.url}/readyz").status_code == 200
    metrics = api.get(f"{server.url}/metrics")
    assert metrics.status_code == 200 and metrics.headers["Content-Type"].startswith("text/plain")
    assert all(line.startswith("#") or len(line.split()) >= 2 for line in metrics.text.splitlines() if line)
    server.stop()


def test_log_lines_are_json_and_cannot_be_forged(make_server):
    server = make_server(LOG_LEVEL="debug").start()
    api = Client(server)
    api.create_flow(name='x\n{"level":"error","message":"forged"}')
    exchange(server.port, b"GET /%0a{\"forged\":1} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    server.stop()
    for line in server.log().splitlines():
        if line.startswith("{"):
            assert "forged" not in json.loads(line)
