"""Every statement fits the migrated tables; every index is one that was meant."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import UniqueConstraint

from django_dbos.core.status import Status
from django_dbos.models import SUSPECT_ATTEMPTS
from django_dbos.store import statements

NAMES = statements.names(connection.vendor)


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_fits_the_tables(name: str, db: None) -> None:
    text = statements.load(connection.vendor, name)

    params = dict.fromkeys(re.findall(r"%\((\w+)\)s", text))

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {text}", params)


@pytest.mark.parametrize("name", NAMES)
def test_statuses_in_statements_are_those_of_the_code(name: str) -> None:
    text = statements.load(connection.vendor, name)

    words = set(re.findall(r"'([A-Z_]{5,})'", text))

    assert words <= set(Status)


def test_both_databases_have_the_same_statements() -> None:
    only_postgresql = {
        "notify",
        "end_sessions",
        "end_lost_session",
        "take_lock",
        "append_entries",
        "append_entry",
        "end_workflow",
        "record_checkpoint",
        "insert_workflow",
        "insert_alike",
        "read_mark",
        "receive_message",
        "receive_messages",
        "record_event",
        "record_events",
        "send_message",
        "wake_receiver",
        "send_messages",
        "see_off",
    }
    only_sqlite = {"deal_positions", "next_position", "give_up"}

    postgresql, sqlite = (set(statements.names(one)) for one in ("postgresql", "sqlite"))

    assert postgresql - sqlite <= only_postgresql
    assert {one for one in sqlite - postgresql if not one.startswith("delete_")} <= only_sqlite


def test_suspects_are_the_same_in_statements_and_model() -> None:
    for name in ("claim_workflows", "claim_suspect"):
        text = statements.load(connection.vendor, name)
        (number,) = re.findall(r"recovery_attempts (?:>=|<) (\d+)", text)
        assert int(number) == SUSPECT_ATTEMPTS


@pytest.mark.parametrize(
    "model", list(apps.get_app_config("django_dbos").get_models()), ids=lambda model: model.__name__
)
def test_every_index_is_one_that_was_meant(model: Any, db: None) -> None:
    meant = {one.name for one in model._meta.indexes}
    meant |= {one.name for one in model._meta.constraints if isinstance(one, UniqueConstraint)}

    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)

    indexes = {
        name
        for name, one in found.items()
        if (one["index"] or one["unique"]) and not one["primary_key"]
    }
    # SQLite's own index of a composite primary key has a name of its own.
    assert {name for name in indexes if not name.startswith("sqlite_autoindex")} == meant


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own kind of plan")
@pytest.mark.rule(29)
@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("claim_workflows", "dbos_workflow_queue"),
        ("enqueue_due", "dbos_workflow_due"),
        ("expire_deadlines", "dbos_workflow_deadline"),
        ("list_held", "dbos_workflow_executor"),
        ("recover_workflows", "dbos_workflow_executor"),
        ("list_lanes", "dbos_workflow_queue"),
    ],
)
def test_a_hot_statement_reads_its_partial_index(name: str, index: str, db: None) -> None:
    params = {
        "executor_id": "e",
        "queue_name": "default",
        "priority": 0,
        "names": ["a"],
        "above": 0,
        "limit": 10,
        "max_recovery_attempts": 5,
    }
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statements.load('postgresql', name)}", params)
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert index in plan, plan
