"""Child processes and their parent, which starts, restarts and stops them.

Each child holds the reading end of a pipe of its own. The parent writes its requests to stop to
that pipe, where no signal to the process group can double them. However the parent ends, the pipe
closes, and the child hands its work over and ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from django_dbos.executor.cli.inbox import STOPS, Inbox, Notice
from django_dbos.executor.cli.life import CODE_CHANGED, DRAINED, LAST_SECOND

logger = logging.getLogger("django_dbos.executor")

# The environment variable with the number of a child's pipe.
PIPE = "DBOS_WORKER_PIPE"
# Seconds between the death of a child and the start of the next. A signal comes from outside, so it
# is no evidence that the next child can't start either: pauses after signals stay short.
FIRST_BACKOFF, LAST_BACKOFF, LAST_BACKOFF_AFTER_SIGNAL = 0.2, 10.0, 1.0
# After this many seconds of life the back-off is reset.
PROVEN = 10.0
POLL_INTERVAL = 0.1
# Seconds after which a child that should have stopped at once is killed.
PATIENCE = 3 * LAST_SECOND
# A signal ends a process that has no handler yet, and no work either.
ENDED_WELL = {0, CODE_CHANGED, DRAINED, *(-number for number in STOPS)}


class Child:
    """A process that is started again when it dies, unless it was drained.

    Args:
        command: The program and its arguments.
        environment: Variables that the process has besides those of this process.
        name: The kind of process, for the log.
        on_start: Called with the id of each process that has been started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        name: str = "worker",
        on_start: Callable[[int], None] | None = None,
    ) -> None:
        self._command = command
        self._environment = environment or {}
        self._name = name
        self._on_start = on_start
        self._backoff = FIRST_BACKOFF
        self._start_at = 0.0
        self._started_at = 0.0
        self._pipe = -1
        self._is_stopping = False
        self.is_drained = False
        """True if the process has ended since its executor was to be drained."""
        self.process: subprocess.Popen[bytes] | None = None

    def ensure_running(self) -> None:
        """Start the process if there is none, after a pause that grows with each early death."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._bury(self.process, now)
        if self.process is None and now >= self._start_at and not self.is_drained:
            self._started_at = now
            try:
                self.process = self._start()
            except OSError as error:
                logger.warning("A %s process couldn't be started: %r", self._name, error)
                self._delay(now, LAST_BACKOFF)
            else:
                if self._on_start is not None:
                    self._on_start(self.process.pid)

    def _bury(self, process: subprocess.Popen[bytes], now: float) -> None:
        os.close(self._pipe)
        self.process = None
        if process.returncode == DRAINED:
            self.is_drained = True
            return
        if process.returncode == CODE_CHANGED:
            self._start_at = now
            return
        lifetime = now - self._started_at
        logger.warning(
            "%s process %d ended with code %d after %.1f s; starting another",
            self._name.capitalize(),
            process.pid,
            process.returncode,
            lifetime,
        )
        if lifetime > PROVEN:
            self._backoff = FIRST_BACKOFF / 2
        self._delay(now, LAST_BACKOFF_AFTER_SIGNAL if process.returncode < 0 else LAST_BACKOFF)

    def _delay(self, now: float, limit: float) -> None:
        self._backoff = min(self._backoff * 2, limit)
        self._start_at = now + self._backoff

    def _start(self) -> subprocess.Popen[bytes]:
        child_end, self._pipe = os.pipe()
        try:
            return subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment, PIPE: str(child_end)},
                pass_fds=(child_end,),
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(child_end)

    def notify(self, notice: Notice) -> None:
        """Pass a request to stop on to the process, unless it has ended."""
        if self.is_alive:
            self._is_stopping = True
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, bytes([notice]))

    def kill(self) -> None:
        """Kill the process, if there is one."""
        if self.process is not None:
            self.process.kill()

    @property
    def is_alive(self) -> bool:
        """True if the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def failed(self) -> bool:
        """True if the process ended with an error after a request to stop."""
        if self.process is None or not self._is_stopping:
            return False
        return self.process.returncode not in ENDED_WELL


def run(children: Sequence[Child], inbox: Inbox) -> int:
    """Keep the children running until a notice, or until all are drained; return the code."""
    while (notice := inbox.wait(POLL_INTERVAL)) is None:
        for child in children:
            child.ensure_running()
        if all(child.is_drained for child in children):
            return 0
    _stop(children, notice, inbox)
    return int(any(child.failed for child in children))


def worker(environment: Mapping[str, str] | None = None) -> Child:
    """Return a child that runs this process's command as a single process."""
    return Child(child_command(sys.orig_argv), environment)


def _stop(children: Sequence[Child], notice: Notice | None, inbox: Inbox) -> None:
    until: float | None = None
    while True:
        if notice is not None:
            for child in children:
                child.notify(notice)
        if notice is Notice.STOP_NOW:
            until = time.monotonic() + PATIENCE
        if until is not None and time.monotonic() > until:
            for child in children:
                child.kill()
        if not any(child.is_alive for child in children):
            return
        notice = inbox.wait(POLL_INTERVAL)


def child_command(arguments: list[str]) -> list[str]:
    """Return a command line without `--processes`."""
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


def listen_to_parent(notify: Callable[[Notice], None]) -> bool:
    """Call `notify`, on a thread, with the parent's notices, and with STOP when the parent ends.

    Return False if no `Child` started this process.
    """
    # The variable is removed: processes that steps start are no children of that parent.
    number = os.environ.pop(PIPE, "")
    if not number.isdecimal():
        return False
    pipe = int(number)
    try:
        os.set_inheritable(pipe, False)
    except OSError:
        return False
    threading.Thread(target=_pass_on, args=(pipe, notify), name="dbos-parent", daemon=True).start()
    return True


def _pass_on(pipe: int, notify: Callable[[Notice], None]) -> None:
    while received := os.read(pipe, 1):
        notify(Notice(received[0]))
    logger.warning("The parent process has ended: handing over")
    notify(Notice.STOP)
