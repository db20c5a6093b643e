"""The table of the meanings of errors: each line, also in the docs."""

from __future__ import annotations

import errno
import re
import sqlite3
from pathlib import Path

import pytest
from django.db import DatabaseError, InternalError, OperationalError

from django_dbos.store import errors, meanings
from django_dbos.store.meanings import Engine, Meaning, Step
from django_dbos.store.sessions import translated_errors

psycopg = pytest.importorskip("psycopg")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contributing" / "database-errors.md"
OF_ENGINE = {
    Engine.WAIT: errors.Unavailable,
    Engine.WAIT_FOR_LOCK: errors.LockTimeout,
    Engine.RAISE: errors.BadStatement,
}
LINES = [
    (state, meaning) for meaning in meanings.POSTGRESQL for state in meaning.states or (None,)
][:-1]


def raised(kind: type[DatabaseError], driver: BaseException) -> DatabaseError:
    """Return an error as Django raises it."""
    error = kind("why")
    error.__cause__ = driver
    return error


@pytest.mark.rule(10)
@pytest.mark.parametrize(("state", "meaning"), LINES, ids=lambda value: str(value)[:12])
def test_every_line_decides_for_the_engine_and_for_steps(
    state: str | None, meaning: Meaning
) -> None:
    sqlstate = f"{state}000" if state and len(state) == 2 else state
    error = errors.of_sqlstate(sqlstate, "why")

    assert meanings.of_sqlstate(sqlstate) is meaning
    assert type(error) is OF_ENGINE[meaning.engine]
    if isinstance(error, errors.Unavailable):
        assert error.is_outcome_unknown is meaning.may_have_committed


def test_a_single_state_takes_precedence_over_its_class() -> None:
    assert meanings.of_sqlstate("57014").step is Step.COUNT
    assert meanings.of_sqlstate("57P03").step is Step.REPEAT
    assert meanings.of_sqlstate("53400").step is Step.COUNT
    assert meanings.of_sqlstate("25P02") is meanings.STATEMENT
    assert meanings.of_sqlstate("23505") is meanings.STATEMENT


@pytest.mark.rule(10)
@pytest.mark.parametrize("name", ["ReadOnlySqlTransaction", "DiskFull"])
def test_a_transient_error_is_waited_out_whatever_its_django_class(name: str) -> None:
    driver = getattr(psycopg.errors, name)("why")
    meaning = errors.meaning_of(raised(InternalError, driver))

    assert (meaning.engine, meaning.step) == (Engine.WAIT, Step.REPEAT)


@pytest.mark.rule(10)
def test_an_error_without_a_state_is_a_lost_connection_or_a_mistake() -> None:
    lost = raised(OperationalError, psycopg.OperationalError("gone"))

    assert errors.meaning_of(lost) is meanings.LOST
    assert errors.meaning_of(raised(DatabaseError, psycopg.DataError("NUL"))) is meanings.STATEMENT
    assert errors.meaning_of(errors.Unavailable("gone")) is meanings.LOST
    assert errors.meaning_of(ValueError("no database's")) is meanings.STATEMENT


@pytest.mark.rule(38)
@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("SQLITE_BUSY_SNAPSHOT", Step.REPEAT),
        ("SQLITE_READONLY", Step.REPEAT),
        ("SQLITE_FULL", Step.REPEAT),
        ("SQLITE_ERROR", Step.COUNT),
        ("SQLITE_CONSTRAINT_UNIQUE", Step.COUNT),
    ],
)
def test_errors_of_sqlite_are_recognized_by_their_names(name: str, step: Step) -> None:
    driver = sqlite3.OperationalError("why")
    driver.sqlite_errorname = name

    assert errors.meaning_of(raised(OperationalError, driver)).step is step


def test_the_docs_show_the_table() -> None:
    shown = re.findall(
        r"^\| (.*?) ?\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.M
    )
    lines = [*meanings.POSTGRESQL[:-1], *meanings.SQLITE]

    assert shown[2:] == [
        (
            ", ".join(f"`{state}`" for state in line.states),
            line.error,
            line.cause,
            line.engine,
            line.step,
        )
        for line in lines
    ]


@pytest.mark.rule(10)
def test_a_process_without_descriptors_is_no_mistake_of_a_statement() -> None:
    with pytest.raises(errors.Unavailable), translated_errors():
        raise OSError(errno.EMFILE, "Too many open files")
    with pytest.raises(FileNotFoundError), translated_errors():
        raise FileNotFoundError(errno.ENOENT, "a step's own")
