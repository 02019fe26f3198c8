"""The Debian package in a root of its own: installed, started as the unit says, upgraded, removed, purged."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import requests

from harness import ROOT, Client, free_port, new_id
from manager import Manager

FOLDER = ROOT / "build-deb"
CLEAN = FOLDER / "root"  # made once; a test works on a copy
NOBODY = 65534
NEXT_VERSION = "99.0"


def run(*command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def make_clean_root():
    """A small Debian of this machine's release. What was cut short is no root."""
    if CLEAN.exists():
        return
    unfinished = FOLDER / "root.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    codename = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE)[1]
    run("/usr/sbin/debootstrap", "--variant=minbase", codename, unfinished)
    unfinished.rename(CLEAN)


class Machine:
    """A root with the package's life in it."""

    def __init__(self, path):
        self.path = path

    def __truediv__(self, name):
        return self.path / name.lstrip("/")

    def run(self, *command):
        environment = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        environment.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
        return run("/usr/sbin/chroot", self.path, *command, env=environment)

    def install(self, package, *options):
        shutil.copy(package, self / "tmp/flowops.deb")
        self.run("apt-get", "install", "-y", "--no-install-recommends", *options, "/tmp/flowops.deb")

    def state(self):
        return self.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "flowops")


@pytest.fixture(scope="module")
def machine():
    if os.geteuid() != 0:
        pytest.fail("installing into a root of its own takes root: sudo make test-package")
    make_clean_root()
    path = FOLDER / "root.test"
    shutil.rmtree(path, ignore_errors=True)
    run("cp", "-a", "--reflink=auto", CLEAN, path)
    shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
    machine = Machine(path)
    machine.run("apt-get", "update")
    yield machine
    shutil.rmtree(path)


def package():
    packages = list(FOLDER.glob("flowops_*.deb"))
    assert len(packages) == 1, packages
    return packages[0]


def next_package(folder):
    """The same program as a later version, which brings another settings file."""
    content = folder / "content"
    run("dpkg-deb", "-R", package(), content)
    for path, pattern, text in (
        (content / "DEBIAN/control", r"^Version: .*", f"Version: {NEXT_VERSION}"),
        (content / "etc/flowops/flowops.env", r"\A", "# Another first line.\n"),
    ):
        path.write_text(re.sub(pattern, text, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE), encoding="utf-8")
    target = folder / "next.deb"
    run("dpkg-deb", "--root-owner-group", "-b", content, target)
    return target


class Unit:
    """flowops.service, started as systemd would: its command, environment, user and state folder."""

    def __init__(self, machine):
        self.machine = machine
        self.process = None

    def _lines(self, name):
        text = (self.machine / "lib/systemd/system/flowops.service").read_text(encoding="utf-8")
        return re.findall(rf"^{name}=-?(.*)$", text, re.MULTILINE)

    def _environment(self):
        words = self._lines("Environment")[0].split()
        lines = (self.machine / self._lines("EnvironmentFile")[0]).read_text(encoding="utf-8").splitlines()
        words += [line for line in lines if line and not line.startswith("#")]
        return dict(word.split("=", 1) for word in words)

    def _make_state_folder(self):
        name = self._lines("StateDirectory")[0]
        folder = self.machine / f"var/lib/private/{name}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(folder, NOBODY, NOBODY)
        folder.parent.chmod(0o755)  # systemd mounts it instead
        link = self.machine / f"var/lib/{name}"
        if not link.is_symlink():
            link.symlink_to(f"private/{name}")

    def start(self):
        self._make_state_folder()
        socket_path = self.machine / "run/notify"
        socket_path.unlink(missing_ok=True)
        manager = Manager(str(socket_path))
        socket_path.chmod(0o777)
        self.process = subprocess.Popen(
            ["/usr/sbin/chroot", f"--userspec={NOBODY}:{NOBODY}", self.machine.path, *self._lines("ExecStart")[0].split()],
            env={**self._environment(), "NOTIFY_SOCKET": "/run/notify"}, stdin=subprocess.DEVNULL)
        try:
            manager.expect("READY=1")
            return self
        except BaseException:
            self.kill()
            raise
        finally:
            manager.socket.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._environment()['EXECUTION_SERVICE_PORT']}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def unit(machine):
    unit = Unit(machine)
    yield unit
    if unit.process is not None:
        unit.kill()


def test_a_package_lives_from_install_to_purge(machine, unit, tmp_path):
    machine.install(package())
    assert machine.state().startswith("installed ")
    enabled = machine / "etc/systemd/system/multi-user.target.wants"
    assert (enabled / "flowops.service").is_symlink() and not (enabled / "flowops-engine.service").exists()
    settings = machine / "etc/flowops/flowops.env"
    assert settings.stat().st_mode & 0o777 == 0o640

    changed = settings.read_text(encoding="utf-8") + f"EXECUTION_SERVICE_PORT={free_port()}\n"
    settings.write_text(changed, encoding="utf-8")
    unit.start()
    assert requests.get(f"{unit.url}/readyz", timeout=5).status_code == 200
    user = new_id()
    flow_id = Client(unit, user).create_flow(name="kept")
    unit.stop()

    machine.install(next_package(tmp_path), "-o", "Dpkg::Options::=--force-confold")
    assert machine.state() == f"installed {NEXT_VERSION}"
    assert settings.read_text(encoding="utf-8") == changed
    assert (machine / "etc/flowops/flowops.env.dpkg-dist").exists()
    unit.start()
    assert Client(unit, user).data(f"/flows/{flow_id}")["name"] == "kept"
    unit.stop()

    database = machine / "var/lib/private/flowops/flowops.db"
    machine.run("apt-get", "remove", "-y", "flowops")
    assert not (machine / "usr/bin/flowops").exists()
    assert database.exists() and settings.read_text(encoding="utf-8") == changed

    machine.run("apt-get", "purge", "-y", "flowops")
    for gone in ("var/lib/private/flowops", "var/lib/flowops", "etc/flowops/flowops.env", "lib/systemd/system/flowops.service"):
        assert not os.path.lexists(machine / gone), gone
