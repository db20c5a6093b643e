"""The alternatives of wait_any(): messages, events, results, stream entries and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from django_dbos.core import names
from django_dbos.core.records import Wake
from django_dbos.operations.due_times import check_due
from django_dbos.operations.form_requests import FormAnswer, FormRequest

T_co = TypeVar("T_co", covariant=True)

# The most alternatives that a description names.
NAMED = 3
MAX_OFFSET = 2**31 - 1


class Winner(NamedTuple):
    """The alternative that ended a wait_any(), and its value.

    A pair: `name, value = dbos.wait_any(...)`.
    """

    name: str | int
    """The keyword of the alternative, or the position of one without a keyword."""
    value: Any
    """A message, an event's value, a workflow's result, a stream's value; None for a time. A
    message on one of several topics is a Received."""


class Received(NamedTuple):
    """A message, and the topic on which it came."""

    topic: str | None
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited(Generic[T_co]):
    """One alternative of wait_any(), made by message(), event(), form(), until() and so on."""

    label: str
    """A description for people."""
    wakes: tuple[Wake, ...] = ()
    """The wakes that end the wait; without a receiver, which is the waiting workflow. Empty for a
    time."""
    due: datetime | float | None = None
    """An instant, or seconds from now."""
    default: Any = None
    """The value of a stream that ends before the entry."""
    form: FormRequest | None = None
    """A form that people may answer; its topic is known once it was asked for."""

    @property
    def has_topics(self) -> bool:
        """True if its value names the topic, since there are several."""
        return len(self.wakes) > 1

    @property
    def seconds(self) -> float | None:
        """The seconds until the time; None unless it is one. This process's clock counts."""
        if isinstance(self.due, datetime):
            return max((self.due - datetime.now(UTC)).total_seconds(), 0.0)
        return self.due

    def wakes_of(self, workflow_id: str, position: int) -> list[Wake]:
        """Return the wakes of a waiting workflow, for the alternative at this position."""
        return [
            replace(wake, workflow_id=wake.workflow_id or workflow_id, position=position)
            for wake in self.wakes
        ]


def of_message(topics: Sequence[str | None]) -> Awaited[Any]:
    """Return the wait for the oldest message of several topics; None means without a topic."""
    checked = [names.check_topic(topic) for topic in topics]
    if not checked:
        raise ValueError("topics can't be empty: name at least one topic, or None.")
    if len(set(checked)) < len(checked):
        raise ValueError(f"topics can't contain a topic twice, but are {list(topics)!r}.")
    shown = " or ".join(repr(topic) if topic else "none" for topic in checked)
    label = f"message {shown}" if any(checked) else "message without a topic"
    return Awaited(label=label, wakes=tuple(Wake.of_message("", topic or "") for topic in checked))


def of_form(request: FormRequest) -> Awaited[FormAnswer]:
    """Return the wait for an answer to a form."""
    return Awaited(label=f"an answer to form {request.name!r}", form=request)


def of_event(workflow_id: str, key: str) -> Awaited[Any]:
    """Return the wait for an event of a workflow."""
    wake = Wake.of_event(names.check_workflow_id(workflow_id), names.check_key(key))
    return Awaited(label=f"event {key!r} of {workflow_id!r}", wakes=(wake,))


def of_entry(workflow_id: str, key: str, offset: int, default: Any) -> Awaited[Any]:
    """Return the wait for an entry of a workflow's stream."""
    if type(offset) is not int or not 0 <= offset <= MAX_OFFSET:
        raise ValueError(f"offset must be an int from 0 to {MAX_OFFSET:,}, not {offset!r}.")
    wake = Wake.of_stream(names.check_workflow_id(workflow_id), names.check_key(key), offset)
    label = f"entry {offset} of stream {key!r} of {workflow_id!r}"
    return Awaited(label=label, wakes=(wake,), default=default)


def of_result(workflow_id: str) -> Awaited[Any]:
    """Return the wait for the result of a workflow."""
    wake = Wake.of_result(names.check_workflow_id(workflow_id))
    return Awaited(label=f"result of {workflow_id!r}", wakes=(wake,))


def of_time(when: Any) -> Awaited[None]:
    """Return the wait until a time: an instant, or seconds or a timedelta from now."""
    if when is None:
        raise TypeError("until() takes an instant, seconds or a timedelta, not None.")
    return Awaited(label="a time", due=check_due(when, label="until()"))


def describe(alternatives: Sequence[Awaited[Any]]) -> str:
    """Return a description of the wait for any of these."""
    labels = [one.label for one in alternatives]
    if len(labels) > NAMED + 1:
        labels[NAMED:] = [f"{len(labels) - NAMED} more"]
    return " or ".join([", ".join(labels[:-1]), labels[-1]] if labels[1:] else labels)


def check_alternatives(alternatives: dict[str | int, Any]) -> dict[str | int, Awaited[Any]]:
    """Return the alternatives by name; raise TypeError for anything that can't be awaited."""
    if not alternatives:
        raise TypeError("wait_any() needs at least one thing to wait for.")
    for name, value in alternatives.items():
        if not isinstance(value, Awaited):
            raise TypeError(
                f"wait_any() can't wait for {type(value).__name__} {value!r} ({name!r}). Give it "
                "handles, or message(), event(), stream_entry(), form() or until() of django_dbos."
            )
    return alternatives


def limit_of(
    seconds: float | None, alternatives: Sequence[Awaited[Any]]
) -> tuple[float | None, int | None]:
    """Return the seconds until the wait is over, and the position of the time that ends it.

    None is the position if the timeout comes first, or if nothing limits the wait.
    """
    times = [
        (one.seconds, position)
        for position, one in enumerate(alternatives)
        if one.seconds is not None
    ]
    first, position = min(times, default=(None, None))
    if first is None or (seconds is not None and seconds < first):
        return seconds, None
    return first, position
