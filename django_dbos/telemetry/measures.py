"""Measures: counters and durations of this process, made of its events, for any exporter.

| name | kind | labels |
| --- | --- | --- |
| `dbos.workflow.claimed` | counter | `queue` |
| `dbos.workflow.started` | counter | `workflow` |
| `dbos.workflow.ended` | counter | `workflow`, `status` |
| `dbos.workflow.run.duration` | seconds | `workflow` |
| `dbos.workflow.deadlines_passed` | counter | |
| `dbos.workflow.quarantined` | counter | |
| `dbos.step.ended` | counter | `step`, `outcome` |
| `dbos.step.duration` | seconds | `step` |
| `dbos.step.retried` | counter | `step` |
| `dbos.executor.died` | counter | |
| `dbos.executor.recovered` | counter | |
| `dbos.heartbeat.duration` | seconds | |
| `dbos.message.sent` | counter | |

They count what was committed, once: a replay commits nothing again. `started` counts the children
that runs of this process start; starts by other code are in the database's figures.

Names of queues, steps and children may be made at run time, of a customer's number for example. Of
each label a process tells MOST_NAMES apart, and counts all others under OTHER: neither its memory
nor the exporter's grows with the data.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import Checkpoint
from django_dbos.telemetry.subscribers import ObservedRun, ObservedStep, Subscriber

logger = logging.getLogger("django_dbos.executor")

MOST_NAMES, OTHER = 1_000, "(other)"

ENDS = frozenset({"SUCCESS", "ERROR", "CANCELLED"})


class Measure(NamedTuple):
    """A measure that exporters create."""

    name: str
    unit: str
    """"s" for durations, else what is counted, as UCUM writes it: "{workflow}"."""
    description: str
    labels: tuple[str, ...] = ()

    @property
    def is_duration(self) -> bool:
        """True if its values are distributed, not added up."""
        return self.unit == "s"


CLAIMED = Measure("dbos.workflow.claimed", "{workflow}", "Workflows claimed.", ("queue",))
STARTED = Measure("dbos.workflow.started", "{workflow}", "Children started by runs.", ("workflow",))
ENDED = Measure(
    "dbos.workflow.ended", "{workflow}", "Workflows that ended.", ("workflow", "status")
)
RUN = Measure("dbos.workflow.run.duration", "s", "Duration of runs.", ("workflow",))
EXPIRED = Measure("dbos.workflow.deadlines_passed", "{workflow}", "Cancelled by their deadline.")
QUARANTINED = Measure("dbos.workflow.quarantined", "{workflow}", "Quarantined before a run.")
STEPS = Measure("dbos.step.ended", "{step}", "Steps recorded.", ("step", "outcome"))
STEP = Measure("dbos.step.duration", "s", "Duration of recorded steps.", ("step",))
RETRIED = Measure("dbos.step.retried", "{attempt}", "Failed attempts at steps.", ("step",))
DIED = Measure("dbos.executor.died", "{executor}", "Dead executors recovered here.")
RECOVERED = Measure("dbos.executor.recovered", "{workflow}", "Workflows recovered from them.")
HEARTBEAT = Measure("dbos.heartbeat.duration", "s", "Time for a heartbeat to be answered.")
SENT = Measure("dbos.message.sent", "{message}", "Messages sent by runs.")
ALL = (
    CLAIMED, STARTED, ENDED, RUN, EXPIRED, QUARANTINED, STEPS, STEP, RETRIED, DIED, RECOVERED,
    HEARTBEAT, SENT,
)  # fmt: skip


class Sink(Protocol):
    """Where measures go; the labels are in the order of the measure's."""

    def add(self, measure: Measure, amount: int, labels: tuple[str, ...] = ()) -> None:
        """Count."""

    def record(self, measure: Measure, seconds: float, labels: tuple[str, ...] = ()) -> None:
        """Note a duration."""

    def defer(self, note: Callable[..., None], *values: object) -> None:
        """Call `note`, which adds and records, now or before somebody reads the measures."""


class MeasuringSubscriber(Subscriber):
    """Turns events into measures.

    Args:
        sink: Where they go.
        step_durations: Whether the duration of each step is a measure.
    """

    def __init__(self, sink: Sink, *, step_durations: bool = True) -> None:
        self._sink = sink
        self._step_durations = step_durations
        self._names: dict[str, set[str]] = {"queue": set(), "workflow": set(), "step": set()}

    def claimed(self, queue_name: str, count: int) -> None:
        """See Subscriber."""
        self._sink.add(CLAIMED, count, (self._shown("queue", queue_name),))

    def committed(self, plan: Plan) -> None:
        """See Subscriber."""
        for new in plan.started:
            self._sink.add(STARTED, 1, (self._shown("workflow", new.name),))
        if plan.messages:
            self._sink.add(SENT, len(plan.messages))

    def step_recorded(self, step: ObservedStep, checkpoint: Checkpoint) -> None:
        """See Subscriber."""
        outcome = "success" if checkpoint.error is None else "error"
        self._sink.defer(self._note_step, step.step_name, outcome, checkpoint.duration)

    def _note_step(self, step_name: str, outcome: str, seconds: float) -> None:
        name = self._shown("step", step_name)
        self._sink.add(STEPS, 1, (name, outcome))
        if self._step_durations:
            self._sink.record(STEP, seconds, (name,))

    def run_ended(self, run: ObservedRun) -> None:
        """See Subscriber."""
        seconds = time.perf_counter() - run.began
        self._sink.defer(self._note_run, run.definition.name, run.ended_as, seconds)

    def _note_run(self, workflow_name: str, ended_as: str, seconds: float) -> None:
        name = self._shown("workflow", workflow_name)
        self._sink.record(RUN, seconds, (name,))
        if ended_as in ENDS:
            self._sink.add(ENDED, 1, (name, ended_as))

    def step_retried(self, step: ObservedStep, error: BaseException) -> None:
        """See Subscriber."""
        self._sink.add(RETRIED, 1, (self._shown("step", step.step_name),))

    def deadlines_passed(self, workflow_ids: Sequence[str]) -> None:
        """See Subscriber."""
        self._sink.add(EXPIRED, len(workflow_ids))

    def quarantined(self, workflow_id: str) -> None:
        """See Subscriber."""
        self._sink.add(QUARANTINED, 1)

    def executor_died(
        self, executor_id: str, enqueued: Sequence[str], given_up: Sequence[str]
    ) -> None:
        """See Subscriber."""
        self._sink.add(DIED, 1)
        self._sink.add(RECOVERED, len(enqueued) + len(given_up))

    def heartbeat(self, executor_id: str, seconds: float) -> None:
        """See Subscriber."""
        self._sink.record(HEARTBEAT, seconds)

    def _shown(self, label: str, name: str) -> str:
        """Return a name as the value of a label, or OTHER where there are too many."""
        known = self._names[label]
        if name in known:
            return name
        if len(known) >= MOST_NAMES:
            if OTHER not in known:
                known.add(OTHER)
                logger.warning(
                    "Metrics tell %d names of the label %r apart. All others, such as %r, are "
                    "counted as %r", MOST_NAMES, label, name, OTHER,
                )  # fmt: skip
            return OTHER
        known.add(name)
        return name
