"""A simulated process death at a given write, in the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_dbos.store import get_store
from django_dbos.testing import run_until_idle


class Crash(BaseException):
    """A simulated SIGKILL, after which nothing is written."""


@contextmanager
def crash_after(writes: int) -> Iterator[None]:
    """Simulate the death of the process after a number of committed batches."""
    store: Any = get_store()
    left = writes

    def apply(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if left <= 0:
            raise Crash
        left -= 1
        return type(store).apply(store, *args, **kwargs)

    store.apply = apply
    try:
        yield
    finally:
        del store.apply


def recover() -> None:
    """Recover the workflows of crashed executors, as a living executor would."""
    store = get_store()
    session = store.session()
    for executor_id in store.list_orphans(session):
        store.recover_executor(session, executor_id, is_unlocked=True, is_orphaned=True)


def run_with_crash(writes: int) -> bool:
    """Run everything, with a crash after a number of committed batches; return whether it came.

    What was running then is recovered, and run to its end.
    """
    try:
        with crash_after(writes):
            run_until_idle()
    except Crash:
        recover()
        run_until_idle()
        return True
    return False
