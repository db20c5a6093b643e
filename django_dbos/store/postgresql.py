"""The store on PostgreSQL: psycopg 3 connections of the executor's own, two round trips a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_dbos.core.batch import Facts, Plan, Questions
from django_dbos.store import errors, rows, statements
from django_dbos.store.sessions import Params, Row, Session, Statement

# A lock that somebody's open transaction holds must not hold up everybody's batch.
LOCK_TIMEOUT = "100ms"


def application_name(executor_id: str) -> str:
    """The name of an executor's sessions: at most 63 bytes, so the id is hashed."""
    return f"dbos:{hashlib.blake2b(executor_id.encode(), digest_size=16).hexdigest()}"


class OwnSession:
    """A connection of the executor's own, made anew whenever it was lost."""

    def __init__(
        self, alias: str, executor_id: str, *, is_pooled: bool = False, lease: float = 20.0
    ) -> None:
        self._alias = alias
        self._executor_id = executor_id
        self._is_pooled = is_pooled
        self._lease = lease
        self._connection: psycopg.Connection[Row] | None = None
        self._in_transaction = False

    @property
    def connection(self) -> psycopg.Connection[Row]:
        """The open connection."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        with translated_errors():
            return _fetch(self._execute(name, params))

    def run_all(self, statements: Sequence[Statement]) -> list[list[Row]]:
        with translated_errors():
            if not self._in_transaction:
                return [_fetch(self._execute(name, params)) for name, params in statements]
            cursors = [self._execute(name, params) for name, params in statements]
            return [_fetch(cursor) for cursor in cursors]

    def run_many(self, name: str, rows: Sequence[Params]) -> None:
        for row in rows:
            self.run(name, row)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        # In pipeline mode BEGIN travels with the first statements, COMMIT with the last.
        with translated_errors(), self.connection.pipeline(), self.connection.transaction():
            self._in_transaction = True
            try:
                yield
            finally:
                self._in_transaction = False

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, name: str, params: Params | None) -> psycopg.Cursor[Row]:
        text = statements.load("postgresql", name)
        return self.connection.execute(text, params or {}, prepare=not self._is_pooled)

    def _connect(self) -> psycopg.Connection[Row]:
        with translated_errors():
            wrapper = connections[self._alias]
            connection = psycopg.connect(
                **connection_parameters(wrapper, self._executor_id, self._lease), autocommit=True
            )
            if self._is_pooled:
                connection.prepare_threshold = None
            role = wrapper.settings_dict["OPTIONS"].get("assume_role")
            if role:
                connection.execute("SELECT set_config('role', %s, false)", (role,))
            connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            return connection


def connection_parameters(
    wrapper: BaseDatabaseWrapper, executor_id: str, lease: float
) -> dict[str, Any]:
    """Django's parameters, copied anew at every connect, without what is Django's own."""
    params = dict(wrapper.get_connection_params())
    for name in ("cursor_factory", "context", "prepare_threshold", "isolation_level", "pool"):
        params.pop(name, None)
    seconds = max(int(lease), 1)
    params.update(
        application_name=application_name(executor_id),
        keepalives=1,
        keepalives_idle=max(seconds // 2, 1),
        keepalives_interval=max(seconds // 6, 1),
        keepalives_count=3,
        tcp_user_timeout=seconds * 1000,
    )
    return params


def _fetch(cursor: psycopg.Cursor[Row]) -> list[Row]:
    return cursor.fetchall() if cursor.description else []


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn psycopg's errors into the store's."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise errors.LockTimeout(str(error)) from error
    except psycopg.Error as error:
        raise _translated(error) from error


def _translated(error: psycopg.Error) -> errors.StoreError:
    sqlstate = error.sqlstate
    if sqlstate is None or sqlstate[:2] in errors.TRANSIENT_CLASSES:
        is_outcome_unknown = sqlstate is None or sqlstate.startswith(("08", "57P"))
        return errors.Unavailable(str(error), is_outcome_unknown=is_outcome_unknown)
    return errors.BadStatement(str(error))


def look(session: Session, executor_id: str, asked: Questions) -> Facts:
    """Take the fence and answer the questions: the first round trip of a batch."""
    claims = list(asked.claims)
    asking = {name: params for name, params in _lookups(asked).items() if params is not None}
    fence: Statement = ("lock_claims", {"workflow_ids": claims, "executor_id": executor_id})
    held, *answers = session.run_all([fence, *asking.items()])

    facts = Facts(held={row[0]: (row[1], row[2]) for row in held})
    for name, found in zip(asking, answers, strict=True):
        ADD[name](facts, found)
    if len(facts.held) < len(claims):
        missing = session.run("look_at_claims", {"workflow_ids": claims})
        rows.add_lost(facts, missing, asked.claims, executor_id)
    return facts


ADD = {
    "find_checkpoints": rows.add_checkpoints,
    "find_messages": rows.add_messages,
    "find_events": rows.add_events,
    "find_workflows": rows.add_workflows,
    "find_deduplicated": rows.add_deduplications,
    "find_tails": rows.add_tails,
    "find_writes": rows.add_written,
}


def _lookups(asked: Questions) -> dict[str, Params | None]:
    return {
        "find_checkpoints": _pairs(asked.checkpoints, "workflow_ids", "step_numbers"),
        "find_messages": _pairs(
            [(*key, count) for key, count in asked.messages.items()],
            "workflow_ids",
            "topics",
            "counts",
        ),
        "find_events": _pairs(asked.events, "workflow_ids", "keys"),
        "find_workflows": _pairs([(one,) for one in asked.workflows], "workflow_ids"),
        "find_deduplicated": _pairs(asked.deduplications, "queue_names", "deduplication_ids"),
        "find_tails": _pairs(asked.tails, "workflow_ids", "keys"),
        "find_writes": (
            {"workflow_ids": list(asked.claims), "write_ids": list(asked.write_ids)}
            if asked.write_ids
            else None
        ),
    }


def _pairs(values: Any, *names: str) -> Params | None:
    if not values:
        return None
    return dict(zip(names, map(list, zip(*values, strict=True)), strict=True))


def write(session: Session, executor_id: str, plan: Plan) -> list[list[Row]]:
    """Write what was decided: the second round trip of a batch."""
    suspended = [
        {
            "workflow_id": one.workflow_id,
            "step_number": one.step_number,
            "kind": one.wake.kind.value,
            "target_id": one.wake.workflow_id,
            "name": one.wake.name,
        }
        for one in plan.suspended
    ]
    batches: dict[str, list[Params]] = {
        "insert_checkpoints": [rows.checkpoint_params(*one) for one in plan.checkpoints],
        "replace_checkpoints": [rows.checkpoint_params(one) for one in plan.outcomes],
        "consume_messages": [
            {"message_id": message_id, "step_number": step_number}
            for message_id, step_number in plan.consumed
        ],
        "insert_workflows": [
            rows.workflow_params(new, executor_id if is_reserved else None)
            for new, is_reserved in plan.workflows
        ],
        "insert_messages": [rows.message_params(one) for one in plan.messages],
        "insert_event_versions": [rows.event_params(one) for one in plan.event_values],
        "upsert_events": [rows.event_params(one) for one in plan.latest_events],
        "insert_entries": [rows.entry_params(one) for one in plan.entries],
        "finish_workflows": [rows.finish_params(one) for one in plan.finished],
        "suspend_workflows": suspended,
    }
    work: list[Statement] = [
        (name, rows.transposed(batch)) for name, batch in batches.items() if batch
    ]
    if plan.released:
        held = {"workflow_ids": plan.released, "executor_id": executor_id}
        work.append(("release_workflows", held))
    return session.run_all(work)
