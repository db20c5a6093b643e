"""Several worker processes: started, restarted when they die, and stopped together."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

logger = logging.getLogger("django_dbos.executor")

FIRST_BACKOFF, LAST_BACKOFF = 0.2, 10.0
# A process that has lived so long (seconds) is restarted without a pause when it dies.
PROVEN = 10.0
LOOK_INTERVAL = 0.1


class Child:
    """One worker process, and what becomes of it."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._backoff = FIRST_BACKOFF
        self._start_at = 0.0
        self._started_at = 0.0
        self._is_told = False
        self.process: subprocess.Popen[bytes] | None = None

    def look(self) -> None:
        """Start it if it isn't there, after a pause that grows when it dies early."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            has_lived = now - self._started_at
            logger.warning(
                "Worker process %d ended with code %d after %.1f s; starting another",
                self.process.pid,
                self.process.returncode,
                has_lived,
            )
            self._backoff = FIRST_BACKOFF if has_lived > PROVEN else self._backoff * 2
            self._start_at = now + min(self._backoff, LAST_BACKOFF)
            self.process = None
        if self.process is None and now >= self._start_at:
            self._started_at = now
            self.process = subprocess.Popen(self._command)

    def stop(self) -> None:
        """Have it hand its work over; asked once, since a second signal would stop it at once."""
        if self.process is not None and not self._is_told and self.process.poll() is None:
            self._is_told = True
            self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it has ended; return its exit code. One that died before isn't to blame."""
        return abs(self.process.wait()) if self.process is not None and self._is_told else 0


def run(count: int) -> int:
    """Keep `count` processes of this very command running until told to stop."""
    command = child_command(sys.orig_argv)
    children = [Child(command) for _ in range(count)]
    stopping = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stopping.set()
        for child in children:
            child.stop()

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, on_signal)
    while not stopping.is_set():
        for child in children:
            child.look()
        stopping.wait(LOOK_INTERVAL)
    for child in children:
        # One that was being started when the signal came hasn't heard of it.
        child.stop()
    return max(child.wait() for child in children)


def child_command(arguments: list[str]) -> list[str]:
    """This process's command line, for one process."""
    command: list[str] = []
    skip = False
    for argument in arguments:
        if skip or argument.startswith("--processes="):
            skip = False
        elif argument == "--processes":
            skip = True
        else:
            command.append(argument)
    return command
