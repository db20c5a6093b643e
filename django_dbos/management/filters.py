"""The filters of commands on many workflows, and the pages of their list."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_dbos.conf import get_settings
from django_dbos.core import names, registry
from django_dbos.core.retention import ANY, matches
from django_dbos.management.base import UsageError, refuse_empty
from django_dbos.models import Workflow
from django_dbos.models.attributes import attribute_is
from django_dbos.models.workflows import WorkflowQuerySet
from django_dbos.store import get_store

TIME_FORM = (
    "a time with its zone, such as 2026-03-01T00:00Z, or an age, such as 90s, 30m, 12h or 7d"
)
_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# Options, the columns that they compare, and their help.
EQUAL = {
    "name": ("name", "The whole name of the function, such as shop.workflows.checkout."),
    "queue": ("queue_name", "The queue."),
    "user": ("user_id", "The pk of the user to whom they belong."),
    "schedule": ("schedule_name", "The schedule that has started them."),
    "parent": ("parent_id", "The id of the workflow that has started them."),
    "executor": ("executor_id", "The executor that runs them."),
    "partition-key": ("partition_key", "The partition key."),
    "deduplication-id": ("deduplication_id", "The deduplication id."),
}
TEXTS = ("since", "until", "prefix")
OTHERS = (*TEXTS, "status", "active", "quarantined", "attribute")
# The ids that one statement reads.
PAGE = 1_000


def add_filters(parser: ArgumentParser) -> None:
    """Declare the filters; together they narrow."""
    group = parser.add_argument_group("filters")
    group.add_argument(
        "--status",
        action="append",
        type=str.upper,
        choices=list(Workflow.Status.values),
        metavar="STATUS",
        help="A status such as ERROR; repeat the option for any of several.",
    )
    group.add_argument("--active", action="store_true", help="Those that haven't ended.")
    group.add_argument("--quarantined", action="store_true", help="Those that the engine stopped.")
    for flag, (_, text) in EQUAL.items():
        group.add_argument(f"--{flag}", help=text)
    group.add_argument("--prefix", metavar="TEXT", help="The beginning of their ids.")
    for flag, text in (("since", "Created then or later"), ("until", "Created before")):
        group.add_argument(f"--{flag}", metavar="TIME", help=f"{text}: {TIME_FORM}.")
    group.add_argument(
        "--attribute",
        action="append",
        metavar="KEY=VALUE",
        help="An attribute, such as order=17 or customer.id=7; repeat the option for several, all "
        "of which must match.",
    )


def is_filtered(options: dict[str, Any]) -> bool:
    """Return whether any filter is given."""
    names = [flag.replace("-", "_") for flag in EQUAL]
    return any(options[name] not in (None, False, []) for name in (*names, *OTHERS))


def filtered(options: dict[str, Any]) -> WorkflowQuerySet:
    """Return the workflows that the filters let through; raise UsageError."""
    for flag in (*EQUAL, *TEXTS):
        # A shell's empty variable must not mean all workflows.
        refuse_empty(options[flag.replace("-", "_")], f"--{flag}")
    found = Workflow.objects.using(get_settings().database)
    if options["status"]:
        found = found.filter(status__in=options["status"])
    if options["active"]:
        found = found.active()
    if options["quarantined"]:
        found = found.filter(is_quarantined=True)
    for flag, (column, _) in EQUAL.items():
        if (value := options[flag.replace("-", "_")]) is not None:
            found = found.filter(**{column: value})
    if options["since"]:
        found = found.filter(created_at__gte=time_of(options["since"], "--since"))
    if options["until"]:
        found = found.filter(created_at__lt=time_of(options["until"], "--until"))
    if options["prefix"]:
        # A range: LIKE doesn't use every database's index.
        beginning = options["prefix"]
        found = found.filter(workflow_id__gte=beginning, workflow_id__lt=f"{beginning}\U0010ffff")
    for text in options["attribute"] or ():
        found = found.filter(_attribute(text))
    return found


def name_hint(name: str | None) -> str:
    """Return what may be wrong with `--name`, if no workflow has it, after a space; or "".

    A "*" at its end stands for any end of a name.
    """
    if name is None or any(matches(name, one) for one in registry.workflows):
        return ""
    if name.endswith(ANY):
        parts = (one.split(".") for one in registry.workflows)
        known = {
            f"{'.'.join(some[:count])}.{ANY}" for some in parts for count in range(1, len(some))
        }
        return f" No function here has a name like {name!r}.{names.suggest(name, sorted(known))}"
    if whole := sorted(one for one in registry.workflows if one.endswith(f".{name}")):
        return f" --name takes the whole name: {' or '.join(whole)}."
    return f" No function here is named {name!r}.{names.suggest(name, registry.workflows)}"


def pages(found: WorkflowQuerySet) -> Iterator[list[str]]:
    """Yield the ids of workflows in pages by id, so that those that come meanwhile end it, too."""
    last = ""
    while ids := list(
        found.filter(workflow_id__gt=last)
        .order_by("workflow_id")
        .values_list("workflow_id", flat=True)[:PAGE]
    ):
        yield ids
        last = ids[-1]


def newest(found: WorkflowQuerySet, after: str | None, limit: int) -> tuple[list[Any], str | None]:
    """Return a page of workflows, the newest first, and the place after it; None at the end."""
    if after:
        created_at, workflow_id = place_of(after)
        later = Q(created_at=created_at, workflow_id__lt=workflow_id)
        found = found.filter(created_at__lte=created_at).filter(
            Q(created_at__lt=created_at) | later
        )
    found = found.defer("input_text", "output_text", "error_text")
    rows = list(found.order_by("-created_at", "-workflow_id")[: limit + 1])
    more = len(rows) > limit
    return rows[:limit], place_after(rows[limit - 1]) if more else None


def place_after(row: Any) -> str:
    """Return the place after a workflow in the list, as `--after` takes it."""
    created_at = row.created_at
    if timezone.is_aware(created_at):
        created_at = created_at.astimezone(UTC)
    return f"{created_at.isoformat()}/{row.workflow_id}"


def place_of(text: str) -> tuple[datetime, str]:
    """Return the time and id of such a place; raise UsageError."""
    instant, slash, workflow_id = text.partition("/")
    try:
        found = parse_datetime(instant)
    except ValueError:
        found = None
    if found is None or not slash or timezone.is_aware(found) is not settings.USE_TZ:
        raise UsageError(f"--after must be what the page before ended with, not {text!r}.")
    return found, workflow_id


def time_of(text: str, flag: str) -> datetime:
    """Return the instant that a text stands for; raise UsageError."""
    if age := _AGE.fullmatch(text):
        number, unit = age.groups()
        return timezone.now() - timedelta(**{_UNITS[unit]: int(number)})
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or (settings.USE_TZ and timezone.is_naive(found)):
        raise UsageError(f"{flag} must be {TIME_FORM}, not {text!r}.")
    if timezone.is_aware(found) and not settings.USE_TZ:
        return timezone.make_naive(found)
    return found


def _attribute(text: str) -> Q:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--attribute must be KEY=VALUE, not {text!r}.")
    return attribute_is(key, value, indexed=get_store().indexes_attributes)
