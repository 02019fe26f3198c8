"""The rows of make bench about schedules: loading them, many that are due at once, what they cost while nothing is due."""
import datetime
import os
import statistics
import subprocess
import time

import __main__ as bench_run  # the helpers of bench/run

N_FLOWS = 100_000
N_DUE = 10_000
LEAD_S = 6  # from the preload to the second at which all are due: the service has to be up by then
IDLE_S = 10


def preload(bench, name, n, cron=None):
    path = os.path.join(bench.folder, name)
    argv = [os.path.join(bench.tools, "bench_preload_schedules"), path, str(n)] + ([cron] if cron else [])
    subprocess.run(argv, check=True)
    return path


def private_mb(service):
    return bench_run.memory_kb(service.pid)["RssAnon"] / 1024


def load(bench, table):
    """Beside a service with an empty store: what 100,000 schedules add."""
    empty, loaded_s, added_mb, idle = os.path.join(bench.folder, "no-schedules"), [], [], []
    data = preload(bench, "schedules", N_FLOWS)
    for _ in range(bench.slices):
        service = bench_run.Service(bench.binary, empty)
        base_mb = private_mb(service)
        service.stop()
        began = time.monotonic()
        service = bench_run.Service(bench.binary, data)
        bench_run.wait_until(lambda: service.metric("flowops_schedules") == N_FLOWS, 60, "the schedules' loading")
        loaded_s.append(time.monotonic() - began)
        added_mb.append(private_mb(service) - base_mb)
        before = bench_run.processor_seconds(service.pid)
        time.sleep(IDLE_S)
        idle.append((bench_run.processor_seconds(service.pid) - before) / IDLE_S * 100)
        service.stop()
    table.figure(f"{N_FLOWS:,} schedules: loaded after the start of the process", statistics.median(loaded_s), "s", 2)
    table.figure("the same: private memory beyond that of an empty store", statistics.median(added_mb), "MB", 64)
    table.figure("the same: processor time while nothing is due", statistics.median(idle), "% of a core", 1)


def due_at_once(bench, table):
    seconds = []
    for i in range(bench.slices):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=LEAD_S)
        at = at.replace(microsecond=0)
        data = preload(bench, f"due-{i}", N_DUE, f"{at.second} {at.minute} {at.hour} * * *")
        service = bench_run.Service(bench.binary, data, ENGINE="off")
        bench_run.wait_until(lambda: service.metric("flowops_runs_open") >= N_DUE and service.metric("flowops_schedule_owed") == 0,
                             60, "the start of all that is due")
        seconds.append(time.time() - at.timestamp())
        n_runs = service.metric("flowops_runs_open")
        service.stop()
        if n_runs != N_DUE:
            raise SystemExit(f"bench: {N_DUE} slots started {n_runs:.0f} runs")
    table.figure(f"{N_DUE:,} flows due in the same second: all started, each once", statistics.median(seconds), "s", 5)


def next_slot(bench, table):
    text = subprocess.run([os.path.join(bench.tools, "bench_cron")], capture_output=True, text=True, check=False).stdout
    worst = int(text.rsplit("at most ", 1)[1].split()[0])
    table.figure("the next slot of the slowest usual expression", worst / 1000, "us", 2)


def phase(bench):
    print("\n== schedules ==", flush=True)
    table = bench_run.Table()
    for name, rows in (("load", load), ("due", due_at_once), ("cron", next_slot)):
        only = bench.options.only
        if not only or "schedules" in only.split(",") or f"schedules-{name}" in only.split(","):
            rows(bench, table)
    return table
