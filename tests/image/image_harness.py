"""What the tests of the image stand on: a container engine that can build, an image, containers of it on the host's network.

The engine is docker, where a daemon answers, else podman with a storage of its own in build-image/. With podman the base image is
not downloaded but made by debootstrap, once, under the name that the Dockerfile asks for.
"""

import json
import os
import re
import resource
import subprocess
import uuid
from pathlib import Path

from harness import ROOT, free_port, wait_until

HOME = ROOT / "build-image"
IMAGE = "localhost/flowops-test"
BASE = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)[1]
RELEASE = re.search(r":(\w+)-slim$", BASE)[1]
BUILD_LIMIT_S = 900  # packages of the compiler and libraries are downloaded
CALL_LIMIT_S = 60
N_PROCESSES = 4096  # of the container's user; below what a machine allows by itself


def call(*words, timeout=CALL_LIMIT_S):
    """The output of a command that has to succeed."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{words} ended with {done.returncode}: {(done.stdout + done.stderr)[-4000:]}"
    return done.stdout.strip()


def succeeds(*words):
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=CALL_LIMIT_S, check=False).returncode == 0
    except OSError:
        return False


def find_engine():
    if succeeds("docker", "info"):
        return Docker()
    assert succeeds("podman", "--version"), "neither docker with a daemon nor podman is here: tools/install-packages image"
    return Podman()


class Docker:
    words = ("docker",)
    build_words = ()
    run_words = ()

    def build(self):
        self.prepare_base()
        call(*self.words, "build", *self.build_words, "--network", "host", "-t", IMAGE, str(ROOT), timeout=BUILD_LIMIT_S)

    def prepare_base(self):
        call(*self.words, "pull", BASE, timeout=BUILD_LIMIT_S)

    def call(self, *words, **options):
        return call(*self.words, *words, **options)

    def inspect(self, image):
        return json.loads(self.call("image", "inspect", image))[0]


class Podman(Docker):
    """As root, where neither a system manager nor the right to raise limits has to be there."""

    # Docker's format: the other has no health checks.
    build_words = ("--isolation", "chroot", "--format", "docker")

    def __init__(self):
        HOME.mkdir(exist_ok=True)
        words = ("podman", "--root", str(HOME / "storage"), "--runroot", str(HOME / "run"), "--runtime", "runc",
                 "--cgroup-manager", "cgroupfs", "--events-backend", "file")
        overlay = (*words, "--storage-driver", "overlay")
        self.words = overlay if succeeds(*overlay, "info") else (*words, "--storage-driver", "vfs")
        files = ":".join(map(str, resource.getrlimit(resource.RLIMIT_NOFILE)))
        self.run_words = ("--ulimit", f"nofile={files}", "--ulimit", f"nproc={N_PROCESSES}:{N_PROCESSES}")

    def prepare_base(self):
        if succeeds(*self.words, "image", "exists", BASE):
            return
        tree = HOME / "base"
        call("rm", "-rf", str(tree))
        call("debootstrap", "--variant=minbase", RELEASE, str(tree), timeout=BUILD_LIMIT_S)
        call("tar", "-C", str(tree), "-cf", str(HOME / "base.tar"), ".")
        self.call("import", "-c", 'CMD ["bash"]', str(HOME / "base.tar"), BASE, timeout=BUILD_LIMIT_S)
        call("rm", "-rf", str(tree), str(HOME / "base.tar"))


class Container:
    """On the host's network, hardened as compose.yaml does it."""

    def __init__(self, engine, words, settings):
        self.engine, self.words = engine, words
        self.port = free_port()
        self.name = f"flowops-test-{uuid.uuid4()}"
        self.settings = {"LISTEN_ADDR": "127.0.0.1", "EXECUTION_SERVICE_PORT": self.port, **settings}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        settings = [word for name, value in self.settings.items() for word in ("--env", f"{name}={value}")]
        self.engine.call("run", "--detach", "--name", self.name, "--network", "host", "--read-only", "--cap-drop", "ALL",
                         "--security-opt", "no-new-privileges", *self.engine.run_words, *settings, IMAGE, *self.words)
        return self

    def state(self):
        return json.loads(self.engine.call("inspect", self.name))[0]["State"]

    def pid(self):
        """On the host."""
        return self.state()["Pid"]

    def log(self):
        done = subprocess.run([*self.engine.words, "logs", self.name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=CALL_LIMIT_S, check=True)
        return done.stdout

    def is_healthy(self):
        """As the image's HEALTHCHECK sees it, run now; test_the_image_is_labelled holds the two together."""
        return succeeds(*self.engine.words, "exec", self.name, "flowops", "health")

    def wait_health(self, expected, timeout=30):
        wait_until(lambda: self.is_healthy() == expected, timeout, f"healthy: {expected}")

    def wait_log(self, text, timeout=30):
        wait_until(lambda: text in self.log(), timeout, text)

    def status_of_process(self):
        lines = Path(f"/proc/{self.pid()}/status").read_text(encoding="ascii").splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def remove(self):
        call(*self.engine.words, "rm", "--force", "--volumes", self.name)


def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}")
