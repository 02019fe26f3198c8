"""How often a service asks its store for each thing a client does; docs/mongodb.md promises these numbers."""

import pytest

from harness import Client, MONGO, Server, step
from mongo_wire import Counter, count_operations

N = 40
BEHIND = 8  # what the sweeper and its like may ask in the meantime, of the same collections


class Calls:
    def __init__(self, server):
        self.api = Client(server)
        self.flow_id = self.api.create_flow([step()])
        self.run_id = [self.api.start(self.flow_id) for _ in range(8)][0]
        first = self.api.get("/runs", params={"pageSize": 2}).json()
        self.cursor = first["metadata"]["additional"]["nextCursor"]

    def start(self):
        self.api.start(self.flow_id)

    def status(self):
        self.api.status(self.run_id)

    def page(self):
        """By a cursor: one by its number is counted as well."""
        assert self.api.get("/runs", params={"pageSize": 2, "cursor": self.cursor}).status_code == 200


@pytest.fixture
def counted(tmp_path):
    """A service, its store reached through a proxy that counts."""
    with Counter(MONGO.partition("://")[2] or MONGO) as counter:
        server = Server(tmp_path / "service", MONGO_URI=f"mongodb://{counter.address}", ENGINE="off").start()
        yield server, counter
        server.stop()
        counter.shutdown()


def test_what_a_client_does_costs_so_many_round_trips(counted):
    server, counter = counted
    seen = count_operations(counter, Calls(server), N)
    for operation, commands in seen.items():
        print(operation, {" ".join(command): n for command, n in commands.items() if command})

    def asked(operation, *commands):
        return sum(seen[operation].get(command, 0) for command in commands)
    reads = [("find", "flows"), ("find", "flow_versions")]
    assert N <= asked("start", *reads) <= N + BEHIND
    assert N <= asked("start", ("insert", "run_events")) <= N + BEHIND
    for operation in ("GET status", "list page"):
        commands = [command for command in seen[operation] if command and command[0] in ("find", "aggregate", "count", "getMore")]
        assert N <= asked(operation, *commands) <= N + BEHIND, seen[operation]
