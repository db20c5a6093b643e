"""The form that asks before an action of the list: what it shows, and what it passes on."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime

from django_dbos.admin.base import MAX_COUNTED
from django_dbos.store.history_checks import Seen

# Fields of the form that asks before: the answer, and the creation time of the newest workflow.
ANSWER, NEWEST = "post", "newest"
# The field that makes an action of the list a workflow in the background; a new id in each form.
ORDER = "order"
# The field with the states in which the workflows were shown.
SEEN = "seen"
FIELDS = (
    "workflow_id", "name", "status", "is_quarantined", "created_at", "token", "claim_number",
)  # fmt: skip


def chosen(queryset: Any) -> list[dict[str, Any]]:
    """Return what the page which asks needs to know of the first workflows."""
    # Not values(), which orders by the value that is read: no index has that.
    rows = list(queryset[:MAX_COUNTED])
    return [{name: getattr(row, name) for name in FIELDS} for row in rows]


def hidden(request: HttpRequest, chosen: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the fields by which the answer acts on what was asked."""
    passed_on = (ACTION_CHECKBOX_NAME, "action", "select_across", NEWEST)
    found = [(name, value) for name in passed_on for value in request.POST.getlist(name)]
    if chosen and NEWEST not in request.POST:
        found.append((NEWEST, chosen[0]["created_at"].isoformat()))
    return found


def shown(request: HttpRequest, chosen: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the field by which the answer acts on workflows as they were shown first."""
    states = {row["workflow_id"]: [str(row["token"]), row["claim_number"]] for row in chosen}
    return SEEN, request.POST.get(SEEN) or json.dumps(states)


def seen(request: HttpRequest) -> dict[str, Seen]:
    """Return the states in which the page which asked has shown workflows."""
    try:
        found = json.loads(request.POST.get(SEEN) or "{}")
        return {str(key): (str(token), int(number)) for key, (token, number) in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise BadRequest(f"{SEEN} must be what the page has sent.") from None


def confirmed(request: HttpRequest, queryset: Any) -> Any:
    """Exclude workflows that were started after the page which asked was shown."""
    until = newest(request)
    return queryset if until is None else queryset.filter(created_at__lte=until)


def newest(request: HttpRequest) -> datetime | None:
    """Return the creation time of the newest workflow that the page which asked counted."""
    if NEWEST not in request.POST:
        return None
    try:
        found = parse_datetime(request.POST[NEWEST])
    except ValueError:
        found = None
    if found is None:
        raise BadRequest(f"{NEWEST} must be a date and time in ISO format.")
    return found
