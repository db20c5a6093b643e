"""The step table of another database: what atomic steps with `using=` record there.

Its primary key is their fence. Whoever takes the key waits for a transaction that has it and isn't
over yet, so an outcome that was recorded here can't be overtaken by a COMMIT under way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
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
from django_dbos.store.sessions import DjangoSession, translated_errors

if TYPE_CHECKING:
    from django_dbos.models import AtomicCheckpoint

logger = logging.getLogger("django_dbos.store")

# Seconds that a session which this process has lost is given to end by itself, and then to end
# when it was told to.
OWN_END, TOLD_END, LOOK_PAUSE = 2.0, 5.0, 0.02


def record(alias: str, token: UUID, checkpoint: Checkpoint) -> bool:
    """Record a step's outcome in the open transaction, or in one of its own.

    False: an outcome is there already. It waits for one that is about to be committed.
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


def _model() -> type[AtomicCheckpoint]:
    # Steps are defined before there are models.
    return apps.get_model("django_dbos", "AtomicCheckpoint")


# Sessions


class Backend(NamedTuple):
    """A session of PostgreSQL's, as the server knows it."""

    pid: int
    application_name: str


def backend_of(alias: str) -> Backend | None:
    """The session of this thread's connection."""
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql" or wrapper.connection is None or wrapper.connection.closed:
        return None
    info = wrapper.connection.info
    return Backend(info.backend_pid, info.parameter_status("application_name") or "")


def see_off(alias: str, backend: Backend) -> None:
    """Wait for the end of a session that this process has lost; after a while end it.

    Its transaction is over then, and holds no lock any more. A pooler's sessions have other names:
    of those nothing is known.
    """
    session, began = DjangoSession(alias, "postgresql"), time.monotonic()
    while (waited := time.monotonic() - began) < OWN_END + TOLD_END:
        params: dict[str, Any] = backend._asdict() | {"is_told": waited > OWN_END}
        try:
            if not session.run("see_off", params):
                return
        except ProgrammingError as error:
            # A role that has been assumed may not end its own login's sessions.
            logger.warning("A lost session on %r couldn't be ended: %r", alias, error)
            return
        time.sleep(LOOK_PAUSE)


def end_sessions(executor_id: str, aliases: Iterable[str]) -> None:
    """Have the sessions of a dead executor ended on other databases, in a thread of its own.

    Their locks would keep out whoever repeats its steps. Nothing else depends on it.
    """
    for alias in aliases:
        if connections[alias].vendor == "postgresql":
            args = (executor_id, alias)
            threading.Thread(target=_end_sessions, args=args, name="dbos-end", daemon=True).start()


def _end_sessions(executor_id: str, alias: str) -> None:
    # A megabyte that nobody needs on SQLite.
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
