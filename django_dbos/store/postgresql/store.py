"""The store on PostgreSQL: psycopg 3 connections of the executor's own, two round trips a batch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections

from django_dbos.conf import get_settings
from django_dbos.core.batch.fast_path import FastWrite, may_take_fast_path, note_written
from django_dbos.core.batch.lookups import Facts, FoundCheckpoint, Questions
from django_dbos.core.batch.notifications import Notifications, keys_of
from django_dbos.core.batch.plan import Plan
from django_dbos.core.ids import lock_key, new_uuid, new_workflow_ids
from django_dbos.core.records import (
    DONE,
    Checkpoint,
    Claim,
    ExecutorInfo,
    Lane,
    NewMessage,
    NewWorkflow,
    Wake,
    Write,
)
from django_dbos.core.status import Status
from django_dbos.store import errors, rows, statements
from django_dbos.store.arrays import array
from django_dbos.store.base import Store
from django_dbos.store.columns import CHECKPOINT, CLAIM, MESSAGE, NEW_WORKFLOW
from django_dbos.store.listener import pack_keys
from django_dbos.store.postgresql.connections import Pooling, application_name, keepalives
from django_dbos.store.postgresql.listener import CHANGED_CHANNEL, ENQUEUED_CHANNEL
from django_dbos.store.postgresql.sessions import ClientSession, WorkerSession, notify_statements
from django_dbos.store.pubsub import Wakeups
from django_dbos.store.records import HeartbeatReport, Recovered
from django_dbos.store.sessions import Params, Row, Session, Statement

logger = logging.getLogger("django_dbos.store")

# Rows of one statement, and the part of a heartbeat's interval after which the next look goes on.
RECOVERY_LIMIT, RECOVERY_SHARE = 1_000, 0.2
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


# Statements for a single row of what others write any number of.
ONE = {
    "record_checkpoints": "record_checkpoint",
    "append_entries": "append_entry",
    "record_events": "record_event",
    "receive_messages": "receive_message",
    "end_workflows": "end_workflow",
}
# Batches up to this size carry their own NOTIFY; larger ones leave it to the notifier, which has a
# connection of its own.
FEW = 2


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
    batches = rows.plan_rows(plan)
    session.send_all([(name, batch.arrays()) for name, batch in batches.items()])
    if plan.released:
        held = {"workflow_ids": plan.released, "executor_id": executor_id}
        plan.lanes += rows.lanes(session.run("release_workflows", held), 1)


def _insert_children(session: Session, executor_id: str, plan: Plan) -> None:
    """All of them: one whose id was taken since the look isn't there, and must not seem to be."""
    if not plan.workflows:
        return
    new = [workflow for workflow, _ in plan.workflows]
    holders = [executor_id if is_reserved else None for _, is_reserved in plan.workflows]
    inserted = session.run("insert_workflows", rows.new_workflow_rows(new, holders).arrays())
    if len(inserted) < len(new):
        missing = {workflow.workflow_id for workflow in new} - {row[0] for row in inserted}
        raise errors.Conflict(f"Somebody else has just taken an id of {sorted(missing)}.")


class PostgresStore(Store):
    """PostgreSQL: many executors, LISTEN and NOTIFY, locks that are skipped."""

    vendor = "postgresql"
    supports_notifications = True

    def __init__(self, alias: str, wakeups: Wakeups) -> None:
        super().__init__(alias, wakeups)
        self._warned_of: set[str] = set()
        self._pooling = Pooling(alias, on_found=wakeups.stop)

    @property
    def is_pooled(self) -> bool:
        return self._pooling.is_on

    def look_for_pooler(self) -> None:
        try:
            self._pooling.look(get_settings().lease / 2)
        except (DatabaseError, InterfaceError) as error:
            # There may be no connection left but for work.
            logger.info("It isn't known whether a pooler is in between: %r", error)

    def session(self) -> ClientSession:
        return ClientSession(self.alias, self.vendor)

    def name_process(self, executor_id: str) -> None:
        for alias in connections:
            if connections[alias].vendor == self.vendor:
                options = connections.settings[alias].setdefault("OPTIONS", {})
                options["application_name"] = application_name(executor_id)
                for name, value in keepalives(get_settings().lease).items():
                    options.setdefault(name, value)

    def connect(self, executor_id: str, purpose: str) -> WorkerSession:
        lease = get_settings().lease
        return WorkerSession(self.alias, executor_id, purpose, pooling=self._pooling, lease=lease)

    def apply(
        self, session: Session, executor_id: str, writes: Sequence[Write], *, is_repeat: bool
    ) -> Plan:
        if is_repeat or not may_take_fast_path(writes):
            return super().apply(session, executor_id, writes, is_repeat=is_repeat)
        fast = cast(Sequence[FastWrite], writes)
        keys = _keys_to_notify(session, fast)
        try:
            plan, left = self._take_fast_path(session, executor_id, fast, keys)
        except errors.Unavailable:
            raise
        except errors.StoreError:
            if not keys:
                raise
            # Perhaps it was only the notification that failed.
            return super().apply(session, executor_id, writes, is_repeat=True)
        if left:
            # The notification came before the rows that are still missing: notify again.
            plan.notified = []
            # The few that failed take the slow path, which finds out why.
            rest = [writes[position] for position in left]
            try:
                decided = super().apply(session, executor_id, rest, is_repeat=False)
            except (errors.Unavailable, errors.LockTimeout):
                if len(left) == len(writes):
                    raise
                # The others are committed, and their waiters must be notified.
                plan.deferred += left
            else:
                plan.absorb(left, decided)
        return plan

    def _take_fast_path(
        self,
        session: Session,
        executor_id: str,
        writes: Sequence[FastWrite],
        keys: list[str],
    ) -> tuple[Plan, list[int]]:
        """Write in one round trip, commit included; return the plan and what was not written."""
        plan, left = Plan(notified=keys), []
        work = _fast_path_work(executor_id, writes)
        if keys:
            own = cast(WorkerSession, session)
            found = own.run_and_notify(work, CHANGED_CHANNEL, pack_keys(keys))
        else:
            found = session.run_all(work)
        written = {row[:2]: row for rows_found in found for row in rows_found}
        for position, write in enumerate(writes):
            row = written.get(write.place)
            if row is None:
                left.append(position)
            plan.answers.append(DONE if row is None else note_written(plan, write, row))
        return plan, left

    def look_up(self, session: Session, executor_id: str, asked: Questions) -> Facts:
        return look(session, executor_id, asked)

    def carry_out(self, session: Session, executor_id: str, plan: Plan) -> None:
        write(session, executor_id, plan)

    def record_atomic_step(
        self, executor_id: str, claim_number: int, checkpoint: Checkpoint
    ) -> bool:
        params = CHECKPOINT.params(checkpoint) | {"executor_id": executor_id}
        return bool(self.session().run("record_atomic_checkpoint", params))

    def record_for_history(self, token: UUID, checkpoint: Checkpoint) -> None:
        params = CHECKPOINT.params(checkpoint) | {"token": token}
        self.session().run("record_for_history", params)

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
        claimed = sorted(session.run("claim_workflows", params), key=itemgetter(-1))
        last = claimed[-1][-1] if claimed else above
        return [CLAIM.read(row) for row in claimed], last

    def claim_workflow(self, session: Session, executor_id: str, workflow_id: str) -> Claim | None:
        params = {"executor_id": executor_id, "workflow_id": workflow_id}
        return next(map(CLAIM.read, session.run("claim_workflow", params)), None)

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
        return [CLAIM.read(row) for row in session.run("claim_suspect", params)]

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

    def _ids(self, workflow_ids: Sequence[str]) -> list[str]:
        return list(workflow_ids)

    def release_workflows(
        self, session: Session, executor_id: str, workflow_ids: Sequence[str]
    ) -> list[Lane]:
        params = {"executor_id": executor_id, "workflow_ids": list(workflow_ids)}
        return rows.lanes(session.run("release_workflows", params), 1)

    def register_executor(self, session: Session, info: ExecutorInfo, *, has_lock: bool) -> None:
        session.run("register_executor", asdict(info) | {"has_lock": has_lock})

    def deregister_executor(self, session: Session, executor_id: str) -> None:
        session.run("deregister_executor", {"executor_id": executor_id})

    def heartbeat(
        self,
        session: Session,
        executor_id: str,
        previous: HeartbeatReport | None,
        *,
        is_thorough: bool = True,
    ) -> HeartbeatReport:
        params = {
            "executor_id": executor_id,
            "is_thorough": is_thorough,
            "message_mark": previous.message_mark if previous else None,
            "event_mark": previous.event_mark if previous else None,
        }
        row = session.run("heartbeat", params)[0]
        found = dict(zip(LOOK_COLUMNS, row, strict=True))
        for column in ("expired_executors", "unlocked_executors"):
            found[column] = {one: float(age) for one, age in found[column]}
        return HeartbeatReport(**found)

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
        until = time.monotonic() + get_settings().heartbeat_interval * RECOVERY_SHARE
        while found := session.run("recover_workflows", who | limits):
            recovered += found
            if time.monotonic() > until:
                break
        left = len(self.list_held(session, executor_id))
        if not left:
            self.deregister_executor(session, executor_id)
        return Recovered(
            left=left,
            enqueued=[row[0] for row in recovered if row[1] == Status.ENQUEUED],
            given_up=[row[0] for row in recovered if row[1] != Status.ENQUEUED],
            lanes=rows.lanes(recovered, 2),
        )

    def _end_sessions(self, session: Session, executor_id: str) -> None:
        """End them and see them gone: what they were writing is then committed, or never is."""
        name = {"application_name": application_name(executor_id)}
        for _ in range(END_SESSIONS_LOOKS):
            try:
                found = session.run("end_sessions", name)
            except errors.BadStatement as error:
                if not errors.is_of_permission(error):
                    raise
                found = [("another", False)]
            if not all(is_ended for _, is_ended in found):
                self._warn_of_sessions({role for role, is_ended in found if not is_ended})
            if not any(is_ended for _, is_ended in found):
                return
            time.sleep(END_SESSIONS_PAUSE)

    def _warn_of_sessions(self, roles: set[str]) -> None:
        """Once of each role: the fence holds all the same, only locks last longer."""
        for role in sorted(roles - self._warned_of):
            self._warned_of.add(role)
            logger.warning(
                "Database sessions that a dead executor left under role %r can't be ended by this "
                "worker's role; what they have locked stays so until they end by themselves. GRANT "
                "that role, or pg_signal_backend, to the worker's role.",
                role,
            )

    def list_orphans(self, session: Session) -> list[str]:
        return [row[0] for row in session.run("list_orphans")]

    def advance(self, seconds: float) -> None:
        session = self.session()
        with session.transaction():
            for name in ("advance_workflows", "advance_checkpoints"):
                session.run(name, {"seconds": seconds})

    def mark_deleted(self, session: Session, age: float, limit: int) -> list[str]:
        return [row[0] for row in session.run("mark_deleted", {"age": age, "limit": limit})]

    def delete_part(
        self, session: Session, part: str, workflow_ids: Sequence[str], limit: int
    ) -> int:
        params = {"workflow_ids": list(workflow_ids), "limit": limit}
        return len(session.run(f"delete_{part}", params))

    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> int:
        return len(session.run("delete_workflows", {"workflow_ids": list(workflow_ids)}))

    def _insert_workflows(self, new: Sequence[NewWorkflow]) -> set[str]:
        if len(new) == 1 and new[0].is_due and self._commits_at_once():
            return self._insert_and_tell(new[0])
        params = rows.new_workflow_rows(new, [None] * len(new)).arrays()
        inserted = {row[0] for row in self.session().run("insert_workflows", params)}
        lanes = self._lanes_of([one for one in new if one.workflow_id in inserted])
        self._after_commit(Notifications(lanes=lanes))
        return inserted

    def start_many(self, like: NewWorkflow, inputs: Sequence[str]) -> list[str]:
        if len(inputs) == 1 or like.deduplication_id is not None:
            return super().start_many(like, inputs)
        ids = new_workflow_ids(len(inputs))
        params = {**NEW_WORKFLOW.params(like), "ids": array(ids), "inputs": array(inputs)}
        # One statement is all or nothing by itself; in a transaction that goes on after its error.
        with nullcontext() if self._commits_at_once() else self.session().transaction():
            self.session().run("insert_alike", params)
            self._after_commit(Notifications(lanes=self._lanes_of([like])))
        return ids

    def _commits_at_once(self) -> bool:
        """Whether the caller has no transaction: neither atomic() nor one without autocommit."""
        return connections[self.alias].get_autocommit()

    def _insert_and_tell(self, new: NewWorkflow) -> set[str]:
        """Two transactions in one message to the server: the workflow, and who is told of it."""
        session, lanes, mark = self.session(), self._lanes_of([new]), str(new.token)
        notify, payloads = notify_statements(ENQUEUED_CHANNEL, _lane_payloads(lanes))
        params = {**NEW_WORKFLOW.params(new), **payloads}
        inserted, _ = session.run_then(("insert_workflow", params), notify, mark)
        if inserted is None:
            inserted = self._workflows().filter(token=new.token, pk=new.workflow_id).count()
        if not inserted:
            return set()
        self.wakeups.notify_lanes(lanes)
        return {new.workflow_id}

    def _insert_messages(
        self, messages: Sequence[NewMessage], notifications: Notifications
    ) -> set[str]:
        if len(messages) == 1 and self._commits_at_once():
            return self._send_and_tell(messages[0], notifications)
        params = MESSAGE.arrays(messages)
        missing = {row[0] for row in self.session().run("send_messages", params)}
        if not missing:
            self._after_commit(notifications)
        return missing

    def _send_and_tell(self, message: NewMessage, notifications: Notifications) -> set[str]:
        """See _insert_and_tell()."""
        session, mark = self.session(), new_uuid().hex
        notify, payloads = notify_statements(CHANGED_CHANNEL, pack_keys(notifications.all_keys))
        params = {**MESSAGE.params(message), **payloads}
        # The same parameters say who may wait for it.
        wake = statements.load(self.vendor, "wake_receiver")
        sent, woken = session.run_then(("send_message", params), [*notify, wake], mark)
        if not sent:
            # It was sent before, or to nobody; or that isn't known, and the receiver tells.
            known = session.run("read_status", {"workflow_id": message.workflow_id})
            return set() if known else {message.workflow_id}
        self._tell_here(notifications.all_keys, [])
        # Not tell(): if that fails, the message is sent all the same.
        self._after_commit(Notifications(lanes=rows.lanes(woken)))
        return set()

    def _cancel(self, workflow_ids: Sequence[str]) -> set[str]:
        params = {"workflow_ids": list(workflow_ids)}
        return {row[0] for row in self.session().run("cancel_workflows", params)}

    def _enqueue_delayed(self, workflow_id: str) -> list[Lane]:
        return rows.lanes(self.session().run("enqueue_delayed", {"workflow_id": workflow_id}))

    def _resume(self, workflow_ids: Sequence[str]) -> list[Row]:
        return self.session().run("resume_workflows", {"workflow_ids": list(workflow_ids)})

    def _notify_with_commit(self, session: Session, notifications: Notifications) -> None:
        # The server does so by itself: what a transaction notifies of goes out when it commits.
        session.run_all(_notifications(notifications.news, notifications.lanes))

    def _notify_and_wake(
        self, session: Session, keys: Sequence[str], lanes: Sequence[Lane], wakes: Sequence[Wake]
    ) -> list[Lane]:
        work = _notifications(keys, lanes)
        if wakes:
            work.append(("wake_waiting", _wake_params(wakes)))
        found = session.run_apart(work) if work else []
        return rows.lanes(found[-1]) if wakes else []

    def hold_lock(self, session: Session, executor_id: str) -> bool:
        if self.is_pooled:
            return False
        return bool(session.run("take_lock", {"lock_key": lock_key(executor_id)})[0][0])

    def release_lock(self, session: Session, executor_id: str) -> None:
        """It goes with the session."""


def _fast_path_work(executor_id: str, writes: Sequence[FastWrite]) -> list[Statement]:
    """Return the statements. One row has its own: without arrays it takes a third less time."""
    held: Params = {"executor_id": executor_id}
    return [
        (name, batch.arrays() | held) if len(batch) > 1 else (ONE[name], batch.first() | held)
        for name, batch in rows.fast_path_rows(writes).items()
    ]


def _keys_to_notify(session: Session, writes: Sequence[FastWrite]) -> list[str]:
    """Return the keys of a few writes whose notification can go in the same message.

    That takes a session of the executor's own.
    """
    can_notify = isinstance(session, WorkerSession) and not session.is_pooled
    if len(writes) > FEW or not can_notify or not get_settings().listen:
        return []
    return keys_of(writes)


def _notifications(keys: Sequence[str], lanes: Sequence[Lane]) -> list[Statement]:
    if not get_settings().listen or not (keys or lanes):
        return []
    packed = pack_keys(keys)
    params = {
        "channels": array([CHANGED_CHANNEL] * len(packed) + [ENQUEUED_CHANNEL] * len(lanes)),
        "payloads": array([*packed, *_lane_payloads(lanes)]),
    }
    return [("notify", params)]


def _lane_payloads(lanes: Sequence[Lane]) -> list[str]:
    return [_lane_payload(lane) for lane in lanes]


@lru_cache
def _lane_payload(lane: Lane) -> str:
    return json.dumps(lane)


def _wake_params(wakes: Sequence[Wake]) -> Params:
    return {
        "kinds": array([wake.kind.value for wake in wakes]),
        "target_ids": array([wake.workflow_id for wake in wakes]),
        "names": array([wake.name for wake in wakes]),
    }
