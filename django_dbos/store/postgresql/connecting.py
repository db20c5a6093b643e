"""Connecting on PostgreSQL: psycopg connections, their names, and poolers."""

from __future__ import annotations

import logging

from django.db import DatabaseError, InterfaceError, connections

from django_dbos.conf import get_settings
from django_dbos.store.connecting import Connecting
from django_dbos.store.postgresql.client_session import ClientSession
from django_dbos.store.postgresql.connections import Pooling, application_name, keepalives
from django_dbos.store.postgresql.listener import PostgresListener
from django_dbos.store.postgresql.reader import PostgresReader
from django_dbos.store.postgresql.worker_session import WorkerSession

logger = logging.getLogger("django_dbos.store")


class PostgresConnecting(Connecting):
    """Sessions of PostgreSQL's."""

    vendor = "postgresql"
    reader_class = PostgresReader
    indexes_attributes = True
    list_collation = "POSIX"
    plans_for_limits = True

    def __init__(self, alias: str) -> None:
        super().__init__(alias, PostgresListener(alias))
        self._pooling = Pooling(alias, on_found=self.wakeups.stop)

    def session(self) -> ClientSession:
        return ClientSession(self.alias, self.vendor)

    def connect(self, executor_id: str, purpose: str) -> WorkerSession:
        lease = get_settings().lease
        return WorkerSession(self.alias, executor_id, purpose, pooling=self._pooling, lease=lease)

    def may_listen(self) -> bool:
        return super().may_listen() and get_settings().listen and not self.is_pooled

    @property
    def is_pooled(self) -> bool:
        return self._pooling.is_on

    def detect_pooler(self) -> None:
        try:
            self._pooling.detect(get_settings().lease / 2)
        except (DatabaseError, InterfaceError) as error:
            # There may be no connections left except the worker's.
            logger.info("Whether a pooler is in between could not be determined: %r", error)

    def name_process(self, executor_id: str) -> None:
        for alias in connections:
            if connections[alias].vendor == self.vendor:
                options = connections.settings[alias].setdefault("OPTIONS", {})
                options["application_name"] = application_name(executor_id)
                for name, value in keepalives(get_settings().lease).items():
                    options.setdefault(name, value)
