"""What a database's errors mean to the engine. Driver errors stay in the store.

They are Django's errors too: whoever starts a workflow in a view catches what any query raises.
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
    """The database refused a statement or could not be asked."""


class Unavailable(StoreError, OperationalError):
    """Nobody's fault: try again. `is_outcome_unknown` when a COMMIT may have gone through."""

    def __init__(self, message: str, *, is_outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_outcome_unknown = is_outcome_unknown


class LockTimeout(StoreError, OperationalError):
    """Somebody else holds a lock for longer than this statement may wait."""


class Conflict(LockTimeout):
    """Somebody else inserted the same between a batch's look and its write: look again."""


class BadStatement(StoreError):
    """One of the written values is at fault, and would be again."""


class NotMigrated(BadStatement, ProgrammingError):
    """The engine's tables aren't there, or are older than the code."""

    def __init__(self, alias: str, why: object) -> None:
        super().__init__(
            f"The tables of django_dbos aren't migrated in database {alias!r} "
            f"({str(why).partition(chr(10))[0]}). Run `{migrate_command(alias)}` first."
        )


def migrate_command(alias: str) -> str:
    """What to run for a database."""
    return "manage.py migrate" + ("" if alias == DEFAULT_DB_ALIAS else f" --database {alias}")


# "Undefined table" and "undefined column"; SQLite only says it in words.
NOT_MIGRATED_STATES = ("42P01", "42703")
NOT_MIGRATED_WORDS = ("no such table", "no such column", "has no column named")


def means_not_migrated(error: BaseException) -> bool:
    """Whether a statement of the engine's failed since its tables are missing or outdated."""
    driver = _drivers(error)
    if getattr(driver, "sqlite_errorname", None) is not None:
        return any(words in str(error) for words in NOT_MIGRATED_WORDS)
    return getattr(driver, "sqlstate", None) in NOT_MIGRATED_STATES


def of_sqlstate(sqlstate: str | None, message: str) -> StoreError:
    """What an error of PostgreSQL's means to the engine; without a state it is the connection's."""
    return of_meaning(meanings.of_sqlstate(sqlstate), message)


def of_meaning(meaning: Meaning, message: str) -> StoreError:
    """The error that the engine goes by."""
    match meaning.engine:
        case Engine.WAIT:
            return Unavailable(message, is_outcome_unknown=meaning.may_have_committed)
        case Engine.WAIT_FOR_LOCK:
            return LockTimeout(message)
    return BadStatement(message)


def is_exhaustion(error: BaseException) -> bool:
    """Whether the process has no descriptor or memory left, so that a driver can't connect."""
    return isinstance(error, OSError) and error.errno in EXHAUSTED


def meaning_of(error: BaseException) -> Meaning:
    """What an error means that Django, the store or a driver raised."""
    if is_exhaustion(error):
        return meanings.LOST
    driver = _drivers(error)
    if (name := getattr(driver, "sqlite_errorname", None)) is not None:
        return meanings.of_sqlite(name)
    is_connections = isinstance(error, OperationalError | InterfaceError)
    sqlstate = getattr(driver, "sqlstate", "")
    if sqlstate or (sqlstate is None and is_connections):
        return meanings.of_sqlstate(sqlstate)
    return meanings.LOST if isinstance(error, Unavailable) else meanings.STATEMENT


def _drivers(error: BaseException | None) -> BaseException | None:
    """The driver's error, which Django and the store raise theirs from."""
    while error is not None and not (
        hasattr(error, "sqlstate") or hasattr(error, "sqlite_errorname")
    ):
        error = error.__cause__
    return error


def is_of_value(error: BaseException) -> bool:
    """Whether a value is at fault, in a row or in what is written: not the statement or the schema.

    Others than the database's are those of reading a row.
    """
    if not isinstance(error, DatabaseError):
        return isinstance(error, ValueError | TypeError | ArithmeticError | LookupError)
    driver = _drivers(error)
    if sqlstate := getattr(driver, "sqlstate", None):
        return sqlstate[:2] in VALUE_CLASSES
    # psycopg's and sqlite3's own objections; text in SQLite that isn't UTF-8.
    kind = type(driver or error.__cause__).__name__
    return kind in ("DataError", "IntegrityError") or "decode" in str(error)


def is_of_permission(error: BaseException) -> bool:
    """Whether the database's role may not do this."""
    return getattr(_drivers(error), "sqlstate", None) == INSUFFICIENT_PRIVILEGE
