"""Elsewhere: the step table of another database, in which atomic steps with `using=` record.

Its primary key is their fence. An INSERT of a key waits for an open transaction that has inserted
the same, so that no COMMIT under way can overtake an outcome that was recorded here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.db import (
    Error,
    IntegrityError,
    ProgrammingError,
    connections,
    models,
    transaction,
)

from django_dbos.core.records import Checkpoint
from django_dbos.fields import DatabaseNow
from django_dbos.store import errors
from django_dbos.store.postgresql import lost_sessions
from django_dbos.store.postgresql.lost_sessions import Backend as Backend
from django_dbos.store.sessions import DjangoSession, translated_errors

if TYPE_CHECKING:
    from django_dbos.models import AtomicCheckpoint

logger = logging.getLogger("django_dbos.store")

# Seconds for which a lost session may end by itself, and to wait after that for its forced end.
OWN_END, FORCED_END = 2.0, 5.0


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


def _model() -> type[AtomicCheckpoint]:
    # Steps are defined before there are models.
    return apps.get_model("django_dbos", "AtomicCheckpoint")


# Sessions


def backend_of(alias: str) -> Backend | None:
    """Return the session of this thread's connection; None where sessions don't outlive it."""
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql" or wrapper.connection is None or wrapper.connection.closed:
        return None
    return lost_sessions.backend_of(wrapper.connection)


def end_lost_session(alias: str, backend: Backend) -> None:
    """Wait for the end of a session that this process has lost; after a while have it ended.

    Its transaction is over then, and holds no locks any more.
    """
    session = DjangoSession(alias, "postgresql")
    try:
        lost_sessions.end_lost_session(
            lambda params: session.run("end_lost_session", params),
            backend,
            grace=OWN_END,
            patience=FORCED_END,
        )
    except ProgrammingError as error:
        # A role that has been assumed may not end its own login's sessions.
        logger.warning("A lost session on %r couldn't be ended: %r", alias, error)


def end_sessions(executor_id: str, aliases: Iterable[str]) -> None:
    """End the sessions of a dead executor on other databases, each on a thread of its own.

    Their locks would hold up the next run of its steps. Nothing else depends on it.
    """
    for alias in aliases:
        if connections[alias].vendor == "postgresql":
            args = (executor_id, alias)
            threading.Thread(target=_end_sessions, args=args, name="dbos-end", daemon=True).start()


def _end_sessions(executor_id: str, alias: str) -> None:
    # Imported here: it loads psycopg, a megabyte that SQLite doesn't need.
    from django_dbos.store.postgresql.connections import application_name

    session = DjangoSession(alias, "postgresql")
    try:
        session.run("end_sessions", {"application_name": application_name(executor_id)})
    except (Error, errors.StoreError) as error:
        logger.warning(
            "The sessions of executor %s on database %r couldn't be ended: %r",
            executor_id, alias, error,
        )  # fmt: skip
    finally:
        session.close()
