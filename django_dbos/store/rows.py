"""Records as rows of statements, and rows as facts: for both stores."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID

from django_dbos.core.batch.fast_path import FastWrite, last_step
from django_dbos.core.batch.lookups import Facts, FoundCheckpoint, Key
from django_dbos.core.batch.plan import Plan, WaitPart
from django_dbos.core.records import (
    Checkpoint,
    Finish,
    Lane,
    NewWorkflow,
    RecordEntry,
    RecordEvent,
    RecordStep,
    RecordWait,
)
from django_dbos.core.status import Status
from django_dbos.store.columns import (
    CHECKPOINT,
    CONSUMED,
    CONTINUE,
    ENDED_WAIT,
    ENTRY,
    ENTRY_WRITE,
    EVENT,
    EVENT_WRITE,
    FINISH,
    FOUND_WORKFLOW,
    MESSAGE,
    NEW_WORKFLOW,
    SUSPEND,
    WAIT_PART,
    Columns,
)
from django_dbos.store.sessions import Params, Row

R = TypeVar("R")
AddRows = Callable[[Facts, list[Row]], None]


class Rows(Generic[R]):
    """Rows of one statement: records, and columns that aren't theirs, by name."""

    __slots__ = ("_columns", "_more", "_records")

    def __init__(self, columns: Columns[R], records: Sequence[R], **more: Sequence[Any]) -> None:
        self._columns = columns
        self._records = records
        self._more = more

    def __len__(self) -> int:
        return len(self._records)

    def lists(self) -> dict[str, Sequence[Any]]:
        """Return the values of each column, for a statement that takes all rows at once."""
        return {**self._columns.lists(self._records), **self._more}

    def first(self) -> Params:
        """Return the parameters of a statement that takes the first row."""
        params = self._columns.params(self._records[0])
        for name, values in self._more.items():
            params[name] = values[0]
        return params

    def each(self) -> list[Params]:
        """Return, for each row, the parameters of a statement that takes one row."""
        listed = map(self._columns.params, self._records)
        return [
            params | {name: values[position] for name, values in self._more.items()}
            for position, params in enumerate(listed)
        ]


def fast_path_rows(writes: Sequence[FastWrite]) -> dict[str, Rows[Any]]:
    """Return the rows of each fast-path statement, in the order in which these must run.

    Ends come last: whether one is written depends on the run's last entry or event.
    """
    steps: list[Checkpoint] = []
    entries: list[RecordEntry] = []
    events: list[RecordEvent] = []
    waits: list[RecordWait] = []
    ends: list[Finish] = []
    after_steps: list[int | None] = []
    last_steps: dict[str, int | None] = {}
    for write in writes:
        match write:
            case RecordStep():
                steps.append(write.checkpoint)
            case RecordEntry():
                entries.append(write)
            case RecordEvent():
                events.append(write)
            case RecordWait():
                waits.append(write)
            case Finish():
                ends.append(write)
                after_steps.append(last_steps.get(write.workflow_id))
        last_steps[write.workflow_id] = last_step(write)
    rows: dict[str, Rows[Any]] = {}
    if steps:
        rows["record_checkpoints"] = Rows(CHECKPOINT, steps)
    if entries:
        rows["append_entries"] = Rows(ENTRY_WRITE, entries, **_steps_of(entries))
    if events:
        rows["record_events"] = Rows(EVENT_WRITE, events, **_steps_of(events))
    if waits:
        topics = [wait.wake.name for wait in waits]
        rows["receive_messages"] = Rows(
            CHECKPOINT, [wait.checkpoint for wait in waits], topic=topics
        )
    if ends:
        rows["end_workflows"] = Rows(FINISH, ends, after_step=after_steps)
    return rows


_step_values = CHECKPOINT.getter(("step_name", "fingerprint", "record_order"))
_NO_STEP = (None, None, None)


def _steps_of(writes: Sequence[RecordEntry | RecordEvent]) -> dict[str, Sequence[Any]]:
    """Return columns of the writes' checkpoints; NULL for a write inside a step, which has none."""
    values = [
        _NO_STEP if write.checkpoint is None else _step_values(write.checkpoint) for write in writes
    ]
    names, fingerprints, orders = zip(*values)  # noqa: B905 - see Columns.params
    return {"step_name": names, "fingerprint": fingerprints, "record_order": orders}


# The statements that end a run and prepare the next one, in their order.
CONTINUING = (
    "insert_past_runs",
    "delete_past_checkpoints",
    "delete_past_messages",
    "delete_past_versions",
    "delete_past_inquiries",
    "continue_workflows",
)


def plan_rows(plan: Plan) -> dict[str, Rows[Any]]:
    """Return the rows of each statement that writes a plan, in the order of these statements."""
    rows: dict[str, Rows[Any]] = {
        "insert_checkpoints": Rows(
            CHECKPOINT,
            [checkpoint for checkpoint, _ in plan.checkpoints],
            timeout=[timeout for _, timeout in plan.checkpoints],
        ),
        "postpone_steps": Rows(
            CHECKPOINT,
            [checkpoint for checkpoint, _ in plan.postponed],
            timeout=[timeout for _, timeout in plan.postponed],
        ),
        "replace_checkpoints": Rows(CHECKPOINT, plan.outcomes),
        "consume_messages": Rows(CONSUMED, plan.consumed),
        "insert_messages": Rows(MESSAGE, plan.messages),
        "insert_event_versions": Rows(EVENT, plan.event_values),
        "upsert_events": Rows(EVENT, plan.latest_events),
        "insert_entries": Rows(ENTRY, plan.entries),
        "finish_workflows": Rows(FINISH, plan.finished),
        "suspend_workflows": Rows(SUSPEND, plan.suspended),
        # After the rows of the run that ends, and before its workflow is released.
        **{name: Rows(CONTINUE, plan.continued) for name in CONTINUING},
        "insert_wakes": Rows(
            WAIT_PART,
            [part for suspend in plan.suspended for part in WaitPart.from_suspend(suspend)],
        ),
        "forget_wakes": Rows(ENDED_WAIT, plan.ended_waits),
    }
    return {name: found for name, found in rows.items() if len(found)}


def new_workflow_rows(new: Sequence[NewWorkflow], executor_ids: Sequence[str | None]) -> Rows[Any]:
    """Return the rows of `insert_workflows`; with an executor's id that claims the workflow."""
    return Rows(NEW_WORKFLOW, new, executor_id=executor_ids)


def to_checkpoint(row: Row) -> FoundCheckpoint:
    """Return the checkpoint in a row of `find_checkpoints` or `load_checkpoints`."""
    return FoundCheckpoint(checkpoint=CHECKPOINT.read(row), remaining=row[-1])


def add_checkpoints(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_checkpoints`."""
    for found in map(to_checkpoint, rows):
        checkpoint = found.checkpoint
        facts.checkpoints[checkpoint.workflow_id, checkpoint.step_number] = found


def add_messages(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_messages`."""
    messages: dict[Key, deque[tuple[int, str]]] = defaultdict(deque)
    for workflow_id, topic, message_id, text in rows:
        messages[workflow_id, topic].append((message_id, text))
    facts.messages.update(messages)


def add_events(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_events`."""
    facts.events = {(row[0], row[1]): (row[2], row[3]) for row in rows if row[3] is not None}
    facts.with_events = {row[0] for row in rows}


def add_workflows(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_workflows`."""
    for workflow_id, *values in rows:
        facts.workflows[workflow_id] = FOUND_WORKFLOW.read(values)


def add_deduplications(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_deduplicated`."""
    facts.deduplications = {(row[0], row[1]): (row[2], row[3]) for row in rows}


def add_debounced(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_debounced`."""
    facts.debounced = {(row[0], row[1]): (row[2], row[3]) for row in rows}


def add_tails(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_tails`."""
    facts.tails = {(row[0], row[1]): (row[2], bool(row[3])) for row in rows}


def add_entries(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_entries`."""
    facts.entries = {(row[0], row[1], row[2]): row[3] for row in rows}


def add_written(facts: Facts, rows: list[Row]) -> None:
    """Add the rows of `find_writes`."""
    # SQLite's driver returns texts.
    facts.written = {UUID(str(row[0])) for row in rows}


def add_lost(facts: Facts, rows: list[Row], claims: dict[str, int], executor_id: str) -> None:
    """Add the lost claims among those that the fence left out; the others are only locked."""
    seen: dict[str, Any] = {row[0]: row for row in rows}
    for workflow_id, claim_number in claims.items():
        if workflow_id in facts.held:
            continue
        row = seen.get(workflow_id)
        if row is None:
            facts.lost[workflow_id] = None
        elif (row[1], row[2], row[3]) != (claim_number, Status.PENDING, executor_id):
            facts.lost[workflow_id] = Status(row[2])


def by_workflow(found: list[Row]) -> dict[str, list[FoundCheckpoint]]:
    """Return histories by workflow id, from rows of `load_checkpoints`."""
    histories: dict[str, list[FoundCheckpoint]] = {}
    for row in found:
        histories.setdefault(row[0], []).append(to_checkpoint(row))
    return histories


def keys_by_workflow(found: list[Row]) -> dict[str, set[str]]:
    """Return sets of keys by workflow id, from rows of (workflow id, key)."""
    keys: dict[str, set[str]] = {}
    for workflow_id, key in found:
        keys.setdefault(workflow_id, set()).add(key)
    return keys


def freed(found: Sequence[Row], column: int = -1) -> list[Lane]:
    """Return the lanes of the queues that a column names; it is NULL where no place was freed."""
    return list(dict.fromkeys(Lane(row[column], None) for row in found if row[column] is not None))


def lanes(found: Sequence[Row], first: int = 0) -> list[Lane]:
    """Return the distinct lanes in two neighbouring columns, of which `first` is the queue."""
    return list(dict.fromkeys(Lane(row[first], row[first + 1]) for row in found))
