"""Writes of a step to events and streams: at once, outside its transaction, at least once.

On SQLite an open atomic step holds the only write lock. There it writes through its own connection,
in its own transaction (CORRECTNESS rule 25).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction

from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import Write
from django_dbos.operations.context import StepScope
from django_dbos.operations.run import Run
from django_dbos.store.inline_writer import InlineWriter


def post(run: Run, step: StepScope, kind: type[Write], **values: Any) -> None:
    """Write from a step, without waiting for the commit."""
    run.check_in_step()
    values["step_number"] = step.step_number
    store = run.host.store
    if store.writes_in_step_transaction and step.atomic_alias == store.alias:
        _write_here(run, kind, **values)
    else:
        run.post(kind, **values)


async def apost(run: Run, step: StepScope, kind: type[Write], **values: Any) -> None:
    """See post()."""
    run.check_in_step()
    await run.apost(kind, step_number=step.step_number, **values)


def _write_here(run: Run, kind: type[Write], **values: Any) -> None:
    store = run.host.store

    def announce(plan: Plan) -> None:
        told = partial(store.announce_plans, store.session(), [plan])
        transaction.on_commit(told, using=store.alias)

    writer = InlineWriter(store, run.host.executor_id, on_commit=announce)
    run.write_with(writer, kind, **values)
