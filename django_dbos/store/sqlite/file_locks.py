"""File locks beside an SQLite database: they show which executors' processes live."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django_dbos.core.ids import lock_key

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: the lease alone decides there.
    fcntl = None

# Windows has neither of the flags, and no fcntl.
OPENED = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class FileLocks:
    """A locked file for each executor, which the operating system unlocks when its process ends."""

    def __init__(self, database: Callable[[], str]) -> None:
        self._database = database
        self._held: dict[str, tuple[int, int]] = {}

    def hold(self, executor_id: str) -> bool:
        """Lock an executor's file; return False where that isn't possible."""
        held = self._held.get(executor_id)
        if held is not None and held[0] == os.getpid():
            return True
        path = self._path(executor_id)
        if path is None or fcntl is None:
            return False
        try:
            descriptor = os.open(path, OPENED | os.O_CREAT, 0o600)
        except OSError:
            # A symbolic link in its place, for example, is not followed: the lease decides.
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held[executor_id] = (os.getpid(), descriptor)
        return True

    def release(self, executor_id: str) -> None:
        """Unlock and remove an executor's file."""
        pid, descriptor = self._held.pop(executor_id, (0, -1))
        path = self._path(executor_id)
        if pid != os.getpid() or path is None:
            return
        path.unlink(missing_ok=True)
        os.close(descriptor)

    def close(self) -> None:
        """Close the parent's files in a forked process, so that they are free when it dies."""
        for _, descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def is_free(self, executor_id: str) -> bool:
        """Return whether an executor has lost a lock that it held; if so, remove the file."""
        path = self._path(executor_id)
        if path is None or fcntl is None or executor_id in self._held:
            return False
        try:
            descriptor = os.open(path, OPENED)
        except FileNotFoundError:
            return True
        except OSError:
            # Another user's file, for example: the lease decides.
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            with contextlib.suppress(OSError):
                path.unlink()
            return True
        finally:
            os.close(descriptor)

    def _path(self, executor_id: str) -> Path | None:
        path = file_path(self._database())
        return path and path.with_name(f"{path.name}-dbos-{lock_key(executor_id):016x}.lock")


def file_path(database: str) -> Path | None:
    """Return a database's file with all links followed; None for a database in memory."""
    if not database or ":memory:" in database or "mode=memory" in database:
        return None
    return Path(database.removeprefix("file:").partition("?")[0]).resolve()
