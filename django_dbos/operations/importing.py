"""Imports: the workflows of a document that exporting.py has made, in this database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError
from django.db.models import QuerySet

from django_dbos import offloading
from django_dbos.core.ids import new_uuid
from django_dbos.core.names import check_workflow_id
from django_dbos.core.numbers import check_bool
from django_dbos.core.status import ACTIVE, Status
from django_dbos.exceptions import ImportRefused
from django_dbos.operations import rotation
from django_dbos.operations.exporting import FORMAT, VERSION

if TYPE_CHECKING:
    from django_dbos.store.base import Store

Fields = dict[str, Any]
# The fields of a workflow's row, and of those of its other rows, by their kind.
Found = tuple[Fields, dict[str, list[Fields]]]
# Rows that one statement inserts.
BATCH = 500
# What holds an active workflow in place, and means nothing where it is imported.
FORGOTTEN = {
    "wake_kind": None,
    "wake_workflow_id": None,
    "wake_name": None,
    "wake_offset": None,
    "due_at": None,
    "deadline_at": None,
}
# So that it takes no part in the decisions about others.
DETACHED = {
    "executor_id": None,
    "queue_sequence": 0,
    "place": 0,
    "recovery_attempts": 0,
    "unique_until": None,
    "debounce_key": None,
    "debounce_until": None,
    "schedule_name": None,
    "scheduled_at": None,
}


def import_document(store: Store, document: Any, *, run: bool = False) -> list[str]:
    """Insert the workflows of a document; see api.documents.import_workflows()."""
    from django_dbos.models import Workflow
    from django_dbos.store import documents

    check_bool(run, "run")
    found = _read_all(document)
    ids = [workflow["workflow_id"] for workflow, _ in found]
    for twice in (one for one, count in Counter(ids).items() if count > 1):
        raise ImportRefused(f"Workflow {twice!r} is in the document twice.")
    for workflow, parts in found:
        _renew_token(workflow, parts)
    to_run = [workflow["workflow_id"] for workflow, _ in found if workflow["status"] in ACTIVE]
    _refuse_existing(store, ids)
    # Not in the transaction: a storage takes its time, and SQLite has one writer.
    found = [_as_stored_here(one) for one in found]
    with store.session().transaction():
        _refuse_existing(store, ids)
        workflows = [_workflow_row(workflow) for workflow, _ in found]
        # In one order, so that of two imports one waits for the other (CORRECTNESS rule 103).
        workflows.sort(key=lambda row: str(row["workflow_id"]))
        try:
            _insert(store, Workflow, workflows)
            for _, parts in found:
                for name, rows in parts.items():
                    _insert(store, documents.PARTS[name], rows)
        except IntegrityError as error:
            raise ImportRefused(
                f"The database refused a row: {error}. A workflow may just have been given an id "
                "of the document."
            ) from error
        if run and to_run:
            store.resume_workflows(to_run, queue_name=None)
    return ids


def read_histories(document: Any) -> list[tuple[Any, list[Any]]]:
    """Return the workflows of a document with their checkpoints, as rows that aren't stored."""
    from django_dbos.models import Checkpoint, Workflow

    return [
        (Workflow(**workflow), [Checkpoint(**row) for row in parts["checkpoints"]])
        for workflow, parts in _read_all(document)
    ]


def _read_all(document: Any) -> list[Found]:
    from django_dbos.store import documents

    try:
        return [
            _read(documents, given, f"workflows[{position}]")
            for position, given in enumerate(_workflows_of(document))
        ]
    except documents.BadDocument as error:
        raise ImportRefused(str(error)) from None


def _workflows_of(document: Any) -> list[Any]:
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ImportRefused(
            "The document isn't an export of workflows: it must be an object whose 'format' is "
            f"{FORMAT!r}."
        )
    version = document.get("version")
    if version != VERSION:
        raise ImportRefused(
            f"The document has version {version!r} of the format, and this release reads version "
            f"{VERSION}. Export it again with the same release."
        )
    found = document.get("workflows")
    if not isinstance(found, list):
        raise ImportRefused("The document's 'workflows' must be a list.")
    return found


def _read(documents: Any, given: Any, place: str) -> Found:
    """Return the fields of a workflow's row, and of those of its other rows, checked."""
    from django_dbos.models import Workflow

    if not isinstance(given, dict):
        raise documents.BadDocument(f"{place} must be an object, not {type(given).__name__}.")
    for name in given:
        if name != "workflow" and name not in documents.PARTS:
            raise documents.BadDocument(f"{place}.{name} is unknown here.")
    workflow = documents.from_json(Workflow, given.get("workflow"), f"{place}.workflow")
    workflow_id = workflow["workflow_id"]
    try:
        check_workflow_id(workflow_id)
    except (TypeError, ValueError) as error:
        raise documents.BadDocument(f"{place}.workflow.workflow_id: {error}") from None
    parts = {}
    for name, model in documents.PARTS.items():
        rows = given.get(name, [])
        if not isinstance(rows, list):
            raise documents.BadDocument(f"{place}.{name} must be a list.")
        parts[name] = [
            {
                **documents.from_json(model, row, f"{place}.{name}[{position}]"),
                "workflow_id": workflow_id,
            }
            for position, row in enumerate(rows)
        ]
    return workflow, parts


def _refuse_existing(store: Store, ids: list[str]) -> None:
    from django_dbos.models import Workflow

    known: list[str] = []
    for first in range(0, len(ids), BATCH):
        some = ids[first : first + BATCH]
        rows = Workflow.objects.using(store.alias).filter(pk__in=some)
        known += [str(pk) for pk in rows.values_list("pk", flat=True)]
    if known:
        more = f" and {len(known) - 3} more" if len(known) > 3 else ""
        named = ", ".join(map(repr, sorted(known)[:3]))
        raise ImportRefused(
            f"There are workflows with the ids {named}{more} already. Nothing was imported; import "
            "into a database without them."
        )


def _as_stored_here(found: Found) -> Found:
    """Return rows whose values are stored as new ones are: encrypted, and large ones offloaded."""
    from django_dbos.models import Workflow
    from django_dbos.store import documents

    workflow, parts = found
    return _with_values_here(Workflow, workflow), {
        name: [_with_values_here(documents.PARTS[name], row) for row in rows]
        for name, rows in parts.items()
    }


def _with_values_here(model: Any, row: Fields) -> Fields:
    from django_dbos.store.values import VALUE_COLUMNS

    changed = dict(row)
    for column in VALUE_COLUMNS.get(model, ()):
        if (text := row.get(column)) is not None:
            text = rotation.sealed(text)
            # Errors of attempts stay in their rows.
            is_kept = column == "attempt_errors_text"
            changed[column] = text if is_kept else offloading.offload(text)
    return changed


def _workflow_row(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a row that nothing runs: an active workflow arrives as cancelled."""
    row = {**workflow, **DETACHED}
    if row["status"] in ACTIVE:
        from django_dbos.fields import DatabaseNow

        # Not its error: resume() takes it for what it was.
        row |= {**FORGOTTEN, "status": Status.CANCELLED.value, "finished_at": DatabaseNow()}
    return row


def _renew_token(workflow: Fields, parts: dict[str, list[Fields]]) -> None:
    """Give a workflow another token than the original's, and its forms and callbacks that one.

    The original may still be there, and share a step database with the import: under one token they
    would adopt one another's atomic steps, and the deletion of one would take the other's.
    """
    old, workflow["token"] = workflow["token"], new_uuid()
    for inquiry in parts["inquiries"]:
        if inquiry["token"] == old:
            inquiry["token"] = workflow["token"]


def _insert(store: Store, model: Any, rows: list[dict[str, Any]]) -> None:
    made = [model(**row) for row in rows]
    QuerySet(model, using=store.alias).bulk_create(made, batch_size=BATCH)
