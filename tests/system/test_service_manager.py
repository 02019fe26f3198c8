"""What a service manager is told: READY when requests are served, WATCHDOG while threads move, STOPPING at the end."""

import os
import subprocess
import time

import pytest
import requests

from harness import BINARY, Client, environment, free_port, kill_now, step, wait_until
from manager import Manager

# A disk that stands still: while $HANG_FILE is there, nothing gets flushed.
HUNG_DISK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static int flush(const char *name, int fd)
{
    struct timespec moment = {.tv_nsec = 10000000};
    while (access(getenv("HANG_FILE"), F_OK) == 0)
        nanosleep(&moment, NULL);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fsync(int fd) { return flush("fsync", fd); }
int fdatasync(int fd) { return flush("fdatasync", fd); }
"""


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@flowops-test-{os.getpid()}-{free_port()}")
    yield manager
    manager.socket.close()


@pytest.fixture
def watching(tmp_path):
    """A manager that takes the server for hung after 2 s: it is to be told every second."""
    manager = Manager(str(tmp_path / "notify"))
    manager.watchdog = manager.settings(WATCHDOG_USEC=2000000)
    yield manager
    manager.socket.close()


def test_ready_is_told_when_requests_are_served_and_stopping_at_the_signal(make_server, manager):
    server = make_server(**manager.settings()).spawn()
    manager.expect("READY=1")
    server.port = int(server._announced_port())
    assert requests.get(f"{server.url}/readyz", timeout=5).status_code == 200
    server.terminate()
    manager.expect("STOPPING=1")
    assert server.process.wait(10) == 0
    assert manager.next(0.01) is None  # nobody watches: no WATCHDOG


def test_a_start_that_fails_is_never_ready(make_server, manager):
    first = make_server("first").start()
    second = make_server("second", **manager.settings())
    second.settings["EXECUTION_SERVICE_PORT"] = first.port
    status, log = second.refuses_to_start()
    assert status != 0 and str(first.port) in log and manager.next(0.01) is None


def test_ready_without_a_kafka_that_answers(make_server, manager):
    """The service begins all the same, takes commands and keeps them for the bus."""
    server = make_server(KAFKA_BROKER=f"127.0.0.1:{free_port()}", **manager.settings()).spawn()
    manager.expect("READY=1")
    server.port = int(server._announced_port())
    answer = requests.get(f"{server.url}/readyz", timeout=5)
    assert answer.status_code == 200 and answer.json()["data"]["status"] == "degraded"
    server.stop()


def test_an_engine_says_that_it_is_ready_and_stops(manager):
    with subprocess.Popen([BINARY, "engine"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(
            KAFKA_BROKER=f"127.0.0.1:{free_port()}", **manager.settings())) as engine:
        try:
            manager.expect("READY=1")
            engine.terminate()
            manager.expect("STOPPING=1")
            assert engine.wait(15) == 0
        finally:
            kill_now(engine)


def test_a_manager_that_is_gone_is_a_warning(make_server, tmp_path):
    server = make_server(NOTIFY_SOCKET=tmp_path / "nobody").start()
    assert "the service manager cannot be told" in server.log()
    server.stop()


def test_a_watchdog_of_somebody_else_is_not_fed(make_server, watching):
    server = make_server(**watching.watchdog, WATCHDOG_PID=1).start()
    watching.expect("READY=1")
    assert watching.next(1.5) is None
    server.stop()


def test_the_watchdog_is_fed_at_half_of_its_time(make_server, watching):
    server = make_server(**watching.watchdog).start()
    watching.expect("READY=1")
    began = time.monotonic()
    for _ in range(5):
        watching.expect("WATCHDOG=1", timeout=10)
    assert time.monotonic() - began < 9  # five whole times are 10 s
    server.terminate()
    server.stop()


@pytest.fixture
def hung_disk(tmp_path):
    """Gives settings that put a server on a disk, and the file that makes the disk stand still."""
    library = tmp_path / "hung_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"], input=HUNG_DISK, text=True, check=True)
    return {"LD_PRELOAD": library, "HANG_FILE": tmp_path / "hang"}, tmp_path / "hang"


@pytest.mark.sqlite
def test_the_watchdog_starves_while_the_writer_hangs(make_server, watching, hung_disk):
    settings, hang = hung_disk
    server = make_server(**settings, **watching.watchdog).start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    watching.expect("READY=1")
    watching.expect("WATCHDOG=1", timeout=3)
    hang.touch()
    with pytest.raises(requests.Timeout):
        api.post(f"/flows/{flow_id}/start", timeout=0.5)
    assert requests.get(f"{server.url}/healthz", timeout=5).status_code == 200  # the loops go on, and yet:
    wait_until(lambda: watching.next(2.5) is None, 10, "an end of WATCHDOG=1")
    assert '"hung' in server.log() and '"writer"' in server.log()
    hang.unlink()
    watching.expect("WATCHDOG=1", timeout=5)
    server.stop()
