"""What a database's errors mean: the one table that everything in the engine goes by.

`docs/contributing/database-errors.md` shows it, and what the writer, atomic steps, housekeeping and
the asking side make of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Owner(StrEnum):
    """Whose error it is."""

    SURROUNDINGS = "the surroundings'"
    SETTINGS = "a limit's"
    STATEMENT = "the statement's"


class Engine(StrEnum):
    """What the engine's own statements do: the writer's, housekeeping's, those of a run."""

    WAIT = "waits and tries again"
    WAIT_FOR_LOCK = "waits for the lock"
    RAISE = "raises"


class Step(StrEnum):
    """What an atomic step does."""

    REPEAT = "repeated, uncounted"
    REPEAT_AT_FIRST = "repeated, uncounted ten times"
    COUNT_TWICE = "an attempt, of two at least"
    COUNT = "an attempt"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one kind of error means."""

    states: tuple[str, ...]
    """SQLSTATEs, or the two characters of a class; on SQLite the beginnings of its names."""
    what: str
    owner: Owner
    engine: Engine
    step: Step
    may_have_committed: bool = False
    """Whether a COMMIT that it was the answer to may have gone through."""


def _passing(*states: str, what: str, step: Step = Step.REPEAT, lost: bool = False) -> Meaning:
    return Meaning(states, what, Owner.SURROUNDINGS, Engine.WAIT, step, lost)


LOST = _passing(
    what="no state: a connection that was refused, lost or not answered",
    step=Step.REPEAT_AT_FIRST,
    lost=True,
)
STATEMENT = Meaning(
    (),
    "everything else: values, constraints, permissions, missing tables",
    Owner.STATEMENT,
    Engine.RAISE,
    Step.COUNT,
)

# A state of its own goes before its class.
POSTGRESQL = (
    LOST,
    _passing("08", what="connections", step=Step.REPEAT_AT_FIRST, lost=True),
    _passing("57P01", "57P02", what="a session ended by an operator or a crash",
             step=Step.REPEAT_AT_FIRST, lost=True),
    _passing("57", what="a server that starts or stops", lost=True),
    _passing("25006", what="a server that only reads: a standby since a failover"),
    _passing("40", what="transactions in each other's way: serialization failures, deadlocks"),
    _passing("53", what="resources: disk, memory, connections"),
    _passing("58", what="the server's system: input and output, files"),
    _passing("26000", "42P05", what="prepared statements that a pooler gave to somebody else"),
    Meaning(("0A000",), "a prepared statement whose table was migrated",
            Owner.SURROUNDINGS, Engine.WAIT, Step.COUNT),
    Meaning(("55",), "objects in use", Owner.SURROUNDINGS, Engine.WAIT, Step.COUNT),
    Meaning(("55P03",), "a lock that wasn't had in time",
            Owner.SETTINGS, Engine.WAIT_FOR_LOCK, Step.COUNT),
    Meaning(("57014",), "a statement cancelled: statement_timeout, or an operator",
            Owner.SETTINGS, Engine.WAIT, Step.COUNT),
    Meaning(("53400",), "a limit of the configuration: temp_file_limit",
            Owner.SETTINGS, Engine.WAIT, Step.COUNT),
    Meaning(("25P03", "25P04"), "a session ended by a time limit of transactions",
            Owner.SETTINGS, Engine.WAIT, Step.COUNT_TWICE),
    STATEMENT,
)  # fmt: skip

SQLITE = (
    _passing("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL",
             what="a database that somebody else writes to"),
    _passing("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY",
             what="the file and its disk"),
    STATEMENT,
)  # fmt: skip

_BY_STATE = {state: meaning for meaning in POSTGRESQL for state in meaning.states}


def of_sqlstate(sqlstate: str | None) -> Meaning:
    """What an error of PostgreSQL's means; without a state it is the connection's."""
    if sqlstate is None:
        return LOST
    return _BY_STATE.get(sqlstate) or _BY_STATE.get(sqlstate[:2]) or STATEMENT


def of_sqlite(name: str) -> Meaning:
    """What an error of SQLite's means, by `sqlite_errorname`."""
    return next((one for one in SQLITE if name.startswith(one.states)), STATEMENT)
