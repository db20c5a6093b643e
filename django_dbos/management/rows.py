"""Workflows as commands print them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django_dbos import serializers
from django_dbos.exceptions import SerializationError

COLUMNS = (
    "workflow_id",
    "name",
    "status",
    "is_quarantined",
    "queue_name",
    "priority",
    "partition_key",
    "deduplication_id",
    "user_id",
    "attributes",
    "parent_id",
    "schedule_name",
    "executor_id",
    "created_at",
    "started_at",
    "finished_at",
)
HEADINGS = ("ID", "NAME", "STATUS", "QUEUE", "CREATED")


def data_of(row: Any) -> dict[str, Any]:
    """Return a workflow's row, without input and outcome."""
    return {column: getattr(row, column) for column in COLUMNS}


def cells_of(row: Any) -> tuple[str, ...]:
    """Return a workflow's cells, in the order of HEADINGS."""
    status = f"{row.status} (quarantined)" if row.is_quarantined else row.status
    return (row.workflow_id, row.name, status, row.queue_name, instant(row.created_at))


def lines_of(facts: Sequence[tuple[str, Any]]) -> list[str]:
    """Return a line for each fact that there is, with aligned values."""
    shown = [(label, value) for label, value in facts if value not in (None, "", [], {})]
    width = max((len(label) for label, _ in shown), default=0)
    return [f"{label.ljust(width)}  {_text(value)}" for label, value in shown]


def instant(value: datetime | None) -> str:
    """Return a time to the second; "-" for none."""
    return "-" if value is None else value.isoformat(" ", "seconds")


def plain(text: str | None) -> Any:
    """Return a stored value as plain JSON values; None for none."""
    return None if text is None else serializers.to_plain(text)


def error_of(text: str | None) -> dict[str, str] | None:
    """Return the class and the message of a stored error; None for none."""
    if text is None:
        return None
    try:
        summary = serializers.summarize_error(text)
    except SerializationError as error:
        return {"class": "", "message": str(error)}
    return {
        "class": summary.class_path.removeprefix("builtins."),
        "message": summary.message,
    }


def _text(value: Any) -> str:
    return instant(value) if isinstance(value, datetime) else str(value)
