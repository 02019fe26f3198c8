"""A service manager, as far as a service can tell."""

import socket


class Manager:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))

    def next(self, timeout):
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(4096).decode()
        except socket.timeout:
            return None

    def expect(self, state, timeout=20):
        assert self.next(timeout) == state

    def settings(self, **more):
        return {"NOTIFY_SOCKET": self.address, **more}
