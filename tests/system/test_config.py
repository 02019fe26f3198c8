"""Settings from flags, environment and file; what `flowops config` and `flowops health` say; trouble at the start."""

import contextlib
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
import requests

from harness import BINARY, OURS, ROOT, Client, environment, step, wait_until

SECRET = "hunter2"


def flowops(*words, cwd=None, **settings):
    """Its exit status and what it said on either side."""
    done = subprocess.run([BINARY, *map(str, words)], env=environment(**settings), cwd=cwd, capture_output=True, text=True,
                          timeout=20, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout, done.stderr


def shown(out):
    """{name: (value, origin)} of what `flowops config` printed; a value of None is not set."""
    settings = {}
    for line in out.splitlines():
        unset = re.fullmatch(r"# (\w+) is not set \((.*)\)", line)
        found = unset or re.fullmatch(r"(\w+)=(.*?) +# (.*)", line)
        assert found, line
        settings[found[1]] = (None, unset[2]) if unset else (found[2], found[3])
    return settings


def in_force(*words, **settings):
    status, out, err = flowops("config", *words, **settings)
    assert status == 0 and err == "", err
    return shown(out)


def faults_of(*words, **settings):
    """The lines about what is wrong; nothing is started."""
    status, _, err = flowops(*words, **settings)
    assert status == 1
    assert all(line.startswith("flowops: ") for line in err.splitlines())
    assert SECRET not in err
    return [line.removeprefix("flowops: ") for line in err.splitlines()]


@pytest.fixture
def env_file(tmp_path):
    """Makes an env file of these lines."""

    def make(*lines, name="env"):
        path = tmp_path / name
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return make


# ---- one table ----


def test_the_documents_are_the_tables(tmp_path):
    markdown = flowops("help", "--markdown")[1]
    assert markdown.count("\n") == len(OURS) + 2
    assert markdown in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert flowops("help", "--mdoc")[1] in (ROOT / "deploy" / "man" / "flowops.env.5").read_text(encoding="utf-8")
    assert flowops("help", "--env-example")[1] == (ROOT / ".env.example").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in OURS if f"`{name}`" not in markdown] == []
    assert [name for name in re.findall(r"^\| `(\w+)`", readme, re.MULTILINE) if name.isupper() and name not in OURS] == []


def test_the_example_is_fine_as_it_is_and_with_every_line_set(env_file):
    example = ROOT / ".env.example"
    defaults = in_force()
    assert in_force("--env-file", example) == defaults
    lines = [re.sub(r"^#(?=\w+=)", "", line) for line in example.read_text(encoding="utf-8").splitlines()]
    assert [line.split("=")[0] for line in lines if re.match(r"\w+=", line)] == list(defaults)
    everything = in_force("--env-file", env_file(*lines))
    assert {name: value for name, (value, _) in everything.items()} == {name: value for name, (value, _) in defaults.items()}
    assert all("env:" in origin for _, origin in everything.values())


def test_help_names_every_setting_and_its_flag():
    _, everything, _ = flowops("help")
    _, engine, _ = flowops("engine", "--help")
    _, health, _ = flowops("health", "--help")
    for name in OURS:
        assert re.search(rf"^  {name}\b.*\[.+\]$", everything, re.MULTILINE), name
    assert "--kafka-broker" in engine and "--data-dir" not in engine
    assert "--execution-service-port" in health and "--live" in health and "--kafka-broker" not in health


# ---- where a setting comes from ----


def test_a_flag_goes_before_the_environment_that_before_the_file(env_file):
    file = env_file("DATA_DIR=file", "MONGO_DB=file", "HTTP_LOOPS=1", "STORE_READERS=1", name=".env")
    settings = in_force("--env-file", file, "--data-dir", "flag", MONGO_DB="env", DATA_DIR="env")
    assert settings["DATA_DIR"] == ("flag", "--data-dir")
    assert settings["MONGO_DB"] == ("env", "environment")
    assert settings["HTTP_LOOPS"] == ("1", f"{file}:3")
    assert settings["CACHE_BYTES"] == ("33554432", "default")
    assert settings["GATEWAY_SECRET"] == (None, "default")


def test_the_last_one_counts(env_file):
    first, second = env_file("HTTP_LOOPS=1", "HTTP_LOOPS=2", name="1"), env_file("HTTP_LOOPS=3", name="2")
    assert in_force(f"--env-file={first}")["HTTP_LOOPS"] == ("2", f"{first}:2")
    assert in_force("--env-file", first, "--env-file", second)["HTTP_LOOPS"] == ("3", f"{second}:1")
    assert in_force("--http-loops=4", "--http-loops", "5")["HTTP_LOOPS"] == ("5", "--http-loops")
    assert in_force("--kafka-replication", "-1")["KAFKA_REPLICATION"] == ("-1", "--kafka-replication")


def test_an_empty_value_is_the_default_and_hides_the_next_place(env_file):
    file = env_file("DATA_DIR=file", "KAFKA_BROKER=h:1")
    settings = in_force("--env-file", file, "--kafka-broker=", DATA_DIR="")
    assert settings["DATA_DIR"] == ("./data", "environment, empty")
    assert settings["KAFKA_BROKER"] == (None, "--kafka-broker, empty")


def test_what_depends_on_other_settings_is_shown_as_it_is_in_force():
    assert (in_force()["AUTH_MODE"][0], in_force()["ENGINE"][0]) == ("none", "on")
    assert in_force(KAFKA_BROKER="h:1")["ENGINE"][0] == "off"


def test_a_login_in_the_wrong_place_is_not_repeated():
    for name, value in (("KAFKA_BROKER", "user:pass-word@host:9092"), ("DATA_DIR", "mongodb://user:pass-word@host/")):
        for command in ("serve", "config"):
            status, out, err = flowops(command, **{name: value})
            assert status == 1 and name in err and "pass-word" not in out + err


def test_secrets_are_masked(env_file):
    file = env_file(f"GATEWAY_SECRET='{SECRET}'", f"KAFKA_OPTIONS=sasl.password={SECRET}")
    status, out, err = flowops("config", "--env-file", file, "--mongo-uri", f"mongodb://me:{SECRET}@h:1/d?a={SECRET}")
    assert status == 0 and SECRET not in out + err
    settings = shown(out)
    assert settings["GATEWAY_SECRET"][0] == "***" and settings["KAFKA_OPTIONS"][0] == "***"
    assert settings["MONGO_URI"][0] == "mongodb://me:***@h:1/d?***"


def test_what_is_printed_reads_back(env_file):
    odd = "a b # \"c\" \\ $d ü'"
    _, out, _ = flowops("config", DATA_DIR=odd)
    assert flowops("config", "--env-file", env_file(*out.splitlines()))[1].split(" # ")[0] == out.split(" # ")[0]
    printed = next(line for line in out.splitlines() if line.startswith("DATA_DIR="))
    again = flowops("config", "--env-file", env_file(printed))[1]
    assert printed.rpartition("  #")[0].rstrip() in again


@pytest.mark.sqlite
def test_a_server_by_flags_and_file_alone(tmp_path, env_file):
    file = env_file("EXECUTION_SERVICE_PORT=0", "export LOG_FORMAT='json'", "DATA_DIR=from-file")
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([BINARY, "serve", "--env-file", file, "--data-dir", "from-flag"], env=environment(), cwd=tmp_path,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        found = wait_until(lambda: re.search(r"http://127.0.0.1:(\d+)", (tmp_path / "log").read_text()), 20, "the address")
        wait_until(lambda: requests.get(f"{found[0]}/readyz", timeout=5).status_code == 200, 20, "readiness")
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert (tmp_path / "from-flag" / "flowops.db").exists() and not (tmp_path / "from-file").exists()
    status, out, err = flowops("fsck", "--env-file", env_file("DATA_DIR=from-flag"), cwd=tmp_path)
    assert status == 0 and "0 faults" in out, err


# ---- what is wrong ----


def test_all_faults_of_all_places_come_at_once_each_with_its_place(env_file):
    file = env_file("# fine", "MONGO_URL=x", "HTTP_LOOPS=many", f"= {SECRET}", f"GATEWAY_SECRET=${SECRET}", "MONGO_PORT=0")
    faults = faults_of("config", "--env-file", file, "--data-dri", SECRET, "--store-readers=9", f"--frobnicate={SECRET}",
                       "--kafka-options", LOG_LEVEL="loud", LISTEN_ADDR="0.0.0.0")
    for fault in (
        "--data-dri: no such option; did you mean --data-dir?",
        "--store-readers=9: expected a whole number from 1 to 8",
        "--frobnicate: no such option",
        "--kafka-options: its value is missing",
        f"{file}:2: there is no setting MONGO_URL; did you mean MONGO_URI?",
        f"{file}:3: HTTP_LOOPS=many: expected a whole number from 0 to 64",
        f"{file}:6: MONGO_PORT=0: expected a whole number from 1 to 65535",
        "LOG_LEVEL=loud: expected debug, info, warning or error",
    ):
        assert fault in faults
    assert any(fault.startswith(f"{file}:4: expected NAME=value") for fault in faults)
    assert any(fault.startswith(f"{file}:5: ") and "single quotes" in fault for fault in faults)
    assert any(fault.startswith("AUTH_MODE is not set") for fault in faults)
    assert len(faults) == 11


def test_what_is_wrong_keeps_nothing_from_being_shown():
    status, out, err = flowops("config", "--http-loops", "99", DATA_DIR="there")
    assert status == 1 and "--http-loops=99" in err
    assert shown(out)["HTTP_LOOPS"] == ("99", "--http-loops") and shown(out)["DATA_DIR"] == ("there", "environment")


def test_a_command_refuses_what_it_has_no_use_for(env_file):
    assert faults_of("engine", "--data-dir", "x", "--kafka-broker", "h:1", "--log-level=loud") == [
        "--data-dir: this command has no use for it", "--log-level=loud: expected debug, info, warning or error"]
    assert faults_of("serve", "--mongo-port=1") == ["--mongo-port: no such option"]
    # A file is for all of them.
    file = env_file("HTTP_LOOPS=many", "LOG_LEVEL=loud", "MONGO_PORT=1", "COMPOSE_PROJECT_NAME=x", "KAFKA_BROKER=h:1")
    assert faults_of("engine", "--env-file", file) == [f"{file}:2: LOG_LEVEL=loud: expected debug, info, warning or error"]


def test_words_that_are_no_options():
    assert faults_of("serve", SECRET) == ["word 1 after the command is no option: expected --name value or --name=value"]
    assert faults_of("serve", "--data-dir=", SECRET)[0].startswith("word 2 ")
    assert faults_of("health", "--live=yes") == ["--live takes no value"]


def test_a_line_stays_one_line_whatever_a_value_holds():
    assert len(faults_of("serve", LISTEN_ADDR="a\nflowops: b\x1b[2J")) == 1


def test_files_that_are_none(tmp_path, env_file):
    assert faults_of("config", "--env-file", tmp_path / "none") == [
        f"--env-file: cannot read {tmp_path / 'none'}: No such file or directory"]
    assert "Is a directory" in faults_of("config", "--env-file", tmp_path)[0]
    assert faults_of("config", "--env-file") == ["--env-file: its value is missing"]
    assert faults_of("config", "--env-file", env_file("#" + "x" * 70000))[0].endswith("has more than 65536 bytes")
    in_force("--env-file", env_file("#" + "x" * 65000))
    binary = tmp_path / "binary"
    binary.write_bytes(os.urandom(1000).replace(b"\n", b"\xff"))
    assert [fault for fault in faults_of("serve", "--env-file", binary) if "UTF-8" in fault]
    status, _, err = flowops("fsck", "--env-file", env_file("HTTP_LOPS=1", "MONGO_URI=x"))
    assert status == 2 and "did you mean HTTP_LOOPS?" in err and "MONGO_URI" in err and len(err.splitlines()) == 2


# ---- health ----


def health(server, *words, **settings):
    return flowops("health", "--execution-service-port", server.port, *words, **settings)


def test_health_goes_and_comes(make_server):
    server = make_server().start()
    assert health(server) == (0, f"{server.url}/readyz: ready\n", "")
    assert health(server, "--live") == (0, f"{server.url}/healthz: up\n", "")
    assert flowops("health", EXECUTION_SERVICE_PORT=server.port)[0] == 0
    port = server.port
    server.settings["EXECUTION_SERVICE_PORT"] = port
    server.stop()
    assert health(server) == (1, "", f"flowops: {server.url}/readyz: nobody listens there\n")
    server.start()
    assert health(server)[0] == 0
    server.stop()


@pytest.mark.sqlite
def test_a_store_that_is_away_is_alive_and_not_ready(make_server):
    server = make_server(MONGO_URI="mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100").spawn()
    server.port = wait_until(server._announced_port, 20, "the address") if server.process.poll() is None else None
    status, out, err = health(server)
    assert status == 1 and out == "" and "/readyz answered 503: the store does not answer" in err
    assert health(server, "--live")[0] == 0
    server.kill()


def test_health_asks_where_the_service_is(make_server):
    everywhere = make_server("v4", LISTEN_ADDR="0.0.0.0", AUTH_MODE="gateway").start()
    assert health(everywhere, LISTEN_ADDR="0.0.0.0") == (0, f"{everywhere.url}/readyz: ready\n", "")
    everywhere.stop()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = make_server("v6", LISTEN_ADDR="::1").spawn()
    server.port = wait_until(server._announced_port, 20, "the address")
    for address in ("::1", "::"):
        assert wait_until(lambda at=address: health(server, "--listen-addr", at)[0] == 0, 20, "readiness")
    server.stop()


def serve_once(*answers):
    """A port where each connection gets the next answer; one of None stays open."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        for data in answers:
            peer, _ = listener.accept()
            peer.recv(4096)
            if data is None:
                peer.recv(1)
            else:
                peer.sendall(data)
            peer.close()
        listener.close()

    threading.Thread(target=answer, daemon=True).start()
    return listener.getsockname()[1]


def test_health_of_what_is_no_service():
    port = serve_once(b"SSH-2.0-x\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                      b'HTTP/1.1 500 Oh\r\nContent-Length: 27\r\n\r\n{"data":{"status":"ready"}}',
                      b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100000, None)
    words = ["health", "--execution-service-port", port]
    assert "does not answer in HTTP" in faults_of(*words)[0]
    assert "does not answer in HTTP" in faults_of(*words)[0]
    assert "answered 200: this is no answer of the execution service" in faults_of(*words)[0]
    assert "answered 500: " in faults_of(*words)[0]
    assert len(faults_of(*words)) == 1  # an endless body is not taken
    assert "no answer within 300 ms" in faults_of(*words, "--time-limit-ms=300")[0]


def test_health_options_that_are_wrong():
    assert "--time-limit-ms=0: expected a whole number from 1 to 60000" in faults_of("health", "--time-limit-ms", "0")
    assert "--execution-service-port" in faults_of("health", EXECUTION_SERVICE_PORT="0")[0]
    assert faults_of("health", "--data-dir=x") == ["--data-dir: this command has no use for it"]


# ---- trouble at the start ----


def refusal(server):
    """The one line that a server ends with."""
    status, said = server.refuses_to_start()
    assert status == 1
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("flowops: "), said
    return lines[0]


def warnings_of(server, words):
    return [line for line in server.log().splitlines() if words in line and '"warning"' in line]


NOBODY = 65534


@pytest.fixture
def open_folder():
    """Where another user gets to, with a copy of the program; pytest's own folders are closed."""
    folder = Path(tempfile.mkdtemp(prefix="flowops-test-"))
    folder.chmod(0o755)
    shutil.copy(BINARY, folder / "flowops")
    yield folder
    shutil.rmtree(folder)


def as_nobody(folder, **settings):
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    done = subprocess.run([*drop, folder / "flowops", "serve"], env=environment(EXECUTION_SERVICE_PORT=0, **settings),
                          cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1, done
    return done.stderr


@pytest.mark.sqlite
def test_no_permission_on_the_data_directory(open_folder):
    closed = open_folder / "closed"
    closed.mkdir(0o500 if os.geteuid() != 0 else 0o700)
    said = as_nobody(open_folder, DATA_DIR=closed)
    assert "Permission denied" in said and str(closed) in said
    said = as_nobody(open_folder, DATA_DIR=closed / "below")
    assert "Permission denied" in said and str(closed / "below") in said


@pytest.fixture
def disk(tmp_path):
    """Makes a disk of memory with these mount options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "flowops-test", folder], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("mounting needs more rights than these")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


@pytest.mark.sqlite
def test_a_disk_that_is_read_only(make_server, disk):
    folder = disk("ro,size=1m")
    for data_dir in (folder, folder / "data"):
        server = make_server()
        server.data_dir = data_dir  # the log stays where it can be written
        said = refusal(server)
        assert "Read-only file system" in said and str(data_dir) in said


@pytest.mark.sqlite
def test_data_on_a_disk_that_became_read_only(make_server, disk):
    folder = disk("size=16m")
    server = make_server().start()
    flow_id = Client(server).create_flow([step()])
    server.stop()
    shutil.copytree(server.data_dir, folder, dirs_exist_ok=True)
    server.data_dir = folder
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    assert "Read-only file system" in refusal(server)
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    server.start()
    with contextlib.closing(sqlite3.connect(folder / "flowops.db")) as db:
        assert db.execute("SELECT count(*) FROM flow_versions WHERE flow_id = ?", [flow_id]).fetchone() == (1,)
    server.stop()


def test_root_is_warned_of_once(make_server):
    server = make_server().start()
    assert len(warnings_of(server, "running as root")) == (1 if os.geteuid() == 0 else 0)
    server.stop()


def few(soft, hard=None):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard or soft))


def soft_limit(server):
    return resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[0]


def test_the_limit_of_open_files_is_raised(make_server):
    server = make_server(limits=few(64, 2000)).start()
    assert soft_limit(server) == 2000 and warnings_of(server, "open files") == []
    server.stop()


def test_too_few_open_files_for_many_are_warned_of_with_the_number_needed(make_server):
    server = make_server(HTTP_LOOPS=1, limits=few(150)).start()
    needed = re.search(r'"limit":"150","connections":"(\d+)","needed":"(\d+)"', warnings_of(server, "open files")[0])
    assert int(needed[2]) == 150 - int(needed[1]) + 1000
    server.stop()
    server = make_server("enough", HTTP_LOOPS=1, limits=few(int(needed[2]))).start()
    assert warnings_of(server, "open files") == []
    server.stop()


@pytest.mark.sqlite
def test_too_few_open_files_for_any_are_refused_with_the_number_needed(make_server):
    said = refusal(make_server(HTTP_LOOPS=1, limits=few(40)))
    least = int(re.search(r"is 40: (\d+) are needed at least", said)[1])
    assert "needed at least" in refusal(make_server(HTTP_LOOPS=1, limits=few(least - 1)))
    server = make_server(HTTP_LOOPS=1, limits=few(least)).start()  # and that is truly enough
    peers = []
    try:
        for _ in range(30):
            peers.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        assert Client(server).run([step()])["status"] == "COMPLETED"
    finally:
        for peer in peers:
            peer.close()
    server.stop()


def test_an_engine_with_too_few_open_files_is_refused_with_the_number_needed():
    done = subprocess.run([BINARY, "engine"], env=environment(KAFKA_BROKER="127.0.0.1:1"), preexec_fn=few(40), capture_output=True,
                          text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"flowops: the limit of open files is 40: \d+ are needed at least \(.*\)\n", done.stderr)


LOCALES = ["tr_TR.UTF-8", "de_DE@euro", "C", "nonsense/../../x", "\xff"]


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.sqlite
def test_an_odd_locale_changes_nothing(make_server, locale):
    settings = {"LC_ALL": locale, "LANG": locale, "LANGUAGE": "tr:de"}
    server = make_server("größe İı", **settings).start()
    api = Client(server)
    inputs = {"value": "/n", "json": '{"n": 1.5, "i": "TITLE"}', "text": "İstanbul ı 1,5"}
    ended = api.run([step("echo", inputs=inputs)])
    assert ended["status"] == "COMPLETED" and ended["steps"][0]["outputs"] == inputs
    figures = re.findall(r"^flowops_\w+(?:\{.*\})? (.*)$", api.get(f"{server.url}/metrics").text, re.MULTILINE)
    assert figures and all(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", figure) for figure in figures)
    server.stop()
    status, out, err = flowops("fsck", "--store", server.data_dir, **settings)
    assert status == 0 and "0 faults" in out, err
    assert faults_of("serve", LOG_LEVEL="LOUD", **settings) == ["LOG_LEVEL=LOUD: expected debug, info, warning or error"]
    assert in_force("--log-level=INFO", **settings)["LOG_LEVEL"][0] == "INFO"
