"""Ports for the servers that tests start, kill and start again."""

from __future__ import annotations

import socket
import sys


def own_port() -> int:
    """Return a port of 127.0.0.1 that the system gives to nobody else while this process lives.

    Between a server's end and its next start any other program could get it. On Linux a server can
    listen beside the socket that keeps it, as both set SO_REUSEADDR; elsewhere the port is free.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        port = int(keeper.getsockname()[1])
        if sys.platform == "linux":
            keeper.detach()
    return port
