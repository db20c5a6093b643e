"""The registration of a process that runs workflows inline.

The process is an executor while it does so: it has a row and a heartbeat, so that a worker takes
its workflows over if it dies (CORRECTNESS rule 33).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django_dbos.conf import get_settings
from django_dbos.core.ids import new_executor_id
from django_dbos.interruptions import ClaimLost
from django_dbos.operations.inline import InlineHost
from django_dbos.operations.registration import executor_info
from django_dbos.store import errors

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")


class InlineExecutor:
    """The row and the heartbeats of this process while it runs workflows inline."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._executor_id = ""
        self._hosts: set[InlineHost] = set()
        self._ended = threading.Event()

    def join(self, store: Store) -> InlineHost:
        """Register this process unless it is registered; return a new host under its row."""
        with self._lock:
            if self._pid != os.getpid() or not self._hosts:
                self._begin(store)
            host = InlineHost(store, self._executor_id)
            self._hosts.add(host)
        return host

    def leave(self, host: InlineHost) -> None:
        """Remove a host that has ended; the last one deregisters the process."""
        with self._lock:
            self._hosts.discard(host)
            if self._hosts or host.executor_id != self._executor_id:
                return
            self._ended.set()
        try:
            host.store.deregister_executor(host.store.session(), host.executor_id)
        except errors.StoreError as error:
            logger.warning("Executor %s couldn't deregister: %r", host.executor_id, error)

    def _begin(self, store: Store) -> None:
        self._pid = os.getpid()
        self._hosts = set()
        self._executor_id = new_executor_id()
        self._ended = threading.Event()
        info = executor_info(self._executor_id, is_inline=True, concurrency=0)
        store.register_executor(store.session(), info, has_lock=False)
        if store.is_private:
            # No other process could take its work over, and a second writing thread would fail.
            return
        heartbeat = threading.Thread(
            target=self._beat,
            args=(store, self._executor_id, self._ended),
            name="dbos-inline-heartbeat",
            daemon=True,
        )
        heartbeat.start()

    def _beat(self, store: Store, executor_id: str, ended: threading.Event) -> None:
        """Send heartbeats; connect only once a workflow runs for longer than an interval."""
        interval = get_settings().heartbeat_interval
        session = None
        while not ended.wait(interval):
            session = session or store.connect(executor_id, "inline")
            try:
                report = store.heartbeat(session, executor_id, None)
            except errors.StoreError as error:
                logger.warning("Executor %s missed a heartbeat: %r", executor_id, error)
                session.close()
                continue
            if not report.is_registered:
                self._interrupt_runs(executor_id)
                break
            # A process that doesn't listen gets no notification of a cancellation.
            for host in self._hosts_of(executor_id):
                host.doubt_all()
            self._note_places(store, session, executor_id)
        if session is not None:
            session.close()

    def _note_places(self, store: Store, session: Session, executor_id: str) -> None:
        """Have runs learn of places that they were given as their queues got limits."""
        try:
            store.give_places(session, executor_id)
            held = store.list_held(session, executor_id)
        except errors.StoreError as error:
            logger.warning("Executor %s couldn't read its places: %r", executor_id, error)
            session.close()
            return
        for host in self._hosts_of(executor_id):
            for run in list(host.runs):
                if run.workflow_id in held.places:
                    run.note_place(*held.places[run.workflow_id])

    def _hosts_of(self, executor_id: str) -> set[InlineHost]:
        with self._lock:
            return {host for host in self._hosts if host.executor_id == executor_id}

    def _interrupt_runs(self, executor_id: str) -> None:
        """Interrupt the runs of an executor that was declared dead: they have lost their claims."""
        hosts = self._hosts_of(executor_id)
        with self._lock:
            self._hosts -= hosts
        for host in hosts:
            for run in list(host.runs):
                run.interrupt(ClaimLost())


_executor = InlineExecutor()


@contextmanager
def hosting(store: Store) -> Iterator[InlineHost]:
    """Yield a host for inline runs on this thread."""
    if store.is_in_test_transaction():
        yield InlineHost(store, f"test:{os.getpid()}")
        return
    host = _executor.join(store)
    store.wakeups.add_key_listener(host.note_keys)
    try:
        yield host
    finally:
        store.wakeups.remove_key_listener(host.note_keys)
        try:
            host.release_unused()
        except errors.StoreError as error:
            logger.warning("Unused claims couldn't be released: %r", error)
        _executor.leave(host)
