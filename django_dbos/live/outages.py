"""Errors of a database that is away: a page waits, or comes again, and isn't refused."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError

from django_dbos.store.errors import is_passing

# Errors of other kinds aren't an outage; of these, those that a later attempt may not have.
OUTAGE = (OperationalError, InterfaceError)


def is_outage(error: BaseException) -> bool:
    """Return whether a database is away, so that the same may succeed later."""
    return isinstance(error, OUTAGE) and is_passing(error)
