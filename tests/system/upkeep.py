"""What tests of an operator's commands share: fsck and copy as programs, a store that is proved while it is used, a copy that is
killed."""

import contextlib
import re
import signal
import sqlite3
import subprocess
import threading

from harness import BINARY, Client, delay, environment, kill_now, step, wait_until


def flowops(*arguments, **settings):
    """Its exit status and what it said on either side."""
    done = subprocess.run(
        [BINARY, *map(str, arguments)], env=environment(**settings), capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def fsck(store, *arguments, status=0):
    code, out, err = flowops("fsck", "--store", store, *arguments)
    assert code == status, (out, err)
    return out


def copy(source, target, status=0):
    """What it said, on either side."""
    code, out, err = flowops("copy", "--from", source, "--to", target)
    assert code == status, (out, err)
    return out + err


def figures(report):
    """Runs and events of fsck's last line."""
    found = re.search(r"(\d+) runs, (\d+) events", report.splitlines()[-1])
    return int(found.group(1)), int(found.group(2))


def stored_run_ids(directory):
    """Of an embedded store; none where there is no store yet."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{directory}/flowops.db?mode=ro", uri=True)) as db:
            return [row[0] for row in db.execute("SELECT id FROM runs ORDER BY id")]
    except sqlite3.OperationalError:
        return []


def prove_while_in_use(server, store, n_writers, n_looks):
    """fsck raises no alarm beside a service that is busy, and sees more each time."""
    is_over = threading.Event()

    def run_flows(_):
        api = Client(server)
        flow_id = api.create_flow([step(), delay(5), step()])
        while not is_over.is_set():
            api.wait_end(api.start(flow_id))

    writers = [threading.Thread(target=run_flows, args=(n,)) for n in range(n_writers)]
    for writer in writers:
        writer.start()
    try:
        seen = [figures(fsck(store))[1] for _ in range(n_looks)]
    finally:
        is_over.set()
        for writer in writers:
            writer.join()
    assert seen == sorted(seen) and seen[-1] > seen[0]
    server.stop()
    fsck(store)


def kill_copies(words, count, n_kills, n_all):
    """Starts a copy, kills it once count() has grown, and does so again; each goes on where the one before was."""
    counts = []
    for _ in range(n_kills):
        before = count()
        process = subprocess.Popen([BINARY, "copy", *map(str, words)], env=environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        wait_until(lambda: count() > before or process.poll() is not None, 60, "the first runs")
        kill_now(process)
        assert process.returncode == -signal.SIGKILL, "it was done too soon"
        counts.append(count())
    assert 0 < counts[0] and counts == sorted(set(counts)) and counts[-1] < n_all, counts
    return counts[-1]
