"""The columns of records, declared once: they are the fields of the dataclasses.

`Columns(Checkpoint)` gives the parameters of a statement that writes a checkpoint, the lists of
one that writes many, the list of columns in a SELECT, and the record that a row of it holds. A new
column is a field of its record; besides, it takes the model, a migration and the SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from enum import Enum
from operator import attrgetter
from typing import Any, Generic, TypeVar, get_type_hints

from django_dbos.core.batch.lookups import FoundWorkflow
from django_dbos.core.batch.plan import Consumed, EndedWait, Entry, EventValue, WaitPart
from django_dbos.core.queues import Limits
from django_dbos.core.records import (
    Checkpoint,
    Claim,
    Continue,
    Finish,
    NewMessage,
    NewWorkflow,
    RecordEntry,
    RecordEvent,
    Suspend,
)
from django_dbos.fields import to_utc

Params = dict[str, Any]
R = TypeVar("R")


class Columns(Generic[R]):
    """The fields of a record as the columns of statements, in the order of its dataclass.

    Parameters hold the values of enumerations. Records that are read hold their members, and
    booleans, for which SQLite has numbers, and instants in UTC.

    Args:
        record: The dataclass.
        without: Fields that no statement takes or returns.
        write_only: Fields that statements take, and that no SELECT returns.
        computed: Fields that a SELECT computes. It returns them last, in this order.
        nested: Further columns, by the paths of their values from the record.
    """

    def __init__(
        self,
        record: type[R],
        *,
        without: Sequence[str] = (),
        write_only: Sequence[str] = (),
        computed: Sequence[str] = (),
        nested: Mapping[str, str] | None = None,
    ) -> None:
        types = get_type_hints(record)
        declared: Iterable[str] = (field.name for field in fields(record))  # type: ignore[arg-type]
        own = [name for name in declared if name not in without]
        paths = {name: _path(name, types[name]) for name in own} | dict(nested or {})
        self.names = tuple(paths)
        self.stored = tuple(name for name in own if name not in (*write_only, *computed))
        """The columns that a SELECT reads from the table."""
        self.returned = (*self.stored, *computed)
        self._record = record
        self._column = {name: attrgetter(path) for name, path in paths.items()}
        self._params = _writer(paths)
        self._read = _reader(record, {name: types[name] for name in self.returned})

    def params(self, record: R) -> Params:
        """Return the parameters of a statement for one record."""
        return self._params(record)

    def lists(self, records: Sequence[R]) -> dict[str, list[Any]]:
        """Return the values of each column in a list."""
        return {name: list(map(get, records)) for name, get in self._column.items()}

    def getter(self, names: Sequence[str]) -> Callable[[R], tuple[Any, ...]]:
        """Return a function that returns the values of these columns of a record."""
        paths = [_path(name, get_type_hints(self._record)[name]) for name in names]
        return attrgetter(*paths)

    def select(self, table: str = "") -> str:
        """Return the list of columns of a SELECT, of a table with this name or alias."""
        return ", ".join(f"{table}.{name}" if table else name for name in self.stored)

    def read(self, row: Sequence[Any]) -> R:
        """Return the record in a row of such a SELECT; further columns are left alone.

        Raises:
            ValueError, TypeError: A column holds something else. SQLite's may hold anything.
        """
        return self._read(row)


# Both functions are compiled, as the methods of a dataclass are: a loop over the columns takes two
# or three times as long, for each claim and each write that is alone.


def _writer(paths: Mapping[str, str]) -> Callable[[Any], Params]:
    """Return a function that makes parameters of a record."""
    items = ", ".join(f"{name!r}: record.{path}" for name, path in paths.items())
    write: Callable[[Any], Params] = _compiled(f"lambda record: {{{items}}}", {})
    return write


def _reader(record: type[R], types: Mapping[str, Any]) -> Callable[[Sequence[Any]], R]:
    """Return a function that makes a record of a row with columns of these types."""
    names: dict[str, Any] = {"record": record}
    values = []
    for position, (name, kind) in enumerate(types.items()):
        value = f"row[{position}]"
        if kind is bool:
            value = f"bool({value})"
        elif _is_enumeration(kind):
            names[f"members_of_{name}"] = _Members(kind)
            value = f"members_of_{name}[{value}]"
        elif kind in (datetime, datetime | None):
            names["to_utc"], value = to_utc, f"to_utc({value})"
        values.append(f"{name}={value}")
    read: Callable[[Sequence[Any]], R] = _compiled(
        f"lambda row: record({', '.join(values)})", names
    )
    return read


def _compiled(source: str, names: dict[str, Any]) -> Any:
    """Return the function that the source defines; only names of fields are put into it."""
    return eval(source, names)


def _is_enumeration(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _path(name: str, kind: Any) -> str:
    # `value` is a property written in Python: it takes three times as long.
    return f"{name}._value_" if _is_enumeration(kind) else name


class _Members(dict[Any, Enum]):
    """The members of an enumeration by their values: a sixth of the time of a call of its class."""

    def __init__(self, kind: type[Enum]) -> None:
        super().__init__((member.value, member) for member in kind)
        self._kind = kind

    def __missing__(self, value: Any) -> Enum:
        # Raises the ValueError that names the value.
        return self._kind(value)


CHECKPOINT = Columns(Checkpoint, write_only=("duration",))
CLAIM = Columns(Claim, computed=("remaining", "has_history", "scheduled_at"))
LIMITS = Columns(Limits, computed=("is_paused",))
NEW_WORKFLOW = Columns(NewWorkflow, without=("on_existing", "on_duplicate"))
FOUND_WORKFLOW = Columns(FoundWorkflow)
MESSAGE = Columns(NewMessage)
CONSUMED = Columns(Consumed)
EVENT = Columns(EventValue)
ENTRY = Columns(Entry)
EVENT_WRITE = Columns(RecordEvent, without=("size", "checkpoint"))
ENTRY_WRITE = Columns(RecordEntry, without=("size", "checkpoint"))
FINISH = Columns(Finish, without=("size", "queue_name"))
CONTINUE = Columns(Continue, without=("size", "claim_number"))
SUSPEND = Columns(
    Suspend,
    without=("size", "claim_number", "wake", "remaining", "queue_name"),
    nested={
        "kind": "wake.kind._value_",
        "target_id": "wake.workflow_id",
        "name": "wake.name",
        "offset": "wake.offset",
    },
)
ENDED_WAIT = Columns(EndedWait)
WAIT_PART = Columns(
    WaitPart,
    without=("wake",),
    nested={
        "kind": "wake.kind._value_",
        "target_id": "wake.workflow_id",
        "name": "wake.name",
        "offset": "wake.offset",
    },
)

# By the names that SQL files know them by: `-- columns: checkpoint`.
SELECTED: dict[str, Columns[Any]] = {
    "checkpoint": CHECKPOINT,
    "claim": CLAIM,
    "found_workflow": FOUND_WORKFLOW,
    "limits": LIMITS,
}
