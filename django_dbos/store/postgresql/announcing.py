"""Announcing on PostgreSQL: NOTIFY, and wake-ups that skip locked rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from django_dbos.conf import get_settings
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import Lane, Wake
from django_dbos.store import rows
from django_dbos.store.announcing import Announcing, wake_statements
from django_dbos.store.listener import pack_keys
from django_dbos.store.postgresql.arrays import array
from django_dbos.store.postgresql.listener import CHANGED_CHANNEL, ENQUEUED_CHANNEL
from django_dbos.store.sessions import Params, Session, Statement


class PostgresAnnouncing(Announcing):
    """Notifications of keys on one channel and of lanes on another."""

    supports_notifications = True

    def _notify_with_commit(self, session: Session, notifications: Notifications) -> None:
        # The server sends a transaction's notifications when it commits.
        session.run_all(_notify(notifications.news, notifications.lanes))

    def _notify_and_wake(
        self, session: Session, keys: Sequence[str], lanes: Sequence[Lane], wakes: Sequence[Wake]
    ) -> list[Lane]:
        notify, wake = _notify(keys, lanes), _wake(session, wakes)
        work = [*notify, *wake]
        found = session.run_apart(work) if work else []
        return rows.lanes([row for woken in found[len(notify) :] for row in woken])


def lane_payloads(lanes: Sequence[Lane]) -> list[str]:
    """Return the payloads that notify of these lanes."""
    return [_lane_payload(lane) for lane in lanes]


@lru_cache
def _lane_payload(lane: Lane) -> str:
    return json.dumps(lane)


def _notify(keys: Sequence[str], lanes: Sequence[Lane]) -> list[Statement]:
    if not get_settings().listen or not (keys or lanes):
        return []
    packed = pack_keys(keys)
    params = {
        "channels": array([CHANGED_CHANNEL] * len(packed) + [ENQUEUED_CHANNEL] * len(lanes)),
        "payloads": array([*packed, *lane_payloads(lanes)]),
    }
    return [("notify", params)]


def _wake(session: Session, wakes: Sequence[Wake]) -> list[Statement]:
    return [(name, _with_literals(params)) for name, params in wake_statements(session, wakes)]


def _with_literals(params: Params) -> Params:
    return {
        name: array(value) if isinstance(value, list) else value for name, value in params.items()
    }
