"""The tools hold the tree to its rules only as long as they themselves are right."""

import importlib.machinery
import importlib.util
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent


def check_layers(tree):
    done = subprocess.run([TOOLS / "check-layers", tree], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def write_tree(root, files):
    for name, text in files.items():
        path = root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_clean_tree_passes(tmp_path):
    tree = write_tree(
        tmp_path,
        {
            "base/json.c": "#include <json-c/json.h>\n#include <string.h>\n",
            "domain/run.h": '#include "base/json.h"\n',
            "store/store_sqlite_read.c": '#include <sqlite3.h>\n#include "store/store_internal.h"\n',
            "http/sse_stream.c": "#include <event2/event.h>\n",
            "app/main.c": '#include "http/api.h"\n#include "engine/engine.h"\n',
        },
    )
    assert check_layers(tree) == (0, [])


@pytest.mark.parametrize(
    "file, line, expected",
    [
        ("base/a.c", '#include "domain/run.h"', "base may include only its own files"),
        ("domain/a.c", '#include "store/store.h"', "domain may include base"),
        ("domain/a.c", "#include <time.h>", "domain is pure"),
        ("domain/a.c", '#include "base/thread.h"', "domain is pure"),
        ("engine/a.c", '#include "service/service.h"', "engine may include base domain bus"),
        ("http/a.c", '#include "store/store.h"', "http may include base domain hub service"),
        ("service/a.h", '#include "store/store_internal.h"', "for the files of store alone"),
        ("service/a.c", "#include <sqlite3.h>", "store/store_sqlite*"),
        ("store/store_fault.c", "#include <sqlite3.h>", "store/store_sqlite*"),
        ("http/routes.c", "#include <event2/http.h>", "http/http_server*"),
        ("bus/bus_local.c", "  #  include <librdkafka/rdkafka.h>", "bus/bus_kafka*"),
        ("store/store_sqlite.c", "#include <mongoc/mongoc.h>", "store/store_mongo*"),
        ("engine/engine.c", "#include <curl/curl.h>", "engine/plugin_http*"),
        ("domain/a.c", "#include <json-c/json.h>", "base/json*"),
        ("service/a.c", "#include <openssl/sha.h>", "base/id*"),
        ("hub/hub.c", "#include <pthread.h>", "base/*"),
        ("app/a.c", '#include "config.h"', "folder/name.h"),
        ("app/a.c", '#include "../base/json.h"', "folder/name.h"),
        ("misc/a.c", "", "is in no layer"),
        ("stray.c", "", "is in no layer"),
    ],
)
def test_each_break_is_named_with_its_place(tmp_path, file, line, expected):
    status, output = check_layers(write_tree(tmp_path, {file: f"/* a file */\n{line}\n", "base/fine.c": "\n"}))
    assert status == 1
    assert len(output) == 1
    assert output[0].startswith(f"src/{file}:2: " if line else f"src/{file}:1: ")
    assert expected in output[0]


def test_every_break_is_reported_not_the_first_alone(tmp_path):
    tree = write_tree(tmp_path, {"base/a.c": '#include "hub/hub.h"\n#include "bus/bus.h"\n', "hub/b.c": "#include <curl/curl.h>\n"})
    status, output = check_layers(tree)
    assert status == 1
    assert len(output) == 3


def test_a_tree_without_sources_is_an_error(tmp_path):
    assert check_layers(tmp_path)[0] == 2


def load_run_tests():
    loader = importlib.machinery.SourceFileLoader("run_tests", str(TOOLS / "run-tests"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_tests", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "result, stdout, passed, failed, skipped",
    [
        ("OK", "1..2\nok 1 - simple\nok 2 - harder\n", 2, 0, 0),
        ("OK", "1..1\nok 1 - a\n1..2\nok 1 - b\nok 2 - c\n", 3, 0, 0),
        ("OK", "1..2\nok 1 - a\nok 2 # SKIP b\n", 1, 0, 1),
        ("FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n", 1, 1, 0),
        ("FAIL", "1..1\nok 1 - a\n", 1, 1, 0),  # a sanitizer's report at the end
        ("TIMEOUT", "1..3\nok 1 - a\n", 1, 1, 0),
        ("OK", "1..3\nok 1 - a\n", 1, 1, 0),  # exit(0) in the middle
        ("ERROR", "", 0, 1, 0),
        ("OK", "no TAP here\n", 1, 0, 0),
        ("SKIP", "", 0, 0, 1),
    ],
)
def test_the_runner_counts_single_tests(result, stdout, passed, failed, skipped):
    count = load_run_tests().count_program(result, stdout)
    assert (count.passed, count.failed, count.skipped) == (passed, failed, skipped)


def check_calls(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    done = subprocess.run([TOOLS / "check-calls", root], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_names_in_comments_texts_and_longer_words_are_no_calls(tmp_path):
    text = '/* strcpy(a, b) */\nchar *s = "system(x)"; // gets(s)\nmy_system(s); w->exit(); filesystem(1); int time = 0;\n'
    assert check_calls(tmp_path, {"src/a.c": text, "tests/t.py": '# time.sleep(1)\nx = "time.sleep(1)"\n'}) == (0, [])


@pytest.mark.parametrize(
    "file, line",
    [
        ("src/a.c", "strcpy(a, b);"),
        ("src/a.c", "if (system (command) != 0)"),
        ("tests/unit/t.c", "usleep(10);"),
        ("src/a.c", "g_mutex_lock(&mu);"),
        ("src/a.h", "x = alloca(n);"),
        ("src/a.c", "now = time(NULL);"),
        ("tests/system/t.py", "time.sleep(1)"),
    ],
)
def test_each_banned_call_is_named_with_its_place(tmp_path, file, line):
    status, output = check_calls(tmp_path, {file: f"\n\n{line}\n"})
    assert status == 1
    assert len(output) == 1
    assert output[0].startswith(f"{file}:3: ")


class FakeDebian:
    """Stands in for the commands that install-packages calls, and writes down what it asked of them."""

    def __init__(self, folder, installed="", user=0, has_sudo=True, knows_packages=True, install_fails_once=False):
        self.folder, self.log = folder, folder / "log"
        (folder / "flag").write_text("1" if install_fails_once else "")
        known = 0 if knows_packages else 1
        self._command("dpkg-query", f"for p in {installed}; do echo \"$p installed\"; done")
        self._command("id", f"echo {user}")
        self._command(
            "apt-get",
            f'echo "apt-get $*" >> "{self.log}"\n'
            f'case "$*" in "install -s "*) [ -e "{folder}/updated" ] || exit {known};;\n'
            f'update*) touch "{folder}/updated";;\n'
            f'*) [ -e "{folder}/updated" ] || [ -z "$(cat "{folder}/flag")" ];; esac',
        )
        if has_sudo:
            self._command("sudo", f'echo "sudo $*" >> "{self.log}"\n[ "$1" = -n ] && shift\nexec "$@"')
        for name in ("bash", "env", "cat", "touch"):
            (folder / name).symlink_to(f"/usr/bin/{name}")

    def _command(self, name, text):
        path = self.folder / name
        path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def install(self, *purposes):
        done = subprocess.run([TOOLS / "install-packages", *purposes], env={"PATH": str(self.folder)}, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, check=False)
        calls = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return done.returncode, done.stderr, calls


CHECK_PACKAGES = "clang clang-format clang-tidy cppcheck llvm"


def test_nothing_missing_asks_nobody(tmp_path):
    assert FakeDebian(tmp_path, installed=CHECK_PACKAGES).install("check") == (0, "", [])


def test_only_what_is_missing_is_installed_without_an_update(tmp_path):
    status, said, calls = FakeDebian(tmp_path, installed="clang llvm cppcheck").install("check")
    assert status == 0
    assert "clang-format clang-tidy" in said
    assert [call.split()[1] for call in calls] == ["install", "install"] and calls[1].endswith(" clang-format clang-tidy")


def test_lists_are_updated_when_they_do_not_know_the_packages(tmp_path):
    status, _, calls = FakeDebian(tmp_path, knows_packages=False).install("check")
    assert status == 0
    assert [call.split()[1] for call in calls] == ["install", "update", "install"]


def test_lists_are_updated_when_an_install_fails(tmp_path):
    status, _, calls = FakeDebian(tmp_path, install_fails_once=True).install("check")
    assert status == 0
    assert [call.split()[1] for call in calls] == ["install", "install", "update", "install"]


def test_sudo_only_for_those_who_need_it_and_never_waiting_for_a_password_nobody_types(tmp_path):
    status, _, calls = FakeDebian(tmp_path, user=1000).install("check")
    assert status == 0
    assert [call for call in calls if call.startswith("sudo")] == [call for call in calls if call.startswith("sudo -n env")]
    assert len([call for call in calls if call.startswith("sudo")]) == 1


def test_without_root_and_sudo_it_says_what_to_do(tmp_path):
    status, said, calls = FakeDebian(tmp_path, user=1000, has_sudo=False).install("check")
    assert status == 1 and calls == []
    assert f"apt-get install {CHECK_PACKAGES}" in said


def test_an_unknown_purpose_is_refused(tmp_path):
    debian = FakeDebian(tmp_path)
    assert debian.install("lunch")[0] == 2
    assert debian.install("check", "lunch")[0] == 2
    assert debian.install()[0] == 2
