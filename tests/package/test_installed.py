"""What `make install` puts on a machine: it is all there, and each part is true of the program."""

import os
import re
import subprocess

import pytest

from harness import BINARY, ROOT, environment

UNITS = ("flowops", "flowops-engine")
FILES = {
    "bin/flowops", "lib/systemd/system/flowops.service", "lib/systemd/system/flowops-engine.service",
    "share/man/man1/flowops.1", "share/man/man5/flowops.env.5", "share/bash-completion/completions/flowops",
    "share/doc/flowops/examples/flowops.env",
}


def output_of(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def flowops(*arguments):
    return output_of(BINARY, *arguments, env=environment())


def settings():
    names = re.findall(r"^  ([A-Z][A-Z_]+), --", flowops("help"), re.MULTILINE)
    assert len(names) > 15
    return names


def commands():
    names = re.findall(r"^(?:Usage:| {6}) flowops ([a-z]+) ", flowops("help"), re.MULTILINE)
    assert {"serve", "engine", "fsck", "copy", "help"} <= set(names)
    return names


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    for _ in range(2):  # again: the same
        output_of("make", "-C", ROOT, "install", f"DESTDIR={root}", "prefix=/usr")
        assert {str(path.relative_to(root / "usr")) for path in root.rglob("*") if path.is_file()} == FILES
    return root / "usr"


def test_the_installed_program_runs(installed):
    assert output_of(installed / "bin" / "flowops", "version") == flowops("version")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_valid_and_shut_in(installed, unit, tmp_path):
    text = (installed / "lib/systemd/system" / f"{unit}.service").read_text(encoding="utf-8")
    assert "ExecStart=/usr/bin/flowops " in text and "EnvironmentFile=-/etc/flowops/flowops.env" in text
    path = tmp_path / f"{unit}.service"
    path.write_text(text.replace("/usr/bin/flowops", str(installed / "bin/flowops")), encoding="utf-8")
    assert output_of("systemd-analyze", "verify", "--man=no", path) == ""
    output_of("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", path)  # in tenths: 1.5


def test_settings_of_a_unit_are_settings(installed):
    known = set(settings())
    for unit in UNITS:
        text = (installed / "lib/systemd/system" / f"{unit}.service").read_text(encoding="utf-8")
        assert set(re.findall(r"([A-Z_]+)=", re.search(r"^Environment=(.*)", text, re.MULTILINE)[1])) <= known
    example = (installed / "share/doc/flowops/examples/flowops.env").read_text(encoding="utf-8")
    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) <= known


@pytest.mark.parametrize("page", ["man1/flowops.1", "man5/flowops.env.5"])
def test_a_man_page_is_clean(installed, page):
    assert output_of("mandoc", "-T", "lint", "-W", "warning", installed / "share/man" / page) == ""


def test_the_man_pages_name_every_command_and_setting(installed):
    page = (installed / "share/man/man1/flowops.1").read_text(encoding="utf-8")
    assert set(re.findall(r"^\.It Cm ([a-z]+)$", page, re.MULTILINE)) == set(commands())
    page = (installed / "share/man/man5/flowops.env.5").read_text(encoding="utf-8")
    assert set(re.findall(r"^\.It Ev ([A-Z_]+)", page, re.MULTILINE)) == set(settings())


def complete(installed, *words):
    """What bash offers for the last of these words."""
    script = (f'. "{installed}/share/bash-completion/completions/flowops"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
              '_flowops; printf "%s\\n" "${COMPREPLY[@]}"')
    return output_of("bash", "-c", script, "bash", str(BINARY), *words, env=dict(environment(), PATH=os.environ["PATH"])).split()


def test_completion_offers_every_command(installed):
    assert set(complete(installed, "")) == set(commands())
    assert complete(installed, "fs") == ["fsck"]


def test_completion_offers_the_options_of_a_command(installed):
    assert {"--env-file", "--data-dir", "--log-level"} <= set(complete(installed, "serve", "--"))
    assert complete(installed, "engine", "--data") == []
    assert {"--live", "--time-limit-ms", "--env-file", "--listen-addr"} <= set(complete(installed, "health", "--"))
    assert set(complete(installed, "copy", "--f")) == {"--from=", "--from-legacy="}
    assert {"--store=", "--repair", "--help"} <= set(complete(installed, "fsck", "--"))
    assert complete(installed, "fsck", "x") == []
