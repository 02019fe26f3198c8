"""The rows of make bench that need a broker: a real Apache Kafka, started here."""
import http.client
import json
import os
import signal
import statistics
import subprocess
import threading
import time
import uuid

import __main__ as bench_run  # the helpers of bench/run

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
N_RUNS = 1000
LOOK_S = 0.1  # between two looks at a service that catches up
WAIT_FLOW = {"name": "waits for an engine", "steps": [{"pluginId": "echo", "type": "ACTION", "inputs": {"text": str(i)}} for i in range(3)]}


class Broker:
    """A server of tools/servers, ended by its id."""

    def __init__(self, *words):
        self.process = subprocess.Popen([os.path.join(ROOT, "tools", "servers"), *words], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        if len(line) != 2 or line[0] != "ready":
            raise SystemExit(f"bench: {words[0]} did not start")
        self.address = line[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def rss_anon_mb(service):
    return bench_run.memory_kb(service.pid)["RssAnon"] / 1024


def start_runs(service, n):
    """A flow and n runs of it, over one connection: (flow id, step ids, run ids)."""
    flow = service.call("POST", "/flows", WAIT_FLOW)
    steps = [step["stepId"] for step in service.call("GET", f"/flows/{flow['id']}")["steps"]]
    connection = http.client.HTTPConnection(bench_run.LOCAL, service.port)
    runs = []
    for _ in range(n):
        connection.request("POST", f"/api/executions/flows/{flow['id']}/start", "{}", {"Content-Type": "application/json"})
        runs.append(json.loads(connection.getresponse().read())["data"])
    connection.close()
    return flow["id"], steps, runs


def starts(bench, table, copy, broker):
    """Starts with commands going to Kafka beside starts that go nowhere."""
    plain = bench_run.Service(bench.binary, copy(), ENGINE="off")
    service = bench_run.Service(bench.binary, copy(), ENGINE="off", KAFKA_BROKER=broker.address)
    script = os.path.join(bench.here, "start.lua")
    ours, limit = [], []
    try:
        urls = [f"{s.base}/flows/{s.call('POST', '/flows', bench_run.ECHO3)['id']}/start" for s in (plain, service)]
        for _ in range(bench.slices):
            limit.append(bench_run.wrk(urls[0], 64, bench.seconds, plain.pid, script))
            ours.append(bench_run.wrk(urls[1], 64, bench.seconds, service.pid, script))
            bench_run.wait_until(lambda: published(service), 60, "the commands on the topic")
    finally:
        service.stop()
        plain.stop()
    table.compare("durable starts with Kafka on / engine off and no bus", ours, limit, 0.5)
    cpu = statistics.median(s["cpu_us"] for s in limit) / statistics.median(s["cpu_us"] for s in ours)
    table.at_least("the same by processor time of the service", cpu, "of the starts a processor second gives", 0.8)


def published(service):
    return service.metric("flowops_relay_idle") == 1


def command_latency(bench, table, copy, broker):
    """From the answer to a start, which follows its commit, to its command at a consumer."""
    from confluent_kafka import Consumer
    service = bench_run.Service(bench.binary, copy(), ENGINE="off", KAFKA_BROKER=broker.address)
    seen, is_over = {}, threading.Event()
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": str(uuid.uuid4()), "auto.offset.reset": "latest",
                         "fetch.wait.max.ms": 500})
    consumer.subscribe(["execution.commands"])

    def consume():
        while not is_over.is_set():
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                seen.setdefault(message.key().decode(), time.monotonic())
    thread = threading.Thread(target=consume)
    thread.start()
    answered = {}
    try:
        flow = service.call("POST", "/flows", WAIT_FLOW)
        connection = http.client.HTTPConnection(bench_run.LOCAL, service.port)

        def start():
            connection.request("POST", f"/api/executions/flows/{flow['id']}/start", "{}", {"Content-Type": "application/json"})
            run_id = json.loads(connection.getresponse().read())["data"]
            return run_id, time.monotonic()

        def first_arrives():
            start()
            return seen
        bench_run.wait_until(first_arrives, 30, "the first command at the consumer")
        for _ in range(500):
            run_id, at = start()
            answered[run_id] = at
            bench_run.wait_until(lambda: run_id in seen, 30, "a command at the consumer")
    finally:
        is_over.set()
        thread.join()
        consumer.close()
        service.stop()
    delays = [max(0.0, seen[run_id] - at) * 1000 for run_id, at in answered.items()]
    print(f"    {bench_run.spread(delays, '{:.2f}')} ms")
    table.figure("a command at a consumer of the topic after its start was answered: p50", statistics.median(delays), "ms", 5)


def catch_up(bench, broker, n, make_service):
    """Queues n statuses of 1,000 runs while nobody takes them, then lets a service do so: slices from the first to the last event,
    and the most private memory beyond idle, in MB. make_service() gives a service on always the same data."""
    service = make_service()
    flow_id, steps, runs = start_runs(service, N_RUNS)
    bench_run.wait_until(lambda: published(service), 60, "the commands on the topic")
    idle_mb = rss_anon_mb(service)
    service.stop()
    subprocess.run([os.path.join(bench.tools, "bench_kafka_load"), broker.address, flow_id, ",".join(steps), str(n)],
                   input="\n".join(runs), text=True, check=True, stdout=subprocess.DEVNULL)
    service = make_service()
    slices, most_mb = [], 0.0

    def is_slice_over(n_appended):
        return n_appended > done and (time.monotonic() - at >= bench.seconds or n_appended >= n)
    try:
        bench_run.wait_until(lambda: service.metric("flowops_events_appended_total") > 0, 60, "the first event")
        done, at, cpu = service.metric("flowops_events_appended_total"), time.monotonic(), bench_run.processor_seconds(service.pid)
        while done < n:
            bench_run.wait_until(lambda: is_slice_over(service.metric("flowops_events_appended_total")), 60, "a slice", LOOK_S)
            most_mb = max(most_mb, rss_anon_mb(service))
            now, now_done, now_cpu = time.monotonic(), service.metric("flowops_events_appended_total"), bench_run.processor_seconds(service.pid)
            slices.append({"rate": (now_done - done) / (now - at), "cpu_us": (now_cpu - cpu) * 1e6 / (now_done - done)})
            done, at, cpu = now_done, now, now_cpu
    finally:
        service.stop()
    return slices[:-1] or slices, most_mb - idle_mb  # the last one is cut short


def events(bench, table, copy, broker):
    """Queued statuses of 1,000 runs, caught up with from the first to the last; memory meanwhile."""
    n = 100_000 if bench.options.quick else 1_000_000
    data, bare_data = copy(), bench.bare_store(copy, "on")

    def bare():
        return [bench_run.bare(bench.tools, bare_data, 1024, 9, bench.seconds) for _ in range(bench.slices)]
    limit = bare()
    ours, memory_mb = catch_up(bench, broker, n, lambda: bench_run.Service(bench.binary, data, ENGINE="off", KAFKA_BROKER=broker.address))
    limit += bare()
    table.compare(f"{n:,} queued statuses of {N_RUNS:,} runs from Kafka into SQLite / bare loop at 1024 a commit", ours, limit, 0.5)
    table.figure("private memory while catching up, beyond idle", memory_mb, "MB", 64)


def frame_latency(bench, table, copy, broker):
    """From the producer of a status to its frame in a stream, 1,000 streams being open."""
    from confluent_kafka import Producer
    service = bench_run.Service(bench.binary, copy(), ENGINE="off", KAFKA_BROKER=broker.address)
    client = None
    delays = []
    try:
        flow_id, steps, runs = start_runs(service, 2)
        client = subprocess.Popen([os.path.join(bench.tools, "bench_streams"), str(service.port), runs[0], "1000"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if client.stdout.readline().strip() != "open":
            raise SystemExit("bench: the streams did not open")
        stream = http.client.HTTPConnection(bench_run.LOCAL, service.port)
        stream.request("GET", f"/api/executions/stream/{runs[1]}")
        response = stream.getresponse()
        producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 0})

        def next_frame():
            while not response.fp.readline().startswith(b"data:"):
                pass
        next_frame()  # the snapshot
        for k in range(501):
            event = {"eventType": "STEP_STATUS", "flowId": flow_id, "runId": runs[1], "stepId": steps[k % 3], "status": "RUNNING",
                     "attempt": k // 3 + 1, "timestamp": time.time()}
            began = time.monotonic()
            producer.produce("execution.status", json.dumps(event), key=runs[1])
            producer.poll(0)
            next_frame()
            if k > 0:  # the first one waits for the group
                delays.append((time.monotonic() - began) * 1000)
    finally:
        if client:
            client.stdin.close()
            client.wait(60)
        service.stop()
    print(f"    {bench_run.spread(delays, '{:.2f}')} ms")
    table.figure("a status from its producer to its frame, 1,000 streams open: p50", statistics.median(delays), "ms", 15)


def phase(bench):
    print("\n== Kafka, a broker on this machine, a small store ==", flush=True)
    table = bench_run.Table()
    copy, _ = bench.store(1000 * bench_run.EVENTS_PER_RUN)
    broker = Broker("kafka", "--bench")
    try:
        for row in (starts, command_latency, events, frame_latency):
            if not bench.options.only or f"kafka-{row.__name__}" in bench.options.only.split(",") or "kafka" in bench.options.only.split(","):
                row(bench, table, copy, broker)
    finally:
        broker.stop()
    return table
