"""Workflows as commands print them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from django_dbos import redaction, serializers
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
    data = {column: getattr(row, column) for column in COLUMNS}
    if row.attributes is not None:
        data["attributes"] = redacted(row, "attributes", row.attributes)
    return data


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


def shown(row: Any, field: str, text: str | None) -> Any:
    """Return a stored value as plain JSON, as DBOS["REDACT"] lets anybody see it; None for none.

    An error is an object with its class, message and traceback. A value that can't be read is a
    text that says so.
    """
    if text is None:
        return None
    try:
        value = serializers.to_plain_parts(field, text)
    except SerializationError as error:
        value = {"class": None, "message": str(error)} if field == "error" else str(error)
    return redacted(row, field, value)


def redacted(row: Any, field: str, value: Any) -> Any:
    """Return plain JSON as DBOS["REDACT"] lets anybody see it."""
    try:
        return redaction.redacted(None, row, field, value)
    except Exception as error:
        # It is the project's code; and what it fails for isn't shown.
        raise CommandError(
            f"DBOS['REDACT'] failed for {field!r} ({type(error).__name__})."
        ) from error


def error_in_words(error: Any) -> str | None:
    """Return the class and the message of such an error."""
    if isinstance(error, dict):
        return f"{error.get('class')}: {error.get('message')}"
    return None if error is None else str(error)


def _text(value: Any) -> str:
    return instant(value) if isinstance(value, datetime) else str(value)
