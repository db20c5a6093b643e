"""The bars of a timeline: of a workflow, and of a step's attempts and pauses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext_lazy as _

from django_dbos import serializers
from django_dbos.admin.time_scale import WIDTH, Scale
from django_dbos.core.status import Status
from django_dbos.exceptions import SerializationError
from django_dbos.fields import text_to_instant
from django_dbos.models import Checkpoint

# The narrowest bar, in percent: the shortest step can be seen.
NARROWEST = 0.5

_WAITS = re.compile(r"dbos\.(sleep|recv|get_event|get_result|read_stream|wait_|retry)")
_KIND_BY_STATUS = {
    Status.ENQUEUED: "queue",
    Status.DELAYED: "queue",
    Status.PENDING: "run",
    Status.WAITING: "wait",
    Status.SUCCESS: "done",
    Status.ERROR: "failed",
    Status.CANCELLED: "ended",
    Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED: "failed",
}
LEGEND = (
    ("queue", _("in the queue")),
    ("run", _("running")),
    ("done", _("done")),
    ("wait", _("waiting")),
    ("failed", _("failed")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar between two instants; its place is known once all bars of the timeline are."""

    kind: str
    start: datetime
    end: datetime

    def place(self, scale: Scale) -> tuple[float, float]:
        """Return its position and width in percent."""
        left = min(scale.position(self.start), WIDTH - NARROWEST)
        return left, round(max(scale.position(self.end) - left, NARROWEST), 3)

    @property
    def is_work(self) -> bool:
        """True if something happened during it: such times aren't shortened."""
        return self.kind in ("run", "done", "failed")


def bars_of_workflow(workflow: Any, now: datetime) -> tuple[Bar, ...]:
    """Return the time in the queue, and the time since the first run."""
    end = workflow.finished_at or now
    kind = _KIND_BY_STATUS[Status(workflow.status)]
    # Instants that Python can't show are read as None.
    created = workflow.created_at or workflow.started_at or end
    if workflow.started_at is None:
        return (Bar(kind=kind, start=created, end=end),)
    queue = Bar(kind="queue", start=created, end=workflow.started_at)
    # The time of a workflow isn't work: it covers its waits.
    kind = {"run": "running", "done": "whole", "failed": "broken"}.get(kind, kind)
    return (queue, Bar(kind=kind, start=workflow.started_at, end=end))


def bars_of_step(step: Any, start: datetime, end: datetime) -> Iterator[Bar]:
    """Return the bars of the attempts that failed and of the pauses after them, and of the rest."""
    for number, failed in enumerate(_failed_attempts(step)):
        # The clocks of a worker and of the database may differ, and checkpoints of earlier versions
        # have no times.
        ended = min(max(text_to_instant(failed["at"]), start), end)
        began = max(ended - timedelta(seconds=failed["seconds"]), start)
        if number == 0:
            began = start
        elif began > start:
            yield Bar(kind="wait", start=start, end=began)
        yield Bar(kind="failed", start=began, end=ended)
        start = ended
        if (pause := failed.get("delay", failed.get("retry_after"))) is not None:
            start = min(ended + timedelta(seconds=pause), end)
            yield Bar(kind="wait", start=ended, end=start)
        elif ended == end or failed["attempt"] == step.attempts:
            return
    yield Bar(kind=_kind_of(step), start=start, end=end)


def _failed_attempts(step: Any) -> list[dict[str, Any]]:
    """Return the failed attempts whose times are known; their errors aren't looked at."""
    text = step.attempt_errors_text_loaded
    try:
        found = serializers.load_attempts(text)
    except SerializationError:
        found = []
    return [failed for failed in found if "at" in failed and "seconds" in failed]


def _kind_of(step: Any) -> str:
    if step.state == Checkpoint.State.WAITING:
        return "wait"
    if step.error_text_size is not None or step.state != Checkpoint.State.RECORDED:
        return "failed" if step.state != Checkpoint.State.TIMED_OUT else "wait"
    return "wait" if _WAITS.match(step.step_name) else "done"
