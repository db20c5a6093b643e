"""Proxies in front of PostgreSQL: a network that fails, and a transaction pooler.

Both listen on the loopback, in threads of the test's process.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections


class Proxy:
    """Forwards bytes. It can also drop them, or refuse new connections."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.swallows = threading.Event()
        """True while all data is accepted, but neither forwarded nor answered."""
        self.refuses = threading.Event()
        """True while new connections are closed at once."""
        self._sockets: list[socket.socket] = []
        self._is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close all connections."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def close(self) -> None:
        self._is_closed = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._is_closed:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.refuses.is_set():
                    client.close()
                    continue
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _connect(self) -> socket.socket:
        server = socket.create_connection(self._server)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, self._connect() as server:
                self._sockets.append(server)
                self._relay(client, server)
        except OSError:
            return

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        to = {client: server, server: client}
        with selectors.DefaultSelector() as selector:
            for one in to:
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    one: Any = key.fileobj
                    data = one.recv(65536)
                    if not data:
                        return
                    if not self.swallows.is_set():
                        to[one].sendall(data)


class Message:
    """A message of PostgreSQL's protocol."""

    def __init__(self, kind: bytes, body: bytes) -> None:
        self.kind, self.body = kind, body

    @property
    def data(self) -> bytes:
        return self.kind + struct.pack("!I", len(self.body) + 4) + self.body


class Stream:
    """A socket, read message by message."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if not (part := self.socket.recv(count - len(data))):
                raise ConnectionError
            data += part
        return data

    def message(self, *, has_kind: bool = True) -> Message:
        kind = self.exactly(1) if has_kind else b""
        (size,) = struct.unpack("!I", self.exactly(4))
        return Message(kind, self.exactly(size - 4))


SSL_OR_GSS = (80877103, 80877104)


class TransactionPooler(Proxy):
    """Uses another connection to the server for each transaction, as PgBouncer can.

    Of its connections the one that was used last is given away first. Each client signs on over a
    connection of its own, which everybody may use from then on.
    """

    def __init__(self, host: str, port: int, *, hides_pids: bool = True) -> None:
        self._hides_pids = hides_pids
        self.rotates = False
        """True if connections are used in the order of their release."""
        self._free: list[Stream] = []
        self._changed = threading.Condition()
        super().__init__(host, port)

    def close(self) -> None:
        super().close()
        with self._changed:
            for server in self._free:
                server.socket.close()
            self._free.clear()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                stream = Stream(client)
                self._sign_on(stream)
                while True:
                    first = stream.message()
                    if first.kind == b"X":
                        return
                    self._transaction(stream, first)
        except (OSError, ConnectionError):
            return

    def _sign_on(self, client: Stream) -> None:
        startup = client.message(has_kind=False)
        while struct.unpack("!I", startup.body[:4])[0] in SSL_OR_GSS:
            client.socket.sendall(b"N")
            startup = client.message(has_kind=False)
        server = Stream(self._connect())
        self._sockets.append(server.socket)
        try:
            self._forward_sign_on(client, server, startup)
        except BaseException:
            server.socket.close()
            raise
        self._give_back(server)

    def _forward_sign_on(self, client: Stream, server: Stream, startup: Message) -> None:
        server.socket.sendall(startup.data)
        while True:
            said = server.message()
            if said.kind == b"K" and self._hides_pids:
                said = Message(b"K", b"\0\0\0\7" + said.body[4:])
            client.socket.sendall(said.data)
            if said.kind == b"Z":
                return
            if said.kind == b"E":
                raise ConnectionError
            if said.kind == b"R" and said.body[:4] not in (b"\0\0\0\0", b"\0\0\0\x0c"):
                # The server requests a password.
                server.socket.sendall(client.message().data)

    def _transaction(self, client: Stream, first: Message) -> None:
        """Serve a client until the server has answered all messages and its transaction is over."""
        server = self._take()
        try:
            server.socket.sendall(first.data)
            waiting, is_partial = int(first.kind in b"QS"), first.kind not in b"QS"
            with selectors.DefaultSelector() as selector:
                for one in (client, server):
                    selector.register(one.socket, selectors.EVENT_READ, one)
                state = b"I"
                while waiting or is_partial or state != b"I":
                    for key, _ in selector.select():
                        said = key.data.message()
                        if key.data is client:
                            if said.kind == b"X":
                                raise ConnectionError
                            server.socket.sendall(said.data)
                            waiting += said.kind in b"QS"
                            is_partial = said.kind not in b"QS"
                        else:
                            if said.kind == b"Z":
                                waiting, state = waiting - 1, said.body
                            client.socket.sendall(said.data)
        except BaseException:
            server.socket.close()
            raise
        self._give_back(server)

    def _take(self) -> Stream:
        with self._changed:
            while not self._free:
                self._changed.wait()
            return self._free.pop(0 if self.rotates else -1)

    def _give_back(self, server: Stream) -> None:
        with self._changed:
            if self._is_closed:
                server.socket.close()
                return
            self._free.append(server)
            self._changed.notify()


def of_server(kind: type[Proxy] = Proxy, **options: Any) -> Proxy:
    """Start a proxy to the server of the tests."""
    settings = connections["default"].settings_dict
    return kind(str(settings["HOST"]) or "127.0.0.1", int(settings["PORT"] or 5432), **options)


@contextlib.contextmanager
def through(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Route new connections of this process to the workflow database through the proxy.

    This thread keeps its own, which doesn't.
    """
    connections["default"].ensure_connection()
    with monkeypatch.context() as patch:
        patch.setitem(connections["default"].settings_dict, "HOST", "127.0.0.1")
        patch.setitem(connections["default"].settings_dict, "PORT", proxy.port)
        try:
            yield proxy
        finally:
            proxy.close()
