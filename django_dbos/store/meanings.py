"""Meanings of database errors: the one table that the whole engine uses.

`docs/contributing/database-errors.md` shows the table, and how the writer, atomic steps, duties and
clients react.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """The cause of an error, which is the place to change."""

    ENVIRONMENT = "the environment"
    LIMIT = "a limit"
    STATEMENT = "the statement"


class Engine(StrEnum):
    """The reaction of the engine's own statements: the writer's, a duty's, a run's."""

    WAIT = "waits and retries"
    WAIT_FOR_LOCK = "waits for the lock"
    RAISE = "raises"


class Step(StrEnum):
    """The reaction of an atomic step."""

    REPEAT = "repeated, uncounted"
    REPEAT_AT_FIRST = "repeated, uncounted ten times"
    COUNT_TWICE = "an attempt, of two at least"
    COUNT = "an attempt"


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of one kind of error."""

    states: tuple[str, ...]
    """SQLSTATEs, or the two characters of a class; on SQLite the beginnings of error names."""
    error: str
    cause: Cause
    engine: Engine
    step: Step
    may_have_committed: bool = False
    """True if a COMMIT that got this answer may have succeeded."""


def _passing(*states: str, error: str, step: Step = Step.REPEAT, lost: bool = False) -> Meaning:
    return Meaning(states, error, Cause.ENVIRONMENT, Engine.WAIT, step, lost)


LOST = _passing(
    error="no state: a refused or lost connection, or no answer",
    step=Step.REPEAT_AT_FIRST,
    lost=True,
)
STATEMENT = Meaning(
    (),
    "all others: values, constraints, permissions, missing tables",
    Cause.STATEMENT,
    Engine.RAISE,
    Step.COUNT,
)

# A full state takes precedence over its class.
POSTGRESQL = (
    LOST,
    _passing("08", error="connections", step=Step.REPEAT_AT_FIRST, lost=True),
    _passing("57P01", "57P02", error="a session ended by an operator or a crash",
             step=Step.REPEAT_AT_FIRST, lost=True),
    _passing("57", error="a server that starts or stops", lost=True),
    _passing("25006", error="a read-only server: a standby since a failover"),
    _passing("40", error="conflicting transactions: serialization failures, deadlocks"),
    _passing("53", error="resources: disk, memory, connections"),
    _passing("58", error="the server's system: input and output, files"),
    _passing("26000", "42P05", error="prepared statements on another session of a pooler"),
    Meaning(("0A000",), "a prepared statement whose table was migrated",
            Cause.ENVIRONMENT, Engine.WAIT, Step.COUNT),
    Meaning(("55",), "objects in use", Cause.ENVIRONMENT, Engine.WAIT, Step.COUNT),
    Meaning(("55P03",), "a lock that wasn't available in time",
            Cause.LIMIT, Engine.WAIT_FOR_LOCK, Step.COUNT),
    Meaning(("57014",), "a cancelled statement: statement_timeout, or an operator",
            Cause.LIMIT, Engine.WAIT, Step.COUNT),
    Meaning(("53400",), "a limit of the configuration: temp_file_limit",
            Cause.LIMIT, Engine.WAIT, Step.COUNT),
    Meaning(("25P03", "25P04"), "a session ended by a time limit of transactions",
            Cause.LIMIT, Engine.WAIT, Step.COUNT_TWICE),
    STATEMENT,
)  # fmt: skip

SQLITE = (
    _passing("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL",
             error="a database with another writer"),
    _passing("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY",
             error="the file and its disk"),
    STATEMENT,
)  # fmt: skip

_BY_STATE = {state: meaning for meaning in POSTGRESQL for state in meaning.states}


def of_sqlstate(sqlstate: str | None) -> Meaning:
    """Return the meaning of an error of PostgreSQL; without a state it is the connection's."""
    if sqlstate is None:
        return LOST
    return _BY_STATE.get(sqlstate) or _BY_STATE.get(sqlstate[:2]) or STATEMENT


def of_sqlite(name: str) -> Meaning:
    """Return the meaning of an error of SQLite, by its `sqlite_errorname`."""
    return next((meaning for meaning in SQLITE if name.startswith(meaning.states)), STATEMENT)
