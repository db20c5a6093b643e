"""Parameters of SQLite's statements: instants as text, UUIDs as hex, lists as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django_dbos.store.sessions import Params
from django_dbos.store.statements import PLACEHOLDER


def now_text(offset: float = 0.0) -> str:
    """Return the instant `offset` seconds from now, as the tables hold it."""
    return to_text(datetime.now(UTC) + timedelta(seconds=offset))


def to_text(instant: datetime) -> str:
    """Return `fields.instant_to_text()` of an instant in UTC, in a tenth of the time."""
    return instant.replace(tzinfo=None).isoformat(" ", "microseconds")


class Reading(NamedTuple):
    """One reading of the clock, for all instants of a write."""

    instant: datetime
    text: str


def read_clock() -> Reading:
    """Return the time, as a batch's rows share it: its text is made once."""
    instant = datetime.now(UTC)
    return Reading(instant, to_text(instant))


def bound(params: Params, now: Reading) -> Params:
    """Return the parameters as sqlite3 takes them, the time as `now`, and a checkpoint's instants.

    PostgreSQL computes these instants in SQL, with the precision that SQLite's functions lack.
    """
    values: Params = {"now": now.text}
    for name, value in params.items():
        values[name] = value.hex if type(value) is UUID else value
    if "duration" in params:
        timeout = params.get("timeout")
        values["started_at"] = to_text(now.instant - timedelta(seconds=params["duration"]))
        deadline = None if timeout is None else now.instant + timedelta(seconds=timeout)
        values["deadline_at"] = None if deadline is None else to_text(deadline)
    return values


def to_json(values: Sequence[Any]) -> str:
    """Return values for `json_each`; a UUID as its column holds it."""
    return json.dumps(list(values), default=attrgetter("hex"))


@cache
def with_named_parameters(text: str) -> str:
    """Return a statement with its parameters in the form of sqlite3."""
    return PLACEHOLDER.sub(r":\1", text).replace("%%", "%")
