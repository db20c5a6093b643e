"""The store on SQLite: Django's connections, one write lock, and the machine's clock.

One machine, so the clock of the process is the database's (SQLite's 'now' reads the same one).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, cast
from uuid import UUID

from django.db import connections

from django_dbos.conf import get_settings
from django_dbos.core.batch.fast_path import may_take_fast_path, note_written
from django_dbos.core.batch.lookups import Facts, FoundCheckpoint, Questions
from django_dbos.core.batch.notifications import Notifications, wakes_of
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import (
    Checkpoint,
    Claim,
    ExecutorInfo,
    Finish,
    Lane,
    NewMessage,
    NewWorkflow,
    RecordStep,
    Wake,
    Write,
    run_key,
)
from django_dbos.fields import instant_to_text
from django_dbos.store import rows
from django_dbos.store.base import PARTS, Store
from django_dbos.store.columns import CHECKPOINT, CLAIM, FINISH, MESSAGE, NEW_WORKFLOW
from django_dbos.store.listener import pack_keys
from django_dbos.store.pubsub import Wakeups
from django_dbos.store.records import HeartbeatReport, Recovered
from django_dbos.store.sessions import Params, Row, Session
from django_dbos.store.sqlite.file_locks import FileLocks
from django_dbos.store.sqlite.sessions import (
    ClientSession,
    SqliteSession,
    WorkerConnection,
    WorkerSession,
    now_text,
    row_names,
    to_text,
)
from django_dbos.store.sqlite.socket_notifier import SocketNotifier

AddRows = Callable[[Facts, list[Row]], None]

# SQLite's own word for it.
NO_LIMIT = -1
# The writes that take the fast path here: nearly all writes of a busy worker.
StepOrEnd = RecordStep | Finish
STEP_OR_END = {RecordStep, Finish}
# As in the VALUES of their statements. The instant at which a step began comes last.
STEP_VALUES = CHECKPOINT.getter(row_names("record_checkpoints")[:-1])
END_VALUES = FINISH.getter(row_names("end_workflows"))


class _NotAllWritten(Exception):
    """Something stands against one of the writes; what, isn't known."""


class SqliteStore(Store):
    """SQLite: one machine, one writer at a time, polling instead of notifications."""

    vendor = "sqlite"
    writes_in_step_transaction = True

    def __init__(
        self, alias: str, wakeups: Wakeups, own: WorkerConnection, notifier: SocketNotifier
    ) -> None:
        super().__init__(alias, wakeups)
        self._own = own
        self._notifier = notifier
        self._locks = FileLocks(lambda: str(connections[alias].settings_dict["NAME"]))

    @property
    def is_private(self) -> bool:
        connection: Any = connections[self.alias]
        return bool(connection.is_in_memory_db())

    def leave_to_parent(self) -> None:
        self._locks.close()
        self._own.leave_to_parent()

    def session(self) -> ClientSession:
        return ClientSession(self.alias, self.vendor)

    def connect(self, executor_id: str, purpose: str) -> WorkerSession:
        return WorkerSession(self._own)

    def apply(
        self, session: Session, executor_id: str, writes: Sequence[Write], *, is_repeat: bool
    ) -> Plan:
        if (
            not is_repeat
            and may_take_fast_path(writes)
            and STEP_OR_END.issuperset(map(type, writes))
        ):
            with suppress(_NotAllWritten):
                return self._take_fast_path(session, executor_id, cast(Sequence[StepOrEnd], writes))
        return super().apply(session, executor_id, writes, is_repeat=is_repeat)

    def _take_fast_path(
        self, session: Session, executor_id: str, writes: Sequence[StepOrEnd]
    ) -> Plan:
        """Write fenced steps and ends in one transaction: all of them, or none."""
        plan, own = Plan(), cast(SqliteSession, session)
        with session.transaction():
            for name, new in _fast_path_rows(writes).items():
                if own.run_rows(name, new, {"executor_id": executor_id}) < len(new):
                    raise _NotAllWritten
            plan.answers = [note_written(plan, write, ()) for write in writes]
            self._wake(session, plan)
        return plan

    def follow_up(self, session: Session, plans: Sequence[Plan]) -> None:
        """Tell of what was committed: what waits for it was woken in the same transactions."""
        notifications = Notifications.merged([Notifications.of_plan(plan) for plan in plans])
        self._tell_here(notifications.all_keys, notifications.lanes)
        self._notifier.send()

    def look_up(self, session: Session, executor_id: str, asked: Questions) -> Facts:
        ids = json.dumps(list(asked.claims))
        held = session.run("lock_claims", {"workflow_ids": ids, "executor_id": executor_id})
        facts = Facts(held={row[0]: (row[1], bool(row[2])) for row in held})
        for name, params, add in _lookups(asked):
            add(facts, session.run(name, params))
        if len(facts.held) < len(asked.claims):
            missing = session.run("look_at_claims", {"workflow_ids": ids})
            rows.add_lost(facts, missing, asked.claims, executor_id)
        return facts

    def carry_out(self, session: Session, executor_id: str, plan: Plan) -> None:
        self._insert(
            session,
            [(new, executor_id if is_reserved else None) for new, is_reserved in plan.workflows],
        )
        for name, batch in rows.plan_rows(plan).items():
            cast(SqliteSession, session).run_many(name, [_adapted(row) for row in batch.each()])
        if plan.released:
            plan.lanes += self.release_workflows(session, executor_id, plan.released)
        self._wake(session, plan)

    def _wake(self, session: Session, plan: Plan) -> None:
        """Wake what waits for what a plan has written, at the price of no commit."""
        if wakes := wakes_of(plan):
            plan.lanes += self._wake_waiting(session, wakes)
        if plan.suspended:
            # What they wait for may have come while they were still running.
            suspended = [one.workflow_id for one in plan.suspended]
            plan.lanes += self.wake_satisfied(session, suspended)

    def record_atomic_step(
        self, executor_id: str, claim_number: int, checkpoint: Checkpoint
    ) -> bool:
        params = _adapted(CHECKPOINT.params(checkpoint)) | {"executor_id": executor_id}
        return bool(self.session().run("record_atomic_checkpoint", params))

    def record_for_history(self, token: UUID, checkpoint: Checkpoint) -> None:
        params = _adapted(CHECKPOINT.params(checkpoint) | {"token": token})
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
            "names": json.dumps(list(names)),
            "above": above,
            "limit": limit,
        }
        # A transaction: what can't be read isn't claimed.
        with session.transaction():
            claimed = sorted(session.run("claim_workflows", params), key=itemgetter(-1))
            last = claimed[-1][-1] if claimed else above
            return [_claim(row) for row in claimed], last

    def claim_workflow(self, session: Session, executor_id: str, workflow_id: str) -> Claim | None:
        params = {"executor_id": executor_id, "workflow_id": workflow_id}
        with session.transaction():
            return next(map(_claim, session.run("claim_workflow", params)), None)

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
            "queue_names": json.dumps(list(queue_names)),
            "names": json.dumps(list(names)),
        }
        with session.transaction():
            return [_claim(row) for row in session.run("claim_suspect", params)]

    def load_histories(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> dict[str, list[FoundCheckpoint]]:
        ids = json.dumps(list(workflow_ids))
        return rows.by_workflow(session.run("load_checkpoints", {"workflow_ids": ids}))

    def load_ended_streams(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> dict[str, set[str]]:
        ids = json.dumps(list(workflow_ids))
        return rows.keys_by_workflow(session.run("load_ended_streams", {"workflow_ids": ids}))

    def list_held(self, session: Session, executor_id: str) -> dict[str, int]:
        held = session.run("list_held", {"executor_id": executor_id})
        return {row[0]: row[1] for row in held}

    def _ids(self, workflow_ids: Sequence[str]) -> str:
        return json.dumps(list(workflow_ids))

    def release_workflows(
        self, session: Session, executor_id: str, workflow_ids: Sequence[str]
    ) -> list[Lane]:
        params = {"workflow_ids": json.dumps(list(workflow_ids)), "executor_id": executor_id}
        return rows.lanes(self._run_with_place(session, "release_workflows", params), 1)

    def register_executor(self, session: Session, info: ExecutorInfo, *, has_lock: bool) -> None:
        lease = {"lease_microseconds": int(info.lease * 1_000_000)}
        session.run("register_executor", asdict(info) | lease | {"has_lock": has_lock})

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
        found = session.run("heartbeat", {"executor_id": executor_id})
        row = found[0] if found else (False, None, None, 0, "{}", "{}", False)
        return HeartbeatReport(
            is_registered=bool(found),
            has_enqueued=bool(row[0]),
            next_due=row[1],
            next_deadline=row[2],
            held_count=row[3],
            expired_executors=json.loads(row[4]),
            unlocked_executors={
                one: age for one, age in json.loads(row[5]).items() if self._locks.is_free(one)
            },
            has_lost_wakeup=bool(row[6]),
        )

    def enqueue_due(self, session: Session, limit: int) -> list[Lane]:
        return rows.lanes(self._run_with_place(session, "enqueue_due", {"limit": limit}))

    def expire_deadlines(self, session: Session, limit: int) -> list[str]:
        return [row[0] for row in session.run("expire_deadlines", {"limit": limit})]

    def wake_satisfied(
        self, session: Session, workflow_ids: Sequence[str] | None = None
    ) -> list[Lane]:
        ids = None if workflow_ids is None else json.dumps(list(workflow_ids))
        found = self._run_with_place(session, "wake_satisfied", {"workflow_ids": ids})
        return rows.lanes(found)

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
        with session.transaction():
            signs = {"is_unlocked": is_unlocked, "silence": silence}
            dead = is_orphaned or session.run("declare_dead", who | signs)
            if not dead:
                return None
            found = self._run_with_place(session, "recover_workflows", who)
            params = {
                "workflow_ids": json.dumps([row[0] for row in found]),
                "max_recovery_attempts": get_settings().max_recovery_attempts,
            }
            given_up = {row[0] for row in session.run("give_up", params)}
            self.deregister_executor(session, executor_id)
        return Recovered(
            enqueued=[row[0] for row in found if row[0] not in given_up],
            given_up=sorted(given_up),
            lanes=rows.lanes(found, 2),
        )

    def list_orphans(self, session: Session) -> list[str]:
        return [row[0] for row in session.run("list_orphans")]

    def advance(self, seconds: float) -> None:
        session, sooner = self.session(), {"modifier": f"-{seconds:.6f} seconds"}
        with session.transaction():
            for name in ("advance_workflows", "advance_checkpoints"):
                session.run(name, sooner)

    def mark_deleted(self, session: Session, age: float, limit: int) -> list[str]:
        params: Params = {"before": now_text(-age), "limit": limit}
        return [row[0] for row in session.run("mark_deleted", params)]

    def delete_part(
        self, session: Session, part: str, workflow_ids: Sequence[str], limit: int
    ) -> int:
        params = {"workflow_ids": json.dumps(list(workflow_ids)), "limit": limit}
        return len(session.run(f"delete_{part}", params))

    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> int:
        ids = json.dumps(list(workflow_ids))
        with session.transaction():
            for part in PARTS:
                self.delete_part(session, part, workflow_ids, NO_LIMIT)
            return len(session.run("delete_workflows", {"workflow_ids": ids}))

    def _notify_and_wake(
        self, session: Session, keys: Sequence[str], lanes: Sequence[Lane], wakes: Sequence[Wake]
    ) -> list[Lane]:
        """Other processes look at all that they wait for when the file has changed."""
        woken = self._wake_waiting(session, wakes) if wakes else []
        runs = [key for key in keys if key.startswith(run_key(""))]
        self._notifier.send([packed.encode() for packed in pack_keys(runs)])
        return woken

    def _wake_waiting(self, session: Session, wakes: Sequence[Wake]) -> list[Lane]:
        there = json.dumps([(one.kind.value, one.workflow_id, one.name) for one in wakes])
        return rows.lanes(self._run_with_place(session, "wake_waiting", {"wakes": there}))

    def hold_lock(self, session: Session, executor_id: str) -> bool:
        return self._locks.hold(executor_id)

    def release_lock(self, session: Session, executor_id: str) -> None:
        self._locks.release(executor_id)

    def _run_with_place(self, session: Session, name: str, params: Params) -> list[Row]:
        """Run what enqueues; all of one statement share a place, and keep their order by id."""
        with session.transaction():
            ((place,),) = session.run("next_place")
            found = session.run(name, params | {"place": place})
            if found:
                self._deal_places(session, 1)
        return found

    def _deal_places(self, session: Session, count: int) -> int:
        place: int = session.run("deal_places", {"count": count})[0][0]
        return place

    def _insert(self, session: Session, new: Sequence[tuple[NewWorkflow, str | None]]) -> set[str]:
        if not new:
            return set()
        first = self._deal_places(session, len(new)) - len(new) + 1
        inserted: set[str] = set()
        for place, (one, executor_id) in enumerate(new, first):
            params = _workflow(one, executor_id) | {"queue_sequence": place}
            inserted |= {row[0] for row in session.run("insert_workflows", params)}
        return inserted

    def _insert_workflows(self, new: Sequence[NewWorkflow]) -> set[str]:
        session = self.session()
        with session.transaction():
            inserted = self._insert(session, [(one, None) for one in new])
            lanes = self._lanes_of([one for one in new if one.workflow_id in inserted])
            self._after_commit(Notifications(lanes=lanes))
        return inserted

    def _insert_messages(
        self, messages: Sequence[NewMessage], notifications: Notifications
    ) -> set[str]:
        session, wanted = self.session(), {one.workflow_id for one in messages}
        with session.transaction():
            found = session.run("look_at_claims", {"workflow_ids": json.dumps(sorted(wanted))})
            missing = wanted - {row[0] for row in found}
            if not missing:
                session.run_many("insert_messages", list(map(MESSAGE.params, messages)))
                lanes = self._wake_waiting(session, notifications.wakes)
                self._after_commit(Notifications(keys=notifications.all_keys, lanes=lanes))
        return missing

    def _cancel(self, workflow_ids: Sequence[str]) -> set[str]:
        params = {"workflow_ids": json.dumps(list(workflow_ids))}
        return {row[0] for row in self.session().run("cancel_workflows", params)}

    def _enqueue_delayed(self, workflow_id: str) -> list[Lane]:
        params = {"workflow_id": workflow_id}
        return rows.lanes(self._run_with_place(self.session(), "enqueue_delayed", params))

    def _resume(self, workflow_ids: Sequence[str]) -> list[Row]:
        params = {"workflow_ids": json.dumps(list(workflow_ids))}
        return self._run_with_place(self.session(), "resume_workflows", params)


def _fast_path_rows(writes: Sequence[StepOrEnd]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each fast-path statement."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    now = datetime.now(UTC)
    for write in writes:
        match write:
            case RecordStep():
                step = write.checkpoint
                started_at = to_text(now - timedelta(seconds=step.duration))
                row = (*STEP_VALUES(step), started_at)
                found.setdefault("record_checkpoints", []).append(row)
            case Finish():
                found.setdefault("end_workflows", []).append(END_VALUES(write))
    return found


def _lookups(asked: Questions) -> list[tuple[str, Params, AddRows]]:
    """The questions that a batch really has."""
    places: list[tuple[str, Any, AddRows]] = [
        ("find_checkpoints", asked.checkpoints, rows.add_checkpoints),
        ("find_events", sorted(asked.events), rows.add_events),
        ("find_deduplicated", sorted(asked.deduplications), rows.add_deduplications),
        ("find_tails", sorted(asked.tails), rows.add_tails),
    ]
    lookups: list[tuple[str, Params, AddRows]] = [
        (name, {"places": json.dumps(wanted)}, add) for name, wanted, add in places if wanted
    ]
    for (workflow_id, topic), count in asked.messages.items():
        receiver: Params = {"workflow_id": workflow_id, "topic": topic, "limit": count}
        lookups.append(("find_messages", receiver, rows.add_messages))
    if asked.workflows:
        ids = json.dumps(sorted(asked.workflows))
        lookups.append(("find_workflows", {"workflow_ids": ids}, rows.add_workflows))
    if asked.write_ids:
        params = {
            "workflow_ids": json.dumps(list(asked.claims)),
            "write_ids": json.dumps([one.hex for one in asked.write_ids]),
        }
        lookups.append(("find_writes", params, _add_written))
    return lookups


def _add_written(facts: Facts, found: list[Row]) -> None:
    facts.written = {UUID(row[0]) for row in found}


def _adapted(params: Params) -> Params:
    """Return parameters as SQLite keeps them: UUIDs as hex, instants that PostgreSQL computes."""
    adapted = {
        name: value.hex if isinstance(value, UUID) else value for name, value in params.items()
    }
    if "duration" in params:
        adapted["started_at"] = now_text(-params["duration"])
    if "timeout" in params:
        timeout = params["timeout"]
        adapted["deadline_at"] = None if timeout is None else now_text(timeout)
    return adapted


def _workflow(new: NewWorkflow, executor_id: str | None) -> Params:
    due_at = None if new.delay is None else now_text(new.delay)
    if new.run_at is not None:
        due_at = instant_to_text(new.run_at)
    timeout = new.timeout
    is_running = executor_id is not None and timeout is not None
    return NEW_WORKFLOW.params(new) | {
        "executor_id": executor_id,
        "token": new.token.hex,
        "due_at": due_at,
        "timeout": None if timeout is None else timeout // timedelta(microseconds=1),
        "deadline_at": now_text(timeout.total_seconds()) if timeout and is_running else None,
        # Django's adapters know neither of these on SQLite, and the statement needs neither.
        "run_at": None,
        "delay": None,
    }


TOKEN, ATTEMPTS = map(CLAIM.returned.index, ("token", "recovery_attempts"))


def _claim(row: Row) -> Claim:
    """Return the claim in a row. SQLite's columns may hold values of any type.

    Raises:
        ValueError, TypeError: The row holds a value of another type.
    """
    values = list(row)
    values[TOKEN], values[ATTEMPTS] = UUID(row[TOKEN]), int(row[ATTEMPTS])
    return CLAIM.read(values)
