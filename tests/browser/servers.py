"""The site of the browser tests behind a real server, which can be killed and started again."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from tests.ports import own_port
from tests.waiting import LIMIT, eventually


class Server:
    """uvicorn in a process of its own, on a port that it keeps over restarts."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._port = own_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._environment, self._log = environment, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._process is not None:
            return
        command = [sys.executable, "-m", "uvicorn", "tests.browser.asgi:application"]
        with self._log.open("ab") as output:
            process = self._process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self._port), "--lifespan", "off"],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        eventually(lambda: process.poll() is not None or self._answers(), every=0.05)
        assert process.poll() is None, self.output

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT)
            self._process = None

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), LIMIT).close()
        except OSError:
            return False
        return True
