"""Servers of the websockets, each in a process of its own, which can be killed and restarted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.test import Client as Browser
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.ports import own_port
from tests.waiting import LIMIT, eventually

APPLICATION = "tests.consumers.asgi:application"
SERVERS = {
    "uvicorn": ["uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--lifespan", "off"],
    "daphne": ["daphne", "-b", "127.0.0.1", "-p", "{port}"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}"],
}


class Server:
    """A server on a port of its own, which it keeps over restarts.

    Its name in `pg_stat_activity` is `connections_name`, and that of the program is `name`.
    """

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.port = own_port()
        self.name = name
        self._command = [part.format(port=self.port) for part in SERVERS[name]]
        self.connections_name = f"server on {self.port}"
        self._environment = {**environment, "PGAPPNAME": self.connections_name}
        self.start()

    def start(self) -> None:
        # In a group of its own: some servers have several processes.
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-m", *self._command, APPLICATION],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        # A pipe that nobody reads is full after a few hundred sockets.
        self._output = ""
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()
        eventually(lambda: self.process.poll() is not None or self._answers(), every=0.05)
        assert self.process.poll() is None, self._output

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), LIMIT).close()
        except OSError:
            return False
        return True

    def address(self, kind: str, **query: Any) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/dbos/{kind}/?{urlencode(query)}"

    def open(self, kind: str, *, cookie: str = "", **query: Any) -> ClientConnection:
        headers = {"Cookie": f"sessionid={cookie}"}
        address = self.address(kind, **query)
        return connect(address, additional_headers=headers, open_timeout=LIMIT)

    def read_to_the_end(self, *, offset: int = 0, **query: Any) -> Iterator[Any]:
        """Yield the frames of a stream, up to the last one.

        Daphne waits a second for the answer to its close, whatever is in front of that, and then
        cuts a reader off, who goes on from where it was.
        """
        is_cutting = self.name == "daphne"
        for _ in range(20 if is_cutting else 1):
            with (
                suppress(*([ConnectionClosed] if is_cutting else [])),
                self.open("streams", **query, offset=offset) as websocket,
            ):
                for text in websocket:
                    frame = json.loads(text)
                    if "tag" in frame:
                        continue
                    yield frame
                    if "closed" in frame:
                        return
                    offset += 1

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Return its exit code and its output. SIGKILL ends all of its processes at once."""
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(LIMIT)
        # Its end is that of all processes.
        self._reader.join(LIMIT)
        return self.process.returncode, self._output

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._output += line


def read_all(websocket: ClientConnection) -> None:
    """Read until the socket is closed; raise ConnectionClosed then."""
    while True:
        websocket.recv(timeout=LIMIT)


def next_frame(websocket: ClientConnection) -> Any:
    """Return the next frame with data, behind the one with the tag."""
    while "tag" in (frame := json.loads(websocket.recv(timeout=LIMIT))):
        pass
    return frame


def log_in(user: User) -> str:
    browser = Browser()
    browser.force_login(user)
    return browser.cookies["sessionid"].value
