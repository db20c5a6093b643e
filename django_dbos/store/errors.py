"""Errors of the store, into which it turns the drivers' errors.

They are Django's errors too, so that a view which starts a workflow catches them like those of any
query.
"""

from __future__ import annotations

import errno

from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)

from django_dbos.store import meanings
from django_dbos.store.meanings import Engine, Meaning

# Data exceptions and violated constraints.
VALUE_CLASSES = frozenset({"22", "23"})
INSUFFICIENT_PRIVILEGE = "42501"


EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class StoreError(DatabaseError):
    """The database refused a statement, or could not be reached.

    `culprit` names what did, for logs: a run waits for a storage as it does for the database.
    """

    culprit = "the database"


class Unavailable(StoreError, OperationalError):
    """The environment's fault, so that a retry may succeed.

    `is_outcome_unknown` is true if a COMMIT may have succeeded.
    """

    def __init__(self, message: str, *, is_outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_outcome_unknown = is_outcome_unknown


class LockTimeout(StoreError, OperationalError):
    """Another session holds a lock for longer than this statement may wait."""


class Conflict(LockTimeout):
    """Another session inserted the same key between a batch's look-ups and its writes."""


class ManagedQueue(StoreError):
    """A queue has limits or is paused, so that it is claimed under the lock of its row."""


class BadStatement(StoreError):
    """A fault of the statement or of its values, which a retry would repeat."""


class NotMigrated(BadStatement, ProgrammingError):
    """The engine's tables are missing, or older than the code."""

    def __init__(self, alias: str, why: object) -> None:
        super().__init__(
            f"The tables of django_dbos aren't migrated in database {alias!r} "
            f"({str(why).partition(chr(10))[0]}). Run `{migrate_command(alias)}` first."
        )


def migrate_command(alias: str) -> str:
    """Return the command that migrates a database."""
    return "manage.py migrate" + ("" if alias == DEFAULT_DB_ALIAS else f" --database {alias}")


# "Undefined table" and "undefined column"; SQLite has only words for them.
NOT_MIGRATED_STATES = ("42P01", "42703")
NOT_MIGRATED_WORDS = ("no such table", "no such column", "has no column named")


def means_not_migrated(error: BaseException) -> bool:
    """Return whether a statement of the engine's failed on missing or outdated tables."""
    driver = _driver_error(error)
    if getattr(driver, "sqlite_errorname", None) is not None:
        return any(words in str(error) for words in NOT_MIGRATED_WORDS)
    return getattr(driver, "sqlstate", None) in NOT_MIGRATED_STATES


def of_sqlstate(sqlstate: str | None, message: str) -> StoreError:
    """Return the engine's error for a SQLSTATE; an error without one is the connection's."""
    return of_meaning(meanings.of_sqlstate(sqlstate), message)


def of_meaning(meaning: Meaning, message: str) -> StoreError:
    """Return the engine's error for a meaning."""
    match meaning.engine:
        case Engine.WAIT:
            return Unavailable(message, is_outcome_unknown=meaning.may_have_committed)
        case Engine.WAIT_FOR_LOCK:
            return LockTimeout(message)
    return BadStatement(message)


def is_exhaustion(error: BaseException) -> bool:
    """Return whether the process lacks a descriptor or memory, so that a driver can't connect."""
    return isinstance(error, OSError) and error.errno in EXHAUSTED


def meaning_of(error: BaseException) -> Meaning:
    """Return the meaning of an error that Django, the store or a driver raised."""
    if is_exhaustion(error):
        return meanings.LOST
    driver = _driver_error(error)
    if (name := getattr(driver, "sqlite_errorname", None)) is not None:
        return meanings.of_sqlite(name)
    is_connections = isinstance(error, OperationalError | InterfaceError)
    sqlstate = getattr(driver, "sqlstate", "")
    if sqlstate or (sqlstate is None and is_connections):
        return meanings.of_sqlstate(sqlstate)
    return meanings.LOST if isinstance(error, Unavailable) else meanings.STATEMENT


def is_passing(error: BaseException) -> bool:
    """Return whether the environment is at fault, so that the same statement may succeed later."""
    return isinstance(error, LockTimeout) or meaning_of(error).engine is not Engine.RAISE


def _driver_error(error: BaseException | None) -> BaseException | None:
    """Return the driver's error, from which Django and the store raise theirs."""
    while error is not None and not (
        hasattr(error, "sqlstate") or hasattr(error, "sqlite_errorname")
    ):
        error = error.__cause__
    return error


def is_of_value(error: BaseException) -> bool:
    """Return whether a value is at fault, and neither the statement nor the schema.

    Errors of other kinds than the database's come from reading a row.
    """
    if not isinstance(error, DatabaseError):
        return isinstance(error, ValueError | TypeError | ArithmeticError | LookupError)
    driver = _driver_error(error)
    if sqlstate := getattr(driver, "sqlstate", None):
        return sqlstate[:2] in VALUE_CLASSES
    # psycopg's and sqlite3's own objections; text in SQLite that isn't UTF-8.
    kind = type(driver or error.__cause__).__name__
    return kind in ("DataError", "IntegrityError") or "decode" in str(error)


def is_of_permission(error: BaseException) -> bool:
    """Return whether the database's role lacks a permission."""
    return getattr(_driver_error(error), "sqlstate", None) == INSUFFICIENT_PRIVILEGE
