"""What the tests of the environment stand on: `tools/stack` with an env file of its own, and topics as kcat reads them."""

import json
import re
import signal
import socket
import subprocess
from pathlib import Path

from harness import BINARY, ROOT, environment, free_port, wait_until

COMMANDS, STATUSES = "execution.commands", "execution.status"
STOP_LIMIT_S = 60  # of everything together, on a busy machine
NAMES = ("KAFKA_PORT", "MONGO_PORT", "EXECUTION_SERVICE_PORT")


def different_ports(n):
    ports = set()
    while len(ports) < n:
        ports.add(free_port())
    return list(ports)


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def messages(broker, topic):
    """All that a topic holds now, parsed, as kcat sees it."""
    done = subprocess.run(["kcat", "-b", broker, "-C", "-t", topic, "-o", "beginning", "-e", "-q"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Stack:
    def __init__(self, folder, lines=""):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.ports = dict(zip(NAMES, different_ports(len(NAMES))))
        self.env_file = self.folder / "env"
        text = "".join(f"{name}={port}\n" for name, port in self.ports.items())
        self.env_file.write_text(text + lines, encoding="utf-8")
        # An environment without the machine's own settings: they would win over the file.
        self.environment = environment()
        self.process = None

    @property
    def port(self):
        return self.ports["EXECUTION_SERVICE_PORT"]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def broker(self):
        return f"127.0.0.1:{self.ports['KAFKA_PORT']}"

    def spawn(self):
        self.errors = open(self.folder / "stack.log", "ab")  # closed by stop()
        self.process = subprocess.Popen(
            [ROOT / "tools" / "stack", "--env-file", self.env_file, "--dir", self.folder / "data", "--binary", BINARY],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        return self

    def start(self):
        line = self.spawn().process.stdout.readline()
        assert line == f"ready {self.url}\n", f"{line!r}\n{self.log()}"
        return self

    def log(self):
        return (self.folder / "stack.log").read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout=STOP_LIMIT_S):
        return self.process.wait(timeout)

    def stop(self, number=signal.SIGTERM):
        """As somebody ends it; gives the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.wait()
        self.process.stdout.close()
        self.errors.close()
        self.process = None
        return status

    def pids(self):
        """Of everything that it started, in order of start: tools/servers, its server, and so on."""
        found, ahead = [], [self.process.pid]
        while ahead:
            pid = ahead.pop(0)
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            ahead += map(int, children)
            found += map(int, children)
        return found

    def pid_of(self, pattern):
        def matches(pid):
            return re.search(pattern, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())

        return next(pid for pid in self.pids() if matches(pid))

    def are_ports_free(self):
        return all(is_free(port) for port in self.ports.values())

    def wait_for_engine(self):
        def is_there():
            return any(message["eventType"] == "ENGINE_STATUS" and message["commandPartitions"]
                       for message in messages(self.broker, STATUSES))

        wait_until(is_there, 30, "an engine with partitions")
