"""Connecting on SQLite: one connection for all executors of a process, and queue positions.

SQLite has no sequences, so that positions are dealt from a row.
"""

from __future__ import annotations

from typing import Any

from django.db import connections

from django_dbos.store.connecting import Connecting
from django_dbos.store.sessions import Params, Row, Session
from django_dbos.store.sqlite.file_locks import FileLocks
from django_dbos.store.sqlite.listener import SqliteListener
from django_dbos.store.sqlite.sessions import ClientSession, WorkerConnection, WorkerSession
from django_dbos.store.sqlite.socket_notifier import SocketNotifier


class SqliteConnecting(Connecting):
    """Sessions of SQLite's."""

    vendor = "sqlite"
    writes_in_step_transaction = True

    def __init__(self, alias: str) -> None:
        self._own = WorkerConnection(alias)
        self._notifier = SocketNotifier(self._file_name)
        self._locks = FileLocks(self._file_name)
        super().__init__(alias, SqliteListener(alias, self._own, self._notifier))

    def session(self) -> ClientSession:
        return ClientSession(self.alias, self.vendor)

    def connect(self, executor_id: str, purpose: str) -> WorkerSession:
        return WorkerSession(self._own)

    def may_listen(self) -> bool:
        # A database in memory has no file that could change.
        return super().may_listen() and not self.is_private

    @property
    def is_private(self) -> bool:
        connection: Any = connections[self.alias]
        return bool(connection.is_in_memory_db())

    def leave_to_parent(self) -> None:
        self._locks.close()
        self._own.leave_to_parent()

    def _file_name(self) -> str:
        return str(connections[self.alias].settings_dict["NAME"])

    def _enqueue(self, session: Session, name: str, params: Params) -> list[Row]:
        """See `Connecting._enqueue`.

        Everything that one statement enqueues shares a queue position, and keeps its order by id.
        """
        with session.transaction():
            found = session.run(name, params)
            if found:
                self._deal_positions(session, 1)
        return found

    def _deal_positions(self, session: Session, count: int) -> int:
        """Reserve queue positions; return the last one."""
        last: int = session.run("deal_positions", {"count": count})[0][0]
        return last
