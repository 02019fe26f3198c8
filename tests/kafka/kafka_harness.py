"""What the tests with a real Kafka stand on: a broker that can be hurt, an engine of its own, topics as lists."""

import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from pathlib import Path

import requests
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from harness import BINARY, RealServer, Server, environment, free_port, kill_now, wait_until

COMMANDS, STATUSES, LETTERS, UPDATES = "execution.commands", "execution.status", "execution.status.dlq", "execution.updates"


class Broker(RealServer):
    """`listeners` are protocols beside the open port, each on a port of its own; `words` are more of the server's own options."""

    def __init__(self, folder, listeners=(), words=()):
        self.ports = {protocol: free_port() for protocol in listeners}
        listen = [word for protocol, port in self.ports.items() for word in ("--listen", f"{protocol}={port}")]
        super().__init__("kafka", folder, [*listen, *words])

    def wipe(self):
        """What a broker has whose disk was replaced."""
        assert self.process is None
        shutil.rmtree(self.folder)

    def admin(self):
        return AdminClient({"bootstrap.servers": self.address})

    def allow(self, user, operations):
        """Access control entries, as (type of resource, its name or the beginning of it and "*", operation)."""
        create_acls(self.port, user, operations)

    def make_topic(self, name, partitions=3, **config):
        admin = self.admin()  # lives until the answer is there
        admin.create_topics([NewTopic(name, partitions, 1, config={k: str(v) for k, v in config.items()})])[name].result(30)

    def add_partitions(self, name, n):
        """Until there are n."""
        admin = self.admin()
        admin.create_partitions([NewPartitions(name, n)])[name].result(30)

    def delete_topic(self, name):
        admin = self.admin()
        admin.delete_topics([name])[name].result(30)

    def set_topic_config(self, name, **config):
        resource = ConfigResource("topic", name, {key.replace("_", "."): str(value) for key, value in config.items()})
        admin = self.admin()
        admin.alter_configs([resource])[resource].result(30)

    def topic_config(self, name, key):
        resource = ConfigResource("topic", name)
        admin = self.admin()
        return admin.describe_configs([resource])[resource].result(30)[key].value

    def is_caught_up(self, group="flowops-execution-service", topic=STATUSES):
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False})
        try:
            partitions = [TopicPartition(topic, p) for p in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
            positions = {p.partition: p.offset for p in consumer.committed(partitions, timeout=10)}
            return all(consumer.get_watermark_offsets(p, timeout=10)[1] in (0, positions[p.partition]) for p in partitions)
        finally:
            consumer.close()

    def committed(self, group="flowops-execution-service", topic=STATUSES):
        """The group's positions, by partition."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False})
        try:
            partitions = [TopicPartition(topic, p) for p in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
            return {p.partition: p.offset for p in consumer.committed(partitions, timeout=10)}
        finally:
            consumer.close()

    def group_state(self, group="flowops-execution-service"):
        """As the broker calls it: "Stable", "PreparingRebalance" ..."""
        return next((found.state for found in self.admin().list_groups(group, timeout=10)), None)

    def reset_group(self, group, topic):
        """Positions of a group without members back to the beginning."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False})
        try:
            metadata = consumer.list_topics(topic, timeout=10).topics[topic]
            positions = [TopicPartition(topic, partition, 0) for partition in metadata.partitions]
            consumer.commit(offsets=positions, asynchronous=False)
        finally:
            consumer.close()

    def produce(self, topic, value, key=None, headers=None, partition=None):
        self.produce_all(topic, [(key, value)], headers, partition)

    def produce_all(self, topic, pairs, headers=None, partition=None):
        """Keys and values; dicts are written as JSON. Returns when the broker has them all."""
        failures = []
        producer = Producer({"bootstrap.servers": self.address, "enable.idempotence": True, "message.max.bytes": 5_000_000,
                             "partitioner": "murmur2_random"})
        for key, value in pairs:
            text = json.dumps(value).encode() if isinstance(value, (dict, list)) else value
            options = {} if partition is None else {"partition": partition}
            producer.produce(topic, text, key=key, headers=headers or [], on_delivery=lambda e, _: failures.append(e) if e else None,
                             **options)
            producer.poll(0)
        assert producer.flush(30) == 0
        assert not failures, failures

    def read(self, topic):
        """All that a topic holds now, as messages: partition by partition, in order."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": str(uuid.uuid4()), "enable.auto.commit": False,
                             "enable.partition.eof": False, "fetch.message.max.bytes": 5_000_000})
        found = []
        try:
            metadata = consumer.list_topics(topic, timeout=10).topics[topic]
            if metadata.error is not None:
                return found
            for partition in metadata.partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                position = low
                consumer.assign([TopicPartition(topic, partition, low)])
                deadline = time.monotonic() + 30
                while position < high:
                    assert time.monotonic() < deadline, f"{topic} stopped at {position} of {high}"
                    message = consumer.poll(0.2)
                    if message is not None and message.error() is None:
                        found.append(message)
                        position = message.offset() + 1
        except KafkaException:
            return found
        finally:
            consumer.close()
        return found

    def commands(self, run_id=None):
        """Commands as they stand on the topic, parsed; of one run in order."""
        values = [json.loads(message.value()) for message in self.read(COMMANDS)]
        return [value for value in values if run_id is None or value["runId"] == run_id]


RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
OPERATIONS = {"READ": 3, "WRITE": 4, "CREATE": 5, "DESCRIBE": 8}


def create_acls(port, user, operations):
    """Kafka's CreateAcls request, version 1, which the Python client of Debian 12 does not have."""
    create_acls_key, literal, prefixed, allow = 30, 3, 4, 3

    def text(value):
        return struct.pack(">h", len(value)) + value.encode()

    body = struct.pack(">hhi", create_acls_key, 1, 1) + text("tests") + struct.pack(">i", len(operations))
    for resource, name, operation in operations:
        body += struct.pack(">b", RESOURCES[resource]) + text(name.rstrip("*")) + struct.pack(">b", prefixed if "*" in name else literal)
        body += text(f"User:{user}") + text("*") + struct.pack(">bb", OPERATIONS[operation], allow)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer, peer.makefile("rb") as answers:
        peer.sendall(struct.pack(">i", len(body)) + body)
        answer = answers.read(struct.unpack(">i", answers.read(4))[0])
    results = answer[12:]  # after the correlation id, the throttle time and their number
    while results:
        code, size = struct.unpack(">hh", results[:4])
        assert code == 0, (code, results[4:4 + max(size, 0)])
        results = results[4 + max(size, 0):]


class KafkaServer(Server):
    """A service whose bus is a broker."""

    def __init__(self, data_dir, broker, **settings):
        super().__init__(data_dir, **{"KAFKA_BROKER": broker.address, **settings})
        self.broker = broker

    def start_waiting(self, timeout=20.0):
        """With a broker that runs, once topics are there and partitions are held."""
        super().start_waiting(timeout)
        if self.broker.process is not None:
            wait_until(lambda: self.metric("status_partitions") > 0, timeout, "the service's partitions")
        return self

    def readiness(self):
        return requests.get(f"{self.url}/readyz", timeout=5).json()["data"]

    def metric(self, name):
        text = requests.get(f"{self.url}/metrics", timeout=10).text
        return float(re.search(rf"^flowops_{name} (\S+)$", text, re.M).group(1))

    def wait_caught_up(self, timeout=30):
        """Everything that is on execution.status now was taken in and its position committed."""
        wait_until(self.broker.is_caught_up, timeout, "the end of execution.status")

    def wait_for_engines(self, n):
        """n engines have announced themselves, in all: what is started from now on is not handed to them once more."""
        wait_until(lambda: self.log().count("an engine announced itself") >= n, 20, f"{n} engines")


def together(servers):
    """For a fixture: servers that were spawned, once all are up; those that live on are stopped in order."""
    for server in servers:
        server.start_waiting()
    yield servers
    for server in servers:
        if server.process.poll() is None:
            server.stop()


class Engine:
    """build/flowops engine."""

    def __init__(self, log_path, broker, **settings):
        self.log_path, self.broker, self.settings = Path(log_path), broker, settings
        self.process = None

    def spawn(self):
        """Starts without waiting for anything."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([BINARY, "engine"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment(**{"KAFKA_BROKER": self.broker.address, "LOG_FORMAT": "json", **self.settings}))
        return self

    def start(self, timeout=30):
        start = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.spawn()
        wait_until(lambda: b"partitions" in self.log_path.read_bytes()[start:], timeout, "the engine's partitions")
        return self

    def log(self):
        return self.log_path.read_text(encoding="utf-8")

    def stop(self, timeout=15):
        """An orderly end."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout) == 0, self.log_path.read_text(encoding="utf-8")[-2000:]
        self.process = None

    def kill(self):
        if self.process is not None:
            kill_now(self.process)
            self.process = None
