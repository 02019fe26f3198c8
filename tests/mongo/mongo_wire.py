"""What a service really asks of its MongoDB: a proxy between the two that counts commands as they pass."""

import collections
import contextlib
import socket
import socketserver
import struct
import threading

import bson

HEADER_BYTES = 16
OP_MSG = 2013
KIND_AND_FLAGS_BYTES = 5  # before the command of a message whose first section is a document


def read_message(stream):
    """A message with its header; None at the end."""
    header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    rest = stream.read(struct.unpack_from("<i", header)[0] - HEADER_BYTES)
    return header + rest


def command_of(message):
    """(name, collection) of a command; None for what is not one."""
    if struct.unpack_from("<i", message, 12)[0] != OP_MSG or message[HEADER_BYTES + 4] != 0:
        return None
    start = HEADER_BYTES + KIND_AND_FLAGS_BYTES
    size = struct.unpack_from("<i", message, start)[0]
    name, value = next(iter(bson.decode(message[start:start + size]).items()))
    return name, value if isinstance(value, str) else ""


class Counter(socketserver.ThreadingTCPServer):
    """Listens on `address`; `counts()` and `reset()` from any thread."""

    allow_reuse_address = True
    daemon_threads = True

    class Connection(socketserver.StreamRequestHandler):
        def handle(self):
            with socket.create_connection(self.server.target) as server:
                answers = threading.Thread(target=self.pass_answers, args=(server,), daemon=True)
                answers.start()
                while (message := read_message(self.rfile)) is not None:
                    self.server.count(command_of(message))
                    server.sendall(message)
                with contextlib.suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)
                answers.join()

        def pass_answers(self, server):
            with contextlib.suppress(OSError):
                while data := server.recv(1 << 16):
                    self.connection.sendall(data)

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), self.Connection)
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()
        self.seen = collections.Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def count(self, command):
        with self.lock:
            self.seen[command] += 1

    def during(self, action):
        """The commands that pass while action() goes on."""
        with self.lock:
            self.seen.clear()
        action()
        with self.lock:
            return dict(self.seen)


def count_operations(counter, client, n):
    """How often each operation of the service, done n times one after the other, sent each command: {operation: {command: count}}.
    `client` has start(), status() and page() of a flow with runs."""
    return {name: counter.during(lambda call=call: [call() for _ in range(n)])
            for name, call in (("start", client.start), ("GET status", client.status), ("list page", client.page))}
