"""Processes of the tests over HTTP: servers that are killed, and readers that go on."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from tests.ports import own_port
from tests.waiting import LIMIT, eventually

HERE = Path(__file__).parent
NODE = HERE / "node"
ASGI, WSGI = "tests.live_http.asgi:application", "tests.live_http.wsgi:application"
SERVERS = {
    "uvicorn": ["uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--lifespan", "off", ASGI],
    "daphne": ["daphne", "-b", "127.0.0.1", "-p", "{port}", ASGI],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", ASGI],
    "gunicorn": ["gunicorn", "--threads", "8", "--bind", "127.0.0.1:{port}", WSGI],
}


class Server:
    """A server on a port of its own, which it keeps over restarts."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self._port = own_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._command = [part.format(port=self._port) for part in SERVERS[name]]
        self._environment, self._log = environment, log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            # In a group of its own: some servers have several processes.
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(lambda: process.poll() is not None or self._answers(), every=0.05)
        assert process.poll() is None, self.output

    def kill(self) -> None:
        """End all of its processes at once, unless it was killed already."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(LIMIT)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), LIMIT).close()
        except OSError:
            return False
        return True


class ClientProcess:
    """One of the protocol's clients in a process of its own, which reads a stream to its end."""

    def __init__(self, language: str, address: str, live: str, session: str) -> None:
        script = ["node", "read.mjs"] if language == "node" else [sys.executable, "../read.py"]
        self._process = subprocess.Popen(
            [*script, address, live, f"sessionid={session}"],
            cwd=NODE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._values: queue.Queue[Any] = queue.Queue()
        self._errors = ""
        self._threads = [
            threading.Thread(target=self._read_values),
            threading.Thread(target=self._read_errors),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        for thread in self._threads:
            thread.join(LIMIT)
        self._process.communicate(timeout=LIMIT)

    def values(self, count: int) -> list[Any]:
        """Return the next values that were read."""
        found: list[Any] = []
        try:
            while len(found) < count:
                found.append(self._values.get(timeout=LIMIT))
        except queue.Empty:
            raise AssertionError(f"{found} came; {self._errors}") from None
        return found

    def rest(self) -> list[Any]:
        """Return the values up to the end of the stream; fail unless the client saw the end."""
        assert self._process.wait(LIMIT) == 0, self._errors
        for thread in self._threads:
            thread.join(LIMIT)
        return list(self._values.queue)

    def _read_values(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            for value in json.loads(line):
                self._values.put(value)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors += line


def install_node_packages() -> None:
    """Install what package.json names, unless it is there. npm must be on the machine."""
    wanted = json.loads((NODE / "package.json").read_text())["dependencies"]
    # Several environments may test at once.
    with (NODE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if {name: _installed(name) for name in wanted} != wanted:
            command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=NODE, check=True, timeout=10 * LIMIT)


def _installed(name: str) -> str | None:
    path = NODE / "node_modules" / name / "package.json"
    return json.loads(path.read_text())["version"] if path.exists() else None
