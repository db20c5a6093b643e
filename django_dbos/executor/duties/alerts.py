"""Alerts: a worker looks at the health of the whole system, and tells of what is new or over."""

from __future__ import annotations

import random

from django.db import connections

from django_dbos import alerts
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session


class Alerts(Duty):
    """A look every `interval` seconds, on Django's connection of the thread.

    The first look of each worker comes at another time, so that several rarely look at once.
    """

    def __init__(self, store: Store, clock: Clock, *, interval: float) -> None:
        super().__init__(clock, period=interval, first=interval * random.random())
        self._store = store

    def run(self, session: Session) -> None:
        """Look, and tell."""
        try:
            alerts.look(self._store)
        finally:
            connections[self._store.alias].close_if_unusable_or_obsolete()
