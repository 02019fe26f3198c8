"""The rows of make bench that need a server of the MongoDB protocol: mongo-java-server, in memory, on this machine."""
import json
import os
import subprocess
import sys

import __main__ as bench_run
import bench_kafka

STATUS_BATCH = 2048  # messages that the service takes from the bus at once, see service_internal.h


def bare(bench, server, database, *words):
    """A slice of the bare libmongoc loop."""
    argv = [os.path.join(bench.tools, "bench_bare_mongo"), f"mongodb://{server.address}", database, *words]
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)


def starts(bench, table, server, broker):
    """Starts beside the same commands from libmongoc alone."""
    service = bench_run.Service(bench.binary, None, ENGINE="off", MONGO_URI=f"mongodb://{server.address}", MONGO_DB="starts")
    ours, limit = [], []
    try:
        flow = service.call("POST", "/flows", bench_run.ECHO3)
        service.call("POST", f"/flows/{flow['id']}/start")
        script = os.path.join(bench.here, "start.lua")
        for _ in range(bench.slices):
            limit.append(bare(bench, server, "starts", "starts", "64", str(bench.seconds)))
            ours.append(bench_run.wrk(f"{service.base}/flows/{flow['id']}/start", 64, bench.seconds, service.pid, script))
    finally:
        service.stop()
    table.compare("durable starts, 64 connections, MongoDB / bare libmongoc, 64 in flight", ours, limit, 0.3)


def events(bench, table, server, broker):
    """Statuses from Kafka into MongoDB beside bulks of the same size from libmongoc alone."""
    n = 50_000 if bench.options.quick else 200_000

    def make_service():
        return bench_run.Service(bench.binary, None, ENGINE="off", KAFKA_BROKER=broker.address,
                                 MONGO_URI=f"mongodb://{server.address}", MONGO_DB="events")
    ours, memory_mb = bench_kafka.catch_up(bench, broker, n, make_service)
    limit = [bare(bench, server, "events", "bulk", str(STATUS_BATCH), str(bench.seconds)) for _ in range(bench.slices)]
    table.compare(f"{n:,} queued statuses of {bench_kafka.N_RUNS:,} runs from Kafka into MongoDB / bare bulks of {STATUS_BATCH}", ours, limit, 0.3)
    table.figure("private memory while catching up, beyond idle", memory_mb, "MB", 64)


class Calls:
    """What mongo_wire.count_operations() wants of a client."""

    def __init__(self, service):
        self.service = service
        self.flow_id = service.call("POST", "/flows", bench_kafka.WAIT_FLOW)["id"]
        self.run_id = [service.call("POST", f"/flows/{self.flow_id}/start") for _ in range(8)][0]

    def start(self):
        self.service.call("POST", f"/flows/{self.flow_id}/start")

    def status(self):
        self.service.call("GET", f"/runs/{self.run_id}/status")

    def page(self):
        self.service.call("GET", "/runs?pageSize=5")


def round_trips(bench, table, server, broker):
    """What each operation asks of the server, the documents that follow and what looks around included. tests/mongo holds it."""
    sys.path.append(os.path.join(bench_kafka.ROOT, "tests", "mongo"))
    import mongo_wire
    n = 100
    with mongo_wire.Counter(server.address) as counter:
        service = bench_run.Service(bench.binary, None, ENGINE="off", MONGO_URI=f"mongodb://{counter.address}", MONGO_DB="trips")
        try:
            seen = mongo_wire.count_operations(counter, Calls(service), n)
        finally:
            service.stop()
            counter.shutdown()
    for operation, commands in seen.items():
        each = ", ".join(f"{' '.join(command)} {count / n:.2f}" for command, count in sorted(commands.items()) if command)
        print(f"commands for each {operation}, one after the other: {each}", flush=True)


def phase(bench):
    print("\n== MongoDB's protocol (mongo-java-server, in memory) on this machine ==", flush=True)
    table = bench_run.Table()
    server, broker = bench_kafka.Broker("mongo-java"), bench_kafka.Broker("kafka", "--bench")
    try:
        for row in (round_trips, starts, events):
            if not bench.options.only or {"mongo", f"mongo-{row.__name__}"} & set(bench.options.only.split(",")):
                row(bench, table, server, broker)
    finally:
        broker.stop()
        server.stop()
    return table
