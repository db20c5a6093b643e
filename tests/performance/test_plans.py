"""Plans on tables full of history: a statement reads its own rows, and never the history.

Each statement is planned in all the ways that happen in production: for the values at hand, or once
for all values (workers prepare their statements), perhaps when the tables were small; with the
statistics of tables that have grown since, with current ones, and with those of tables that seemed
empty when ANALYZE came. PostgreSQL reports the rows read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_dbos.admin.base import MAX_COUNTED
from django_dbos.core.records import Lane
from django_dbos.management import top
from django_dbos.operations import versions
from django_dbos.store import get_store, statements
from django_dbos.store.retention import DEPENDENTS
from tests.performance import history
from tests.store.conftest import new_workflow, register

psycopg = pytest.importorskip("psycopg")

# These need psycopg, too.
from django_dbos.store.columns import CHECKPOINT, NEW_WORKFLOW  # noqa: E402
from django_dbos.store.postgresql.worker_session import NOT_PREPARED  # noqa: E402
from tests.performance import explain  # noqa: E402
from tests.performance.explain import Plan  # noqa: E402

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's plans"),
    pytest.mark.django_db,
]

Params = dict[str, Any]


def first_of(rows: Params) -> Params:
    """Return the parameters of the first row."""
    return {name: values[0] for name, values in rows.items()}


IDS = [f"pending-{number}" for number in range(0, 30, 3)]
WAITING_IDS = [f"waiting-{number}" for number in range(12)]
NEW_IDS = [f"new-{number}" for number in range(10)]
TEN = len(IDS)
NOTHING: list[None] = [None] * TEN
EXECUTOR = history.EXECUTORS[0]
LANE = {"queue_name": "queue-1", "priority": 1}
UUIDS = [f"00000000-0000-0000-0000-{number:012}" for number in range(TEN)]
CHECKPOINTS: Params = {
    **dict.fromkeys(CHECKPOINT.names, NOTHING),
    "workflow_id": IDS,
    "step_number": [7] * TEN,
    "step_name": ["step"] * TEN,
    "state": [0] * TEN,
    "output": ["1"] * TEN,
    "record_order": [7] * TEN,
    "claim_number": [1] * TEN,
    "attempts": [1] * TEN,
    "timeout": NOTHING,
    "duration": [0.1] * TEN,
}
ENTRIES: Params = {
    "workflow_id": IDS,
    "key": ["progress"] * TEN,
    "offset": [3] * TEN,
    "value": ["1"] * TEN,
    "step_number": [7] * TEN,
    "write_id": UUIDS,
}
EVENTS: Params = {
    "workflow_id": IDS,
    "key": ["progress"] * TEN,
    "version": [2] * TEN,
    "value": ["1"] * TEN,
    "step_number": [7] * TEN,
    "write_id": UUIDS,
}
ENDS: Params = {
    "workflow_id": IDS,
    "claim_number": [1] * TEN,
    "status": ["SUCCESS"] * TEN,
    "output": ["1"] * TEN,
    "error": NOTHING,
    "is_quarantined": [False] * TEN,
    "after_step": [1, *NOTHING[1:]],
}
POSTED: Params = {
    **{name: values for name, values in ENTRIES.items() if name != "offset"},
    "claim_number": [1] * TEN,
    "step_name": ["dbos.write_stream(progress)"] * TEN,
    "fingerprint": NOTHING,
    "record_order": [7] * TEN,
}
MESSAGES: Params = {
    "workflow_id": IDS,
    "topic": [""] * TEN,
    "message": ["1"] * TEN,
    "idempotency_key": ["once", *NOTHING[1:]],
    "sender_id": NOTHING,
}
STARTS: Params = {
    **dict.fromkeys(NEW_WORKFLOW.names, NOTHING),
    "workflow_id": NEW_IDS,
    "token": UUIDS,
    "name": ["shop.work"] * TEN,
    "queue_name": ["queue-1"] * TEN,
    "priority": [0] * TEN,
    "partition_key": [""] * TEN,
    "deduplication_id": ["new-0", *NOTHING[1:]],
    "input": ["{}"] * TEN,
    "executor_id": NOTHING,
    "parent_id": IDS,
    "parent_step_number": [7] * TEN,
    "inherits_deadline": [True] * TEN,
}
CONTINUED: Params = {
    # The first has consumed thousands of messages.
    "workflow_id": IDS[1:],
    "input": ["{}"] * (TEN - 1),
    "version": [None] * (TEN - 1),
    "steps_before": [3] * (TEN - 1),
}
ONE_START = first_of(STARTS)
DEBOUNCED: Params = {**ONE_START, "debounce_key": "key", "delay": 5.0, "max_delay": 60.0}
HELD_IDS: Params = {
    "queue_names": ["queue-0"] * TEN,
    "deduplication_ids": [f"enqueued-{n}" for n in range(TEN)],
}
ONE_MESSAGE = first_of(MESSAGES)
# Three hours of ten days ago, when many workflows ran.
SPANS = [
    f"{datetime.now(UTC) - timedelta(days=10, hours=n):%Y-%m-%d %H:%M:%S}" for n in (3, 2, 1, 0)
]
# A function with versions, as workers know it, and what unversioned workflows of it are given.
NAMES = ["shop.work", "shop.work@1", "shop.work@2"]
ADOPTED = '{"shop.work": ["2", "2"]}'
IN_TURN: Params = {
    "executor_id": EXECUTOR,
    "queue_name": "managed",
    "names": NAMES,
    "adopted": ADOPTED,
    "after": None,
    "limit": 500,
    "max_visits": 500,
}
# Seconds; no workflow has finished so long ago.
LONGER_THAN_ANY = 10 * 365 * 86_400.0
# The marks of the last heartbeat: the last few messages and events are newer.
MARKS = {"message_mark": history.WORKFLOWS, "event_mark": history.WORKFLOWS}

FIRST_PLACE: Params = {"created_at": "infinity", "name": "", "queue_name": "", "row": ""}

# The statements that workers run, again and again, on connections of their own.
BY_WORKERS: dict[str, Params] = {
    "append_entries": {"executor_id": EXECUTOR, **POSTED},
    "append_entry": {"executor_id": EXECUTOR, **first_of(POSTED)},
    "heartbeat": {"executor_id": EXECUTOR, "is_thorough": True, **MARKS},
    "heartbeat, the first": {
        "executor_id": EXECUTOR,
        "is_thorough": True,
        "message_mark": None,
        "event_mark": None,
    },
    "find_scheduled": {"schedule_name": "nightly", "limit": 2},
    "find_ends": {"schedule_name": "nightly", "after": None, "limit": 3},
    "claim_suspect": {
        "executor_id": EXECUTOR,
        "queue_names": ["queue-0", "queue-1"],
        "names": NAMES,
        "adopted": ADOPTED,
    },
    "claim_workflow": {
        "executor_id": EXECUTOR,
        "workflow_id": "enqueued-7",
        "adopted": ADOPTED,
    },
    "claim_workflows": {
        "executor_id": EXECUTOR,
        **LANE,
        "names": NAMES,
        "adopted": ADOPTED,
        "above": 0,
        "limit": 500,
    },
    "claim_in_turn": IN_TURN,
    "claim_in_turn, of one queue": {**IN_TURN, "queue_name": "queue-1", "after": ""},
    "list_in_turn": IN_TURN,
    "claim_placed": {
        "executor_id": EXECUTOR,
        "workflow_id": "keyed-7",
        "place": 1,
        "adopted": ADOPTED,
    },
    "lock_queue": {"queue_name": "managed"},
    "find_in_managed_queue": {"workflow_id": "keyed-7"},
    "read_limits": {"queue_name": "managed"},
    "count_held_places": {
        "executor_id": EXECUTOR,
        "queue_name": "managed",
        "partition_key": "key-7",
    },
    "find_lent": {"executor_id": EXECUTOR, "workflow_id": IDS[0], "claim_number": 1},
    "set_place": {"executor_id": EXECUTOR, "workflow_id": IDS[0], "claim_number": 1, "place": -1},
    "give_places": {"executor_id": EXECUTOR},
    "count_places": {
        "executor_id": EXECUTOR,
        "queue_name": "managed",
        "partition_key": "key-1",
    },
    "read_starts": {"queue_name": "managed", "partition_key": "", "period": 30.0},
    "record_start": {"queue_name": "managed", "partition_key": "key-1"},
    "find_suspects": {"queue_names": ["managed"], "names": NAMES, "limit": 10},
    "consume_messages": {"message_id": [1, 2, 3], "step_number": [7, 7, 7]},
    **{f"delete_{part}": {"workflow_ids": IDS, "limit": TEN} for part in DEPENDENTS},
    "delete_workflows": {"workflow_ids": IDS},
    "delete_old_runs": {"age": LONGER_THAN_ANY, "limit": 100},
    "insert_past_runs": CONTINUED,
    "delete_past_checkpoints": CONTINUED,
    "delete_past_messages": CONTINUED,
    "delete_past_versions": CONTINUED,
    "delete_past_inquiries": CONTINUED,
    "continue_workflows": CONTINUED,
    "delete_few": {"workflow_ids": IDS, "claims": [f"{one}/1" for one in UUIDS], "rows_each": 10},
    "mark_deleted": {"workflow_ids": IDS, "tokens": UUIDS, "claim_numbers": [1] * TEN},
    "list_finished": {"age": LONGER_THAN_ANY, "limit": TEN, **FIRST_PLACE},
    "list_finished, the first page": {"age": 0.0, "limit": TEN, **FIRST_PLACE},
    **{f"find_stray_{part}": {"above": "", "limit": TEN} for part in DEPENDENTS},
    **{f"delete_stray_{part}": {"workflow_id": "gone"} for part in DEPENDENTS},
    "end_workflows": {"executor_id": EXECUTOR, **ENDS},
    "end_workflow": {"executor_id": EXECUTOR, **first_of(ENDS)},
    "enqueue_due": {"limit": 1000},
    "expire_deadlines": {"limit": 1000},
    "find_checkpoints": {"workflow_ids": IDS, "step_numbers": [1] * TEN},
    "find_entries": {
        "workflow_ids": IDS,
        "keys": ["progress"] * TEN,
        "offsets": [1] * TEN,
    },
    "debounce_workflow": DEBOUNCED,
    "find_debounced": {"names": ["shop.work"] * TEN, "keys": [f"key-{n}" for n in range(TEN)]},
    "find_deduplicated": HELD_IDS,
    "free_expired_ids": HELD_IDS,
    "free_ids": {"workflow_ids": IDS},
    "cancel_workflows": {"workflow_ids": IDS},
    "find_events": {"workflow_ids": IDS, "keys": ["progress"] * TEN},
    "find_messages": {"workflow_ids": IDS, "topics": ["topic"] * TEN, "counts": [1] * TEN},
    "find_tails": {"workflow_ids": IDS, "keys": ["progress"] * TEN},
    "find_workflows": {"workflow_ids": IDS},
    "find_writes": {"workflow_ids": IDS, "write_ids": UUIDS},
    "finish_workflows": ENDS,
    "forget_wakes": {"workflow_id": IDS},
    "insert_checkpoints": CHECKPOINTS,
    "insert_entries": ENTRIES,
    "insert_event_versions": EVENTS,
    "insert_messages": MESSAGES,
    "insert_wakes": {
        "workflow_id": IDS,
        "part": [0] * TEN,
        "claim_number": [2] * TEN,
        "kind": ["message"] * TEN,
        "target_id": IDS,
        "name": [""] * TEN,
        "offset": NOTHING,
    },
    "insert_workflows": STARTS,
    "list_held": {"executor_id": EXECUTOR},
    "list_lanes": {},
    "list_orphans": {},
    "load_checkpoints": {"workflow_ids": IDS},
    "load_ended_streams": {"workflow_ids": IDS},
    "lock_claims": {"workflow_ids": IDS, "executor_id": EXECUTOR},
    "read_claims": {"workflow_ids": IDS},
    "quarantine_workflow": {"executor_id": EXECUTOR, "workflow_id": "enqueued-7", "error": "{}"},
    "receive_message": {"executor_id": EXECUTOR, **first_of(CHECKPOINTS), "topic": "topic"},
    "receive_messages": {"executor_id": EXECUTOR, **CHECKPOINTS, "topic": ["topic"] * TEN},
    "record_checkpoint": {"executor_id": EXECUTOR, **first_of(CHECKPOINTS)},
    "record_checkpoints": {"executor_id": EXECUTOR, **CHECKPOINTS},
    "record_event": {"executor_id": EXECUTOR, **first_of(POSTED)},
    "record_events": {"executor_id": EXECUTOR, **POSTED},
    "recover_workflows": {"executor_id": EXECUTOR, "limit": 5000, "max_recovery_attempts": 5},
    "release_workflows": {
        "executor_id": EXECUTOR,
        "workflow_ids": IDS,
        "still_running": [],
        "heir": EXECUTOR,
    },
    "free_places": {"executor_id": EXECUTOR, "workflow_ids": IDS, "claim_numbers": [1] * len(IDS)},
    "move_places": {"executor_id": EXECUTOR, "workflow_ids": IDS, "heir": EXECUTOR},
    "replace_checkpoints": {**CHECKPOINTS, "step_number": [3] * TEN},
    "postpone_steps": {**CHECKPOINTS, "step_number": [3] * TEN, "timeout": [60.0] * TEN},
    "suspend_workflows": {
        "workflow_id": IDS,
        "step_number": [3] * TEN,
        "kind": ["message"] * TEN,
        "target_id": IDS,
        "name": [""] * TEN,
        "offset": NOTHING,
    },
    "upsert_events": EVENTS,
    "wake_at_ends": {"kind": "result", "workflow_ids": IDS},
    "wake_at_ends, for any": {
        "kind": "result",
        "workflow_ids": [f"any-{number}" for number in range(TEN)],
    },
    "wake_at_ends, of streams": {"kind": "stream", "workflow_ids": IDS},
    "wake_of_deleted": {"workflow_ids": IDS},
    "wake_of_failures": {"workflow_ids": [f"old-{number}" for number in range(0, 4 * TEN, 4)]},
    "wake_satisfied": {"workflow_ids": None, "limit": 10_000},
    "wake_satisfied, some": {"workflow_ids": WAITING_IDS[:TEN], "limit": 10_000},
    "wake_waiting": {
        "kinds": ["message"] * TEN,
        "target_ids": WAITING_IDS[:TEN],
        "names": [""] * TEN,
    },
    "wake_waiting, for any": {
        "kinds": ["message"] * TEN,
        "target_ids": [f"any-{number}" for number in range(TEN)],
        "names": [""] * TEN,
    },
    "wake_waiting, for entries": {
        "kinds": ["stream"] * TEN,
        "target_ids": IDS,
        "names": ["progress"] * TEN,
    },
}
# The statements that any process runs, on Django's connections.
BY_CLIENTS: dict[str, Params] = {
    "cancel_workflows": {"workflow_ids": IDS},
    "debounce_workflow": DEBOUNCED,
    "find_deduplicated": HELD_IDS,
    "free_expired_ids": HELD_IDS,
    "free_ids": {"workflow_ids": IDS},
    "set_attributes": {"workflow_id": "delayed-0", "attributes": "{}"},
    "postpone_delayed": {"workflow_id": "delayed-0", "run_at": None, "delay": 5.0},
    "enqueue_delayed": {"workflow_id": "delayed-0"},
    "find_unfinished": {"workflow_ids": IDS},
    "insert_alike": {**ONE_START, "ids": UUIDS, "inputs": ["{}"] * TEN},
    "insert_workflow": ONE_START,
    "insert_workflows": STARTS,
    "read_entries": {
        "workflow_id": IDS[0],
        "key": "progress",
        "offset": 0,
        "limit": 500,
        "max_bytes": 1_000_000,
    },
    "read_entries_of_many": {
        "workflow_ids": IDS,
        "keys": ["progress"] * TEN,
        "offsets": [0] * TEN,
        "limits": [500] * TEN,
        "max_bytes": 1_000_000,
    },
    "read_event": {"workflow_id": IDS[0], "key": "progress"},
    "read_checkpoint": {"workflow_id": IDS[0], "step_number": 1},
    "count_active": {"most": 1_000},
    "list_waiting_queues": {"limit": 100},
    "read_buckets": {"firsts": SPANS[:-1], "lasts": SPANS[1:], "most": TEN, "sample": 5},
    "read_holdups": {"workflow_ids": ["enqueued-7"], "most": 100},
    "read_outcome": {"workflow_id": IDS[0]},
    "read_unfinished_children": {"parent_id": "old-1", "step_number": 1},
    "release_children": {"parent_id": IDS[0], "claim_number": 1, "workflow_ids": WAITING_IDS},
    "read_failed": {"parent_id": "old-1", "step_number": 1},
    "read_outcomes": {"workflow_ids": IDS},
    "read_queue_counts": {"names": ["queue-1"], "most": MAX_COUNTED},
    "read_status": {"workflow_id": IDS[0]},
    "read_versions": {"workflow_id": IDS[0], "key": None},
    "read_versions_of_many": {"workflow_ids": IDS, "keys": [None] * TEN},
    "read_versions_of_many, of one event": {"workflow_ids": IDS, "keys": ["progress"] * TEN},
    "record_atomic_checkpoint": {"executor_id": EXECUTOR, **first_of(CHECKPOINTS)},
    "record_for_history": {**first_of(CHECKPOINTS), "token": UUIDS[0]},
    "resume_workflows": {"workflow_ids": WAITING_IDS, "queue_name": "other"},
    "send_message": ONE_MESSAGE,
    "send_messages": MESSAGES,
    "wake_receiver": {"workflow_id": WAITING_IDS[0], "topic": ""},
    "wake_and_notify": {
        "workflow_id": WAITING_IDS[0],
        "topic": "",
        "lane_channel": "dbos_enqueued",
    },
}
# One workflow's history is copied, or cut off: by its id alone, however many others there are.
CUT: Params = {"workflow_id": IDS[0], "step_number": 2}
COPIED: Params = {**CUT, "workflow_id": "delayed-0", "source_id": IDS[0], "steps_before": 0}
BY_CLIENTS |= {
    **dict.fromkeys(
        (
            "copy_checkpoints",
            "copy_entries",
            "copy_event_versions",
            "copy_events",
        ),
        COPIED,
    ),
    **dict.fromkeys(
        (
            "delete_later_answers",
            "delete_later_checkpoints",
            "delete_later_entries",
            "delete_later_events",
            "delete_later_inquiries",
            "delete_later_versions",
            "find_gaps_in_streams",
            "find_lost_events",
            "find_lost_message",
            "restore_events",
        ),
        CUT,
    ),
    "number_entries": {"workflow_id": IDS[0], "key": "progress"},
    "close_gaps_in_stream": {"workflow_id": IDS[0], "key": "progress"},
    # The first has consumed thousands of messages, each of which is read.
    "copy_messages": {**COPIED, "source_id": IDS[1]},
    "keep_inquiries": {"workflow_id": IDS[0], "token": UUIDS[0], "old_token": UUIDS[1]},
    "make_fork": {**COPIED, "run_number": 1},
    "mark_for_deletion": {"workflow_ids": IDS},
    # The first has more messages than all others.
    "return_later_messages": {**CUT, "workflow_id": IDS[5]},
    "rewind_workflow": {"workflow_id": IDS[0], "token": UUIDS[0]},
}
# Statements that touch no table with history, or whose purpose is to read it.
NOT_GUARDED = {
    # Tests only.
    "advance_checkpoints", "advance_inquiries", "advance_starts", "advance_workflows",
    "declare_dead", "list_heartbeats", "mark_locked",  # executors only
    "register_executor", "deregister_executor", "drain_executors",  # the same
    "end_lost_session", "end_sessions", "notify", "read_mark", "take_lock",  # no table
    # The table of schedules, which has no history.
    "delete_schedule", "insert_schedule", "lock_due_schedules", "lock_schedule", "next_schedule",
    "read_clock", "read_schedules", "update_schedules",
}  # fmt: skip

NOW, ONCE, EARLY = "planned for the values", "planned for all values", "planned when small"
STALE, EMPTY, FRESH = "old statistics", "statistics of empty tables", "current statistics"
STATISTICS = [STALE, EMPTY, FRESH]
MODES = [(mode, statistics) for mode in (NOW, ONCE) for statistics in STATISTICS] + [(EARLY, STALE)]

NO_STATISTICS = "Older servers can't be given statistics."

# Statements that read the active rows, or a part of them with its own size. The others read a few
# keys, or a few rows that are due.
THROUGH_LIVE = {
    "heartbeat", "claim_workflows", "claim_in_turn", "list_in_turn", "lock_queue",
    "count_places", "count_held_places", "give_places", "list_held", "list_orphans",
    "read_queue_counts", "recover_workflows", "wake_satisfied", "count_active",
    "list_waiting_queues",
}  # fmt: skip
# A key has a few checkpoints, entries or waiters; a row is found, and found again to be changed.
# The keys themselves count as rows, once for each part of a statement.
MAX_ROWS_BY_KEY, MAX_PAGES_BY_KEY = 6 * TEN, 50 * TEN


class History:
    """Connections to the tables, a worker's and one like Django's, and the plans of statements."""

    def __init__(self) -> None:
        self._session: Any = get_store().connect(EXECUTOR, "plans")
        self._worker: Any = self._session.connection
        # The tests use the connection beside its session, which must not give it up meanwhile.
        self._session._forget_line()
        params: Params = connection.get_connection_params()
        self._client = psycopg.connect(
            **{**params, "cursor_factory": psycopg.ClientCursor}, autocommit=True
        )
        self.plans: dict[tuple[str, str, str], Plan] = {}

    def make(self) -> None:
        """Fill the tables, and explain every statement in every way."""
        self._run(*history.CREATE)
        for client in (self._worker, self._client):
            client.execute(f"SET search_path TO {history.SCHEMA}, public")
        self._run(*history.LIVE_ROWS, history.ANALYZE)
        self._plan_early()
        self._run(*history.FINISHED)
        self._explain_early()
        self._explain_all(STALE)
        if history.can_seem_empty(self._worker):
            self._run(*history.SEEM_EMPTY)
            self._explain_all(EMPTY)
        self._run(history.ANALYZE)
        self._explain_all(FRESH)

    def plan(self, name: str, mode: str, statistics: str) -> Plan:
        """Return a statement's plan; skip the test if this server can't be given the statistics."""
        if statistics == EMPTY and not history.can_seem_empty(self._worker):
            pytest.skip(NO_STATISTICS)
        return self.plans[name, mode, statistics]

    def explain_client(self, text: str, statistics: str = FRESH) -> Plan:
        """Explain a statement as Django's connection runs it."""
        if statistics == EMPTY and not history.can_seem_empty(self._client):
            pytest.skip(NO_STATISTICS)
        before = history.SEEM_EMPTY if statistics == EMPTY else ()
        return explain.explain(self._client, text, before=before)

    def drop(self) -> None:
        """Drop the tables, and close the connections."""
        self._run(history.DROP)
        self._session.close()
        self._client.close()

    def _run(self, *texts: str) -> None:
        for text in texts:
            self._worker.execute(text)

    def _prepare(self) -> None:
        for name in {statement_of(name) for name in BY_WORKERS}:
            explain.prepare(self._worker, name)

    def _explain(self, name: str) -> Plan:
        return explain.explain(
            self._worker, explain.call(self._worker, statement_of(name), BY_WORKERS[name])
        )

    def _plan_early(self) -> None:
        """Plan like a worker that starts on small tables: the plans are kept from now on."""
        self._run("SET plan_cache_mode = force_generic_plan")
        self._prepare()
        for name in BY_WORKERS:
            self._explain(name)

    def _explain_early(self) -> None:
        for name in BY_WORKERS:
            self.plans[name, EARLY, STALE] = self._explain(name)
        self._run("DEALLOCATE ALL")

    def _explain_all(self, statistics: str) -> None:
        self._prepare()
        for mode, kind in ((NOW, "custom"), (ONCE, "generic")):
            self._run(f"SET plan_cache_mode = force_{kind}_plan")
            for name in BY_WORKERS:
                self.plans[name, mode, statistics] = self._explain(name)
        self._run("DEALLOCATE ALL")
        for name, params in BY_CLIENTS.items():
            text = statements.load("postgresql", statement_of(name))
            self.plans[name, "client", statistics] = explain.explain(self._client, text, params)


def statement_of(name: str) -> str:
    """Return the name of the statement, of which there may be several cases."""
    return name.split(",")[0]


@pytest.fixture(scope="module")
def filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[History]:
    """Return tables full of history, with the plans of every statement in every way."""
    with django_db_blocker.unblock():
        tables = History()
        try:
            tables.make()
            yield tables
        finally:
            tables.drop()


def test_every_statement_is_guarded_or_needs_no_guard() -> None:
    guarded = {statement_of(name) for name in (*BY_WORKERS, *BY_CLIENTS)}

    assert guarded | NOT_GUARDED == set(statements.names("postgresql"))
    assert not guarded & NOT_GUARDED
    assert guarded >= THROUGH_LIVE


@pytest.mark.rule(29)
@pytest.mark.parametrize(("mode", "statistics"), MODES)
@pytest.mark.parametrize("name", BY_WORKERS)
def test_a_worker_reads_no_history(name: str, mode: str, statistics: str, filled: History) -> None:
    if mode != NOW and statement_of(name) in NOT_PREPARED:
        pytest.skip("It is planned at each call.")

    check(name, filled.plan(name, mode, statistics))


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("name", BY_CLIENTS)
def test_a_caller_reads_no_history(name: str, statistics: str, filled: History) -> None:
    check(name, filled.plan(name, "client", statistics))


def check(name: str, plan: Plan) -> None:
    assert plan.scanned == [], plan.text
    if statement_of(name) in THROUGH_LIVE and "some" not in name:
        assert plan.rows <= history.LIVE, plan.text
    else:
        assert plan.rows <= MAX_ROWS_BY_KEY, plan.text
        assert plan.pages <= MAX_PAGES_BY_KEY, plan.text


# The store's reads through the ORM, by their subject.
READ_BY_ORM: dict[str, Callable[[Any], Any]] = {
    "status": lambda store: store.reader.get_workflow(IDS[0]),
    "children": lambda store: store.cancel_workflows(IDS, children=True),
    "events": lambda store: store.reader.read_events(IDS[0]),
    "some events": lambda store: store.reader.read_some_events(IDS[0], ["progress", "status"]),
    "the end of a stream": lambda store: store.reader.read_entries(IDS[0], "progress", 500, 1),
    "checkpoints": lambda store: store.reader.read_checkpoints(IDS[0]),
}


@pytest.mark.parametrize("statistics", [EMPTY, FRESH])
@pytest.mark.parametrize("subject", READ_BY_ORM)
def test_the_orm_reads_no_history(subject: str, statistics: str, filled: History) -> None:
    for plan in plans_of(lambda: READ_BY_ORM[subject](get_store()), filled, statistics):
        assert plan.scanned == [], plan.text
        assert plan.rows <= MAX_ROWS_BY_KEY, plan.text


THROUGH_LIVE_BY_ORM: dict[str, Callable[[Any], Any]] = {
    "unknown functions": lambda store: store.find_unknown("queue-0", ["shop.work"]),
    "waits of a queue": lambda store: store.count_waiting("queue-0", MAX_COUNTED),
    "use of a queue": lambda store: store.has_active("queue-9"),
    "places of a limit": lambda store: store.edit_queue("queue-0", {"concurrency": 9}),
    "places until the end": lambda store: store.edit_queue(
        "queue-0", {"concurrency": 9, "hold_while_waiting": True}
    ),
    "runs of executors": lambda store: store.count_runs_of_executors([EXECUTOR]),
    "places of executors": lambda store: store.count_places_of_executors("queue-0"),
    "versions in use": versions.read_versions,
}


# A condition with OR gets a bitmap of two indexes only where that seems cheaper. It is a rare edit
# in the admin, so it may read the table once.
MAY_READ_ALL = {("places until the end", EMPTY)}


@pytest.mark.parametrize(
    ("subject", "statistics"),
    [
        case
        for case in itertools.product(THROUGH_LIVE_BY_ORM, [EMPTY, FRESH])
        if case not in MAY_READ_ALL
    ],
)
def test_the_orm_reads_active_rows_only(subject: str, statistics: str, filled: History) -> None:
    for plan in plans_of(lambda: THROUGH_LIVE_BY_ORM[subject](get_store()), filled, statistics):
        assert plan.scanned == [], plan.text
        assert plan.rows <= history.LIVE, plan.text


PAGES = [
    "workflow/",
    "workflow/?status=SUCCESS",
    "workflow/?status=ERROR",
    "workflow/?status=ENQUEUED",
    "workflow/?status=DELAYED",
    "workflow/?name=shop.work",
    "workflow/?name=shop.work&status=SUCCESS",
    "workflow/?view=running",
    "workflow/?view=people",
    "workflow/?view=stuck",
    "workflow/?view=failed",
    "workflow/?since=1h",
    "workflow/?before=2026-01-01",
    "workflow/?q=old-7777",
    "workflow/?q=order%3D17",
    "workflow/?queue_name=queue-1",
    "workflow/old-7/change/",
    "workflow/overview/?window=day",
    "message/",
    "message/?before=5000",
    "event/",
    "event/?before=5000",
    "executor/",
    "queue/",
    "inquiry/",
    "inquiry/?kind=callback",
    "inquiry/?state=answered",
    "inquiry/?state=answered&kind=callback",
    "inquiry/?state=all",
    "inquiry/?state=all&kind=callback",
]

# No index begins with the queue: rows are read until enough are counted, and half are in this one.
ROWS_PER_MATCH = {"workflow/?queue_name=queue-1": 2}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_the_admin_reads_only_rows_that_it_shows_or_counts(
    page: str, filled: History, admin_client: Client
) -> None:
    def get() -> None:
        response = admin_client.get(f"/admin/django_dbos/{page}", follow=True)
        assert response.status_code == 200

    for plan in plans_of(get, filled):
        assert plan.rows <= 2 * MAX_COUNTED * ROWS_PER_MATCH.get(page, 1), plan.text


@pytest.mark.parametrize("window", ["hour", "day"])
def test_the_overview_reads_no_table_as_a_whole(
    window: str, filled: History, admin_client: Client
) -> None:
    def get() -> None:
        response = admin_client.get(f"/admin/django_dbos/workflow/overview/?window={window}")
        assert response.status_code == 200

    plans = [*plans_of(get, filled), *plans_of(top.take, filled)]

    assert {table for plan in plans for table in plan.scanned} <= {"dbos_executor", "dbos_queue"}


def plans_of(act: Callable[[], Any], tables: History, statistics: str = FRESH) -> list[Plan]:
    """Return the plans of the statements that a function runs on Django's connection."""
    with connection.cursor() as cursor:
        # In effect until the test's transaction is rolled back.
        cursor.execute(f"SET LOCAL search_path TO {history.SCHEMA}, public")
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        act()
        # The function's changes must not block the statements that run again.
        transaction.set_rollback(True)
    texts = [query["sql"] for query in queries.captured_queries]
    texts = [text for text in texts if '"dbos_' in text or " dbos_" in text]
    assert texts
    return [tables.explain_client(text, statistics) for text in texts]


def test_recovery_does_not_compare_each_with_each(transactional_db: None) -> None:
    """With a comparison of each pair 5,000 workflows took 5.7 s, and 0.06 s without.

    Such a comparison shows as pairs of rows, or as an array that is searched for each row.
    """
    store, count = get_store(), 5_000
    dead = register(store)
    store.start_workflows([new_workflow() for _ in range(count)])
    session = store.connect(dead, "test")
    claimed = 0
    while claimed < count:
        claims, _ = store.claim_workflows(
            session, dead, Lane("default", 0), names=["tests.work"], above=-1, limit=500
        )
        claimed += len(claims)
    params = {"executor_id": dead, "max_recovery_attempts": 5, "limit": count}

    plan = explain.explain(
        session.connection, statements.load("postgresql", "recover_workflows"), params
    )
    found = session.run("recover_workflows", params)
    session.close()

    assert len(found) == count
    assert count <= plan.handled <= 20 * count, plan.text
    assert plan.array_searches == []
