"""Worker processes and their parent, which starts, restarts and stops them.

Each child holds the reading end of a pipe of its own. What the parent writes to it are notices to
stop, which no signal to the group can double; and however the parent ends, the pipe closes, upon
which the child hands its work over and ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

from django_dbos.executor.cli.inbox import STOPS, Inbox, Notice
from django_dbos.executor.cli.life import CODE_CHANGED, LAST_SECOND

logger = logging.getLogger("django_dbos.executor")

# Where a child finds the number of its pipe's descriptor.
PIPE = "DBOS_WORKER_PIPE"
FIRST_BACKOFF, LAST_BACKOFF = 0.2, 10.0
# A process that has lived so long (seconds) is restarted without a pause when it dies.
PROVEN = 10.0
LOOK_INTERVAL = 0.1
# Seconds after which a child that was to stop at once is killed.
PATIENCE = 3 * LAST_SECOND
# A signal ends a process that doesn't listen yet: it has no work.
ENDED_WELL = {0, CODE_CHANGED, *(-number for number in STOPS)}


class Child:
    """One worker process, and what becomes of it."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._backoff = FIRST_BACKOFF
        self._start_at = 0.0
        self._started_at = 0.0
        self._pipe = -1
        self._is_told = False
        self.process: subprocess.Popen[bytes] | None = None

    def look(self) -> None:
        """Start it if it isn't there, after a pause that grows when it dies early."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._bury(self.process, now)
        if self.process is None and now >= self._start_at:
            self._started_at = now
            try:
                self._start()
            except OSError as error:
                logger.warning("A worker process couldn't be started: %r", error)
                self._delay(now)

    def _bury(self, process: subprocess.Popen[bytes], now: float) -> None:
        os.close(self._pipe)
        self.process = None
        if process.returncode == CODE_CHANGED:
            self._start_at = now
            return
        has_lived = now - self._started_at
        logger.warning(
            "Worker process %d ended with code %d after %.1f s; starting another",
            process.pid,
            process.returncode,
            has_lived,
        )
        if has_lived > PROVEN:
            self._backoff = FIRST_BACKOFF / 2
        self._delay(now)

    def _delay(self, now: float) -> None:
        self._backoff = min(self._backoff * 2, LAST_BACKOFF)
        self._start_at = now + self._backoff

    def _start(self) -> None:
        theirs, self._pipe = os.pipe()
        try:
            self.process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment, PIPE: str(theirs)},
                pass_fds=(theirs,),
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(theirs)

    def tell(self, notice: Notice) -> None:
        """Have it stop; one that has ended by itself isn't told."""
        if self.is_alive:
            self._is_told = True
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, bytes([notice]))

    def kill(self) -> None:
        """End it, if it is there."""
        if self.process is not None:
            self.process.kill()

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def failed(self) -> bool:
        """Whether it was told to stop, and ended with an error."""
        if self.process is None or not self._is_told:
            return False
        return self.process.returncode not in ENDED_WELL


def run(count: int, inbox: Inbox, environment: Mapping[str, str] | None = None) -> int:
    """Keep `count` processes of this very command running until told to stop."""
    command = child_command(sys.orig_argv)
    children = [Child(command, environment or {}) for _ in range(count)]
    while (notice := inbox.wait(LOOK_INTERVAL)) is None:
        for child in children:
            child.look()
    _stop(children, notice, inbox)
    return int(any(child.failed for child in children))


def _stop(children: list[Child], notice: Notice | None, inbox: Inbox) -> None:
    until: float | None = None
    while True:
        if notice is not None:
            for child in children:
                child.tell(notice)
        if notice is Notice.STOP_NOW:
            until = time.monotonic() + PATIENCE
        if until is not None and time.monotonic() > until:
            for child in children:
                child.kill()
        if not any(child.is_alive for child in children):
            return
        notice = inbox.wait(LOOK_INTERVAL)


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


# The child's side


def listen_to_parent(inbox: Inbox) -> bool:
    """Hear what the parent says, and of its end; False if this process has no such parent."""
    # Taken away: what steps start are no children of that parent.
    number = os.environ.pop(PIPE, "")
    if not number.isdecimal():
        return False
    pipe = int(number)
    try:
        os.set_inheritable(pipe, False)
    except OSError:
        return False
    threading.Thread(target=_pass_on, args=(pipe, inbox), name="dbos-parent", daemon=True).start()
    return True


def _pass_on(pipe: int, inbox: Inbox) -> None:
    while said := os.read(pipe, 1):
        inbox.tell(Notice(said[0]))
    logger.warning("The parent process has ended: handing over")
    inbox.tell(Notice.STOP)
