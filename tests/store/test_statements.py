"""Every statement fits the migrated tables; every index is one that was meant."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import QuerySet, UniqueConstraint
from django.utils import timezone

from django_dbos.core.recovery import SUSPECT_ATTEMPTS
from django_dbos.core.status import Status
from django_dbos.models import Workflow
from django_dbos.store import statements

PACKAGE = Path(statements.__file__).parent
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


@pytest.mark.rule(60)
def test_every_statement_that_enqueues_again_keeps_places_claimable() -> None:
    never_ran = {"enqueue_delayed", "release_children", "insert_alike", "insert_workflows"}
    for name in NAMES:
        text = statements.load(connection.vendor, name)
        if name not in never_ran and re.search(r"(SET status =|ELSE) 'ENQUEUED'", text):
            # A workflow with a place is only claimed ahead of the queue: see queue_again.
            assert "4611686018427387904" in text, name


def test_both_databases_have_the_same_statements() -> None:
    only_postgresql = {
        # With one writer at a time no claim is under way beside a change.
        "give_places",
        "notify",
        "end_sessions",
        "end_lost_session",
        "take_lock",
        "append_entries",
        "append_entry",
        "read_entries_of_many",
        "read_versions_of_many",
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
        "wake_and_notify",
        "send_messages",
        # A claim under limits is one statement, after that which locks the queue.
        "claim_in_turn",
        "list_in_turn",
        "lock_queue",
        "record_start",
        # A statement deletes from one table there.
        "delete_few",
    }
    only_sqlite = {
        "deal_positions",
        "give_up",
        # It is a walk of many here.
        "choose_kept",
        "choose_of_key",
        "claim_chosen",
        "count_places_of_key",
        "delete_starts",
        "find_keyless",
        "find_managed",
        "insert_starts",
        "merge_starts",
        "next_key",
        "next_key_again",
    }

    postgresql, sqlite = (set(statements.names(one)) for one in ("postgresql", "sqlite"))

    assert postgresql - sqlite <= only_postgresql
    assert {one for one in sqlite - postgresql if not one.startswith("delete_")} <= only_sqlite


FOLDERS = [PACKAGE / "postgresql/sql", PACKAGE / "sqlite/sql", PACKAGE / "sql/common"]
FRAGMENTS = [path for folder in FOLDERS for path in sorted((folder / "fragments").iterdir())]


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: f"{path.parts[-4]} {path.stem}")
def test_a_fragment_is_shared_by_statements(fragment: Path) -> None:
    own = fragment.parent.parent
    folders = FOLDERS if own.name == "common" else [own]
    line = re.compile(rf"^ *-- include: {fragment.stem}$", re.MULTILINE)

    uses = [
        len(line.findall(path.read_text())) for folder in folders for path in folder.rglob("*.sql")
    ]

    assert sum(uses) > 1


@pytest.mark.parametrize("folder", FOLDERS[:2], ids=["postgresql", "sqlite"])
@pytest.mark.parametrize(
    ("condition", "home"),
    [
        (r"status = 'PENDING'\s+AND (?:\w+\.)?executor_id = %\(executor_id\)s", "held_here"),
        (r"deadline_at IS NULL OR (?:\w+\.)?deadline_at > ", "fence"),
        (r"wake_kind = NULL", "forget_wait"),
    ],
)
def test_the_fence_and_the_end_of_a_wait_are_written_once(
    folder: Path, condition: str, home: str
) -> None:
    # They find rows by what an executor holds; all others fence rows that they find by their key.
    by_executor = {
        "give_places", "heartbeat", "list_held", "quarantine_workflow", "recover_workflows"
    }  # fmt: skip
    files = [*folder.rglob("*.sql"), *FOLDERS[2].rglob("*.sql")]

    found = {path.stem for path in files if re.search(condition, path.read_text())}

    assert found - by_executor == {home}


def test_a_statement_is_complete() -> None:
    for vendor in ("postgresql", "sqlite"):
        for name in statements.names(vendor):
            assert "--" not in statements.load(vendor, name)


def test_suspects_are_the_same_in_statements_and_model() -> None:
    for name in ("claim_workflows", "claim_suspect"):
        text = statements.load(connection.vendor, name)
        (number,) = re.findall(r"recovery_attempts (?:>=|<) (\d+)", text)
        assert int(number) == SUSPECT_ATTEMPTS


@pytest.mark.parametrize(
    "model", list(apps.get_app_config("django_dbos").get_models()), ids=lambda model: model.__name__
)
def test_every_index_is_one_that_was_meant(model: Any, db: None) -> None:
    meant = {index.name for index in model._meta.indexes}
    meant |= {one.name for one in model._meta.constraints if isinstance(one, UniqueConstraint)}
    if connection.vendor == "postgresql" and model is Workflow:
        # The indexes of a model are those of both databases; this one SQLite doesn't have.
        meant.add("dbos_workflow_attributes")

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
        ("claim_workflows", "dbos_workflow_lane"),
        ("enqueue_due", "dbos_workflow_due"),
        ("expire_deadlines", "dbos_workflow_deadline"),
        ("list_held", "dbos_workflow_executor"),
        ("recover_workflows", "dbos_workflow_executor"),
        ("list_lanes", "dbos_workflow_lane"),
    ],
)
def test_a_hot_statement_reads_its_partial_index(name: str, index: str, db: None) -> None:
    params = {
        "executor_id": "e",
        "queue_name": "default",
        "priority": 0,
        "names": ["a"],
        "adopted": "{}",
        "above": 0,
        "limit": 10,
        "max_recovery_attempts": 5,
    }
    # Each index of a table with a handful of rows costs as much, as of one that tests have emptied.
    values = {"name": "a", "queue_name": "default", "status": Status.SUCCESS}
    values |= {"token": uuid.uuid4(), "queue_sequence": 1, "created_at": timezone.now()}
    ended = [Workflow(workflow_id=f"w{number}", **values) for number in range(500)]
    QuerySet(Workflow).bulk_create(ended)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE dbos_workflow")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statements.load('postgresql', name)}", params)
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert index in plan, plan
