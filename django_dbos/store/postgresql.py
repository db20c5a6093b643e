"""The store on PostgreSQL: psycopg 3 connections of the executor's own, two round trips a batch."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, cast

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_dbos.conf import get_settings
from django_dbos.core.batch import (
    DirectWrite,
    Facts,
    FoundCheckpoint,
    Place,
    Plan,
    Questions,
    are_direct,
)
from django_dbos.core.ids import lock_key
from django_dbos.core.records import (
    DONE,
    Checkpoint,
    Claim,
    ExecutorInfo,
    Finish,
    NewMessage,
    NewWorkflow,
    RecordStep,
    Wake,
    Write,
)
from django_dbos.core.status import Status
from django_dbos.store import errors, rows, statements
from django_dbos.store.base import Hints, Lane, Look, Recovered, Store
from django_dbos.store.listening import CHANGED_CHANNEL, ENQUEUED_CHANNEL
from django_dbos.store.sessions import DjangoSession, Params, Row, Session, Statement
from django_dbos.store.sessions import translated_errors as translated_django_errors

logger = logging.getLogger("django_dbos.store")

RECOVERY_LIMIT = 5_000
END_SESSIONS_LOOKS, END_SESSIONS_PAUSE = 40, 0.05
LOOK_COLUMNS = (
    "is_registered",
    "has_enqueued",
    "next_due",
    "next_deadline",
    "held_count",
    "expired_executors",
    "unlocked_executors",
    "has_lost_wakeup",
    "message_mark",
    "event_mark",
)
# A lock that somebody's open transaction holds must not hold up everybody's batch.
LOCK_TIMEOUT = "SET {scope} lock_timeout = '100ms'"
# Whatever the project's own transactions are: a batch must see what was committed since its fence.
ISOLATION = "SET default_transaction_isolation = 'read committed'"
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
# Hints only, so their commit needs no fsync: a lost one costs a look on a timer.
LAZILY = "SET LOCAL synchronous_commit=off"


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
        self._pipeline: psycopg.Pipeline | None = None

    @property
    def connection(self) -> psycopg.Connection[Row]:
        """The open connection."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        return self.run_all([(name, params or {})])[0]

    def run_all(self, statements: Sequence[Statement]) -> list[list[Row]]:
        with translated_errors():
            if self._pipeline is None and len(statements) > 1:
                # Statements that are sent together commit together.
                with self.connection.pipeline():
                    cursors = [self._execute(name, params) for name, params in statements]
            else:
                cursors = [self._execute(name, params) for name, params in statements]
            if self._pipeline is not None:
                # One round trip for all of them; until then no cursor knows what it returns.
                self._pipeline.sync()
            return [_fetch(cursor) for cursor in cursors]

    def send_all(self, statements: Sequence[Statement]) -> None:
        with translated_errors():
            for name, params in statements:
                self._execute(name, params)

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        with translated_errors(), self.connection.pipeline() as pipeline:
            cursors = []
            for name, params in work:
                cursors.append(self._execute(name, params))
                pipeline.sync()
            return [_fetch(cursor) for cursor in cursors]

    def run_many(self, name: str, rows: Sequence[Params]) -> None:
        for row in rows:
            self.run(name, row)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with translated_errors():
            connection = self.connection
            try:
                # BEGIN travels with the first statements, COMMIT with the last. psycopg's own
                # transaction() waits for an answer to each.
                with connection.pipeline() as self._pipeline:
                    connection.execute(BEGIN)
                    if self._is_pooled:
                        connection.execute(LOCK_TIMEOUT.format(scope="LOCAL"))
                    yield
                    connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise
            finally:
                self._pipeline = None

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
            role = wrapper.settings_dict["OPTIONS"].get("assume_role")
            if role:
                connection.execute("SELECT set_config('role', %s, false)", (role,))
            if self._is_pooled:
                # What is set here would be another client's, with its connection to the server.
                connection.prepare_threshold = None
            else:
                connection.execute(f"{ISOLATION}; {LOCK_TIMEOUT.format(scope='SESSION')}")
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


def _roll_back(connection: psycopg.Connection[Row]) -> None:
    """Leave a transaction that failed; a connection that can't is closed."""
    if connection.closed:
        return
    try:
        connection.rollback()
    except psycopg.Error:
        connection.close()


def _fetch(cursor: psycopg.Cursor[Row]) -> list[Row]:
    return cursor.fetchall() if cursor.description else []


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn psycopg's errors into the store's."""
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error) from error


def _translated(error: psycopg.Error) -> errors.StoreError:
    sqlstate = error.sqlstate
    if sqlstate is None and not isinstance(
        error, psycopg.OperationalError | psycopg.InterfaceError
    ):
        # psycopg's own objection to a value, before the server saw it.
        return errors.BadStatement(str(error))
    return errors.of_sqlstate(sqlstate, str(error))


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


def write(session: Session, executor_id: str, plan: Plan) -> None:
    """Write what was decided: the second round trip of a batch, with its COMMIT."""
    _insert_children(session, executor_id, plan)
    batches: dict[str, list[Params]] = {
        "insert_checkpoints": [rows.checkpoint_params(*one) for one in plan.checkpoints],
        "replace_checkpoints": [rows.checkpoint_params(one) for one in plan.outcomes],
        "consume_messages": [
            {"message_id": message_id, "step_number": step_number}
            for message_id, step_number in plan.consumed
        ],
        "insert_messages": [rows.message_params(one) for one in plan.messages],
        "insert_event_versions": [rows.event_params(one) for one in plan.event_values],
        "upsert_events": [rows.event_params(one) for one in plan.latest_events],
        "insert_entries": [rows.entry_params(one) for one in plan.entries],
        "finish_workflows": [rows.finish_params(one) for one in plan.finished],
        "suspend_workflows": [rows.suspend_params(one) for one in plan.suspended],
    }
    session.send_all([(name, rows.transposed(batch)) for name, batch in batches.items() if batch])
    if plan.released:
        held = {"workflow_ids": plan.released, "executor_id": executor_id}
        plan.lanes += rows.lanes(session.run("release_workflows", held), 1)


def _insert_children(session: Session, executor_id: str, plan: Plan) -> None:
    """All of them: one whose id was taken since the look isn't there, and must not seem to be."""
    if not plan.workflows:
        return
    new = [
        rows.workflow_params(one, executor_id if is_reserved else None)
        for one, is_reserved in plan.workflows
    ]
    inserted = session.run("insert_workflows", rows.transposed(new))
    if len(inserted) < len(new):
        missing = {one["workflow_id"] for one in new} - {row[0] for row in inserted}
        raise errors.Conflict(f"Somebody else has just taken an id of {sorted(missing)}.")


class AskingSession(DjangoSession):
    """Django's connection, for callers outside of executors."""

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        if self._is_in_transaction:
            return super().run_apart(work)
        with translated_django_errors(), connections[self.alias].cursor() as cursor:
            return _send(cursor, [self._text(cursor, *statement) for statement in work])

    def run_and_notify(self, statement: Statement, channel: str, payloads: list[str]) -> list[Row]:
        """Run a statement, then notify: two transactions in one message to the server.

        An error may be that of the second transaction, when the first is committed.
        """
        with translated_django_errors(), connections[self.alias].cursor() as cursor:
            mogrify = psycopg.ClientCursor(cursor.connection).mogrify
            hints = [mogrify(f"NOTIFY {channel}, %s", [payload]) for payload in payloads]
            return _send(cursor, [self._text(cursor, *statement), ";".join([LAZILY, *hints])])[0]

    @property
    def _is_in_transaction(self) -> bool:
        return bool(connections[self.alias].in_atomic_block)

    def _text(self, cursor: Any, name: str, params: Params) -> str:
        client: psycopg.ClientCursor[Row] = psycopg.ClientCursor(cursor.connection)
        return client.mogrify(statements.load(self.vendor, name), params)


def _send(cursor: Any, texts: Sequence[str]) -> list[list[Row]]:
    """Run each in a transaction of its own, all in one message; return what each returns first."""
    try:
        # Without parameters several statements may go together.
        cursor.execute("".join(f"BEGIN;{text};COMMIT;" for text in texts))
    except BaseException:
        _roll_back(cursor.connection)
        raise
    # Not through Django, which wraps each call.
    results, found = cursor.cursor, []
    for _ in texts:
        # Past BEGIN, and later past COMMIT.
        results.nextset()
        found.append(_fetch(results))
        results.nextset()
        results.nextset()
    return found


class PostgresStore(Store):
    """PostgreSQL: many executors, LISTEN and NOTIFY, locks that are skipped."""

    vendor = "postgresql"
    supports_notifications = True

    def session(self) -> AskingSession:
        return AskingSession(self.alias, self.vendor)

    def name_process(self, executor_id: str) -> None:
        for alias in connections:
            if connections[alias].vendor == self.vendor:
                options = connections.settings[alias].setdefault("OPTIONS", {})
                options["application_name"] = application_name(executor_id)

    def connect(self, executor_id: str, purpose: str) -> OwnSession:
        settings = get_settings()
        return OwnSession(
            self.alias,
            executor_id,
            is_pooled=settings.transaction_pooler,
            lease=settings.lease,
        )

    def apply(
        self, session: Session, executor_id: str, writes: Sequence[Write], *, is_repeat: bool
    ) -> Plan:
        if is_repeat or not are_direct(writes):
            return super().apply(session, executor_id, writes, is_repeat=is_repeat)
        direct = cast(Sequence[DirectWrite], writes)
        written = self._write_directly(session, executor_id, direct)
        plan = Plan(answers=[DONE] * len(writes))
        plan.finished = [one for one in direct if isinstance(one, Finish) and one.place in written]
        left = [i for i, one in enumerate(direct) if one.place not in written]
        if left:
            # The few that failed go the long way, which finds out why.
            rest = [writes[position] for position in left]
            plan.absorb(left, super().apply(session, executor_id, rest, is_repeat=False))
        return plan

    def _write_directly(
        self, session: Session, executor_id: str, writes: Sequence[DirectWrite]
    ) -> set[Place]:
        """One round trip, its commit included; returns what could be written."""
        steps = [one for one in writes if isinstance(one, RecordStep)]
        ends = [one for one in writes if isinstance(one, Finish)]
        work: list[Statement] = []
        if steps:
            columns = rows.transposed([rows.checkpoint_params(one.checkpoint) for one in steps])
            work.append(("record_checkpoints", columns | {"executor_id": executor_id}))
        if ends:
            columns = rows.transposed([rows.finish_params(one) for one in ends])
            work.append(("end_workflows", columns | {"executor_id": executor_id}))
        return {(row[0], row[1]) for found in session.run_all(work) for row in found}

    def look_up(self, session: Session, executor_id: str, asked: Questions) -> Facts:
        return look(session, executor_id, asked)

    def carry_out(self, session: Session, executor_id: str, plan: Plan) -> None:
        write(session, executor_id, plan)

    def record_atomic_step(
        self, executor_id: str, claim_number: int, checkpoint: Checkpoint
    ) -> bool:
        params = rows.checkpoint_params(checkpoint) | {"executor_id": executor_id}
        return bool(self.session().run("record_atomic_checkpoint", params))

    def list_lanes(self, session: Session) -> list[Lane]:
        return [(row[0], row[1]) for row in session.run("list_lanes")]

    def claim_workflows(
        self,
        session: Session,
        executor_id: str,
        lane: Lane,
        *,
        names: Sequence[str],
        above: int,
        limit: int,
    ) -> tuple[list[Claim], int]:
        params = {
            "executor_id": executor_id,
            "queue_name": lane[0],
            "priority": lane[1],
            "names": list(names),
            "above": above,
            "limit": limit,
        }
        claimed = sorted(session.run("claim_workflows", params), key=lambda row: row[10])
        last = claimed[-1][10] if claimed else above
        return [rows.to_claim(row) for row in claimed], last

    def claim_workflow(self, session: Session, executor_id: str, workflow_id: str) -> Claim | None:
        params = {"executor_id": executor_id, "workflow_id": workflow_id}
        return next(map(rows.to_claim, session.run("claim_workflow", params)), None)

    def claim_suspect(
        self,
        session: Session,
        executor_id: str,
        *,
        queue_names: Sequence[str],
        names: Sequence[str],
    ) -> list[Claim]:
        params = {
            "executor_id": executor_id,
            "queue_names": list(queue_names),
            "names": list(names),
        }
        return [rows.to_claim(row) for row in session.run("claim_suspect", params)]

    def load_histories(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> dict[str, list[FoundCheckpoint]]:
        found = session.run("load_checkpoints", {"workflow_ids": list(workflow_ids)})
        return rows.by_workflow(found)

    def load_ended_streams(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> dict[str, set[str]]:
        params = {"workflow_ids": list(workflow_ids)}
        return rows.keys_by_workflow(session.run("load_ended_streams", params))

    def list_held(self, session: Session, executor_id: str) -> dict[str, int]:
        held = session.run("list_held", {"executor_id": executor_id})
        return {row[0]: row[1] for row in held}

    def release_workflows(
        self, session: Session, executor_id: str, workflow_ids: Sequence[str]
    ) -> list[Lane]:
        params = {"executor_id": executor_id, "workflow_ids": list(workflow_ids)}
        return rows.lanes(session.run("release_workflows", params), 1)

    def register_executor(self, session: Session, info: ExecutorInfo, *, has_lock: bool) -> None:
        session.run("register_executor", asdict(info) | {"has_lock": has_lock})

    def unregister_executor(self, session: Session, executor_id: str) -> None:
        session.run("unregister_executor", {"executor_id": executor_id})

    def beat_and_look(self, session: Session, executor_id: str, previous: Look | None) -> Look:
        params = {
            "executor_id": executor_id,
            "message_mark": previous.message_mark if previous else 0,
            "event_mark": previous.event_mark if previous else 0,
        }
        row = session.run("beat_and_look", params)[0]
        return Look(**dict(zip(LOOK_COLUMNS, row, strict=True)))

    def enqueue_due(self, session: Session, limit: int) -> list[Lane]:
        return rows.lanes(session.run("enqueue_due", {"limit": limit}))

    def expire_deadlines(self, session: Session, limit: int) -> list[str]:
        return [row[0] for row in session.run("expire_deadlines", {"limit": limit})]

    def wake_satisfied(
        self, session: Session, workflow_ids: Sequence[str] | None = None
    ) -> list[Lane]:
        ids = None if workflow_ids is None else list(workflow_ids)
        return rows.lanes(session.run("wake_satisfied", {"workflow_ids": ids}))

    def recover_executor(
        self,
        session: Session,
        executor_id: str,
        *,
        is_unlocked: bool,
        is_orphaned: bool = False,
        silence: float = 0.0,
    ) -> Recovered | None:
        who: Params = {"executor_id": executor_id}
        signs = {"is_unlocked": is_unlocked, "silence": silence}
        if not is_orphaned and not session.run("declare_dead", who | signs):
            return None
        self._end_sessions(session, executor_id)
        limits = {
            "max_recovery_attempts": get_settings().max_recovery_attempts,
            "limit": RECOVERY_LIMIT,
        }
        recovered: list[Row] = []
        while found := session.run("recover_workflows", who | limits):
            recovered += found
        self.unregister_executor(session, executor_id)
        return Recovered(
            enqueued=[row[0] for row in recovered if row[1] == Status.ENQUEUED],
            given_up=[row[0] for row in recovered if row[1] != Status.ENQUEUED],
            lanes=rows.lanes(recovered, 2),
        )

    def _end_sessions(self, session: Session, executor_id: str) -> None:
        """End them and see them gone: what they were writing is then committed, or never is."""
        name = {"application_name": application_name(executor_id)}
        for _ in range(END_SESSIONS_LOOKS):
            if not session.run("end_sessions", name):
                return
            time.sleep(END_SESSIONS_PAUSE)

    def list_orphans(self, session: Session) -> list[str]:
        return [row[0] for row in session.run("list_orphans")]

    def advance(self, seconds: float) -> None:
        session = self.session()
        with session.transaction():
            for name in ("advance_workflows", "advance_checkpoints"):
                session.run(name, {"seconds": seconds})

    def delete_finished(self, session: Session, age: float, limit: int) -> int:
        return len(session.run("delete_finished", {"age": age, "limit": limit}))

    def _insert_workflows(self, new: Sequence[NewWorkflow]) -> set[str]:
        if len(new) == 1 and new[0].is_due and not self.is_in_transaction():
            return self._insert_and_tell(new[0])
        params = rows.transposed([rows.workflow_params(one) for one in new])
        inserted = {row[0] for row in self.session().run("insert_workflows", params)}
        lanes = self._lanes_of([one for one in new if one.workflow_id in inserted])
        self._after_commit(Hints(lanes=lanes))
        return inserted

    def _insert_and_tell(self, new: NewWorkflow) -> set[str]:
        """Two transactions in one message to the server: the workflow, and who is told of it."""
        session, lanes = self.session(), self._lanes_of([new])
        insert: Statement = ("insert_workflow", rows.workflow_params(new))
        try:
            inserted = {row[0] for row in self._run_and_notify(session, insert, lanes)}
        except errors.StoreError as error:
            # Hints only: a lost one must not fail a start that is committed.
            if session.run("read_token", {"workflow_id": new.workflow_id}) != [(new.token,)]:
                raise
            logger.warning("Nobody was told that %r is enqueued: %s", new.workflow_id, error)
            inserted = {new.workflow_id}
        if inserted:
            self.wakeups.notify_lanes(lanes)
        return inserted

    def _run_and_notify(
        self, session: AskingSession, statement: Statement, lanes: Sequence[Lane]
    ) -> list[Row]:
        if not get_settings().listen:
            return session.run(*statement)
        return session.run_and_notify(statement, ENQUEUED_CHANNEL, _lane_payloads(lanes))

    def _insert_messages(self, messages: Sequence[NewMessage]) -> set[str]:
        params = rows.transposed([rows.message_params(one) for one in messages])
        return {row[0] for row in self.session().run("send_messages", params)}

    def _cancel(self, workflow_ids: Sequence[str]) -> set[str]:
        params = {"workflow_ids": list(workflow_ids)}
        return {row[0] for row in self.session().run("cancel_workflows", params)}

    def _resume(self, workflow_id: str) -> list[Row]:
        return self.session().run("resume_workflows", {"workflow_ids": [workflow_id]})

    def _notify_and_wake(
        self, session: Session, keys: Sequence[str], lanes: Sequence[Lane], wakes: Sequence[Wake]
    ) -> list[Lane]:
        work = _notifications(keys, lanes)
        if wakes:
            work.append(("wake_waiting", _wake_params(wakes)))
        found = session.run_apart(work) if work else []
        return rows.lanes(found[-1]) if wakes else []

    def hold_lock(self, session: Session, executor_id: str) -> bool:
        if get_settings().transaction_pooler:
            return False
        return bool(session.run("take_lock", {"lock_key": lock_key(executor_id)})[0][0])

    def release_lock(self, session: Session, executor_id: str) -> None:
        """It goes with the session."""


def _notifications(keys: Sequence[str], lanes: Sequence[Lane]) -> list[Statement]:
    if not get_settings().listen or not (keys or lanes):
        return []
    # The longest key, of two names of 255 characters, is far below NOTIFY's 8,000 bytes.
    channels = [CHANGED_CHANNEL] * len(keys) + [ENQUEUED_CHANNEL] * len(lanes)
    return [("notify", {"channels": channels, "payloads": [*keys, *_lane_payloads(lanes)]})]


def _lane_payloads(lanes: Sequence[Lane]) -> list[str]:
    return [json.dumps(lane) for lane in lanes]


def _wake_params(wakes: Sequence[Wake]) -> Params:
    return {
        "kinds": [wake.kind.value for wake in wakes],
        "target_ids": [wake.workflow_id for wake in wakes],
        "names": [wake.name for wake in wakes],
    }
