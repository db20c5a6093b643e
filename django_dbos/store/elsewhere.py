"""Elsewhere: the step table of another database, in which atomic steps with `using=` record.

Its primary key is their fence. An INSERT of a key waits for an open transaction that has inserted
the same, so that no COMMIT under way can overtake an outcome that was recorded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.db import IntegrityError, connections, models, transaction

from django_dbos.core.records import Checkpoint
from django_dbos.fields import DatabaseNow
from django_dbos.store.sessions import translated_errors

if TYPE_CHECKING:
    from django_dbos.models import AtomicCheckpoint

# The age at which a deletion is repeated, and forgotten. A claim that was lost before the workflow
# was deleted ends far sooner, and nothing is recorded under its token any more.
CONFIRMED_AFTER = timedelta(hours=1)
# Tokens whose rows one statement deletes.
BATCH = 100


def record(alias: str, token: UUID, checkpoint: Checkpoint) -> bool:
    """Record a step's outcome in the open transaction, or in one of its own.

    Returns False if an outcome is there already; waits for one that is about to be committed.
    """
    row = _model()(
        token=token,
        step_number=checkpoint.step_number,
        step_name=checkpoint.step_name,
        output_text=checkpoint.output,
        error_text=checkpoint.error,
        recorded_at=DatabaseNow(),
    )
    with translated_errors(alias):
        try:
            with transaction.atomic(using=alias):
                models.Model.save(row, using=alias, force_insert=True)
        except IntegrityError:
            return False
    return True


def await_earlier(alias: str, token: UUID, checkpoint: Checkpoint) -> None:
    """Wait until no transaction is under way that has recorded this step."""
    with transaction.atomic(using=alias):
        record(alias, token, checkpoint)
        transaction.set_rollback(True, using=alias)


def read(alias: str, token: UUID, step_number: int) -> tuple[str, str | None, str | None] | None:
    """Return (step name, output, error) of a step recorded there."""
    rows = _model().objects.using(alias).filter(token=token, step_number=step_number)
    with translated_errors(alias):
        return rows.values_list("step_name", "output_text", "error_text").first()


def delete(aliases: Iterable[str], tokens: Sequence[UUID]) -> int:
    """Delete what workflows with these tokens have recorded on other databases; return how many."""
    deleted = 0
    for alias in aliases:
        # Not its manager, which refuses to delete.
        rows: Any = models.QuerySet(_model(), using=alias).filter(token__in=tokens)
        with translated_errors(alias):
            try:
                deleted += rows.delete()[0]
            finally:
                connections[alias].close_if_unusable_or_obsolete()
    return deleted


def note_deletion(workflow_alias: str, tokens: Iterable[UUID]) -> None:
    """Note, in the open transaction, that no workflow has these tokens any more."""
    from django_dbos.models import StepDeletion

    noted: Any = models.QuerySet(StepDeletion, using=workflow_alias)
    noted.bulk_create(
        [StepDeletion(token=token, requested_at=DatabaseNow()) for token in tokens],
        ignore_conflicts=True,
    )


def confirm_deletions(workflow_alias: str, aliases: Sequence[str]) -> int | None:
    """Repeat some deletions that were noted an hour ago, and forget them; return the rows deleted.

    Returns None if there are no more. The process that noted one may have died right after its
    commit, a database may have been away, and a run that had lost its claim may have committed a
    step after the deletion.

    Raises:
        Error: A database is away. Nothing is forgotten.
    """
    from django_dbos.models import StepDeletion

    noted: Any = models.QuerySet(StepDeletion, using=workflow_alias)
    try:
        oldest = noted.annotate(now=DatabaseNow()).order_by("requested_at")[:BATCH]
        due = [row.token for row in oldest if row.now - row.requested_at >= CONFIRMED_AFTER]
        if not due:
            return None
        # The note goes last: a death in between leaves it to the next worker.
        deleted = delete(aliases, due)
        noted.filter(token__in=due).delete()
        return deleted
    finally:
        connections[workflow_alias].close_if_unusable_or_obsolete()


def _model() -> type[AtomicCheckpoint]:
    # Steps are defined before there are models.
    return apps.get_model("django_dbos", "AtomicCheckpoint")
