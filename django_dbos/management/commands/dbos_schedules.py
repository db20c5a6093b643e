"""manage.py dbos_schedules: shows schedules; pauses, triggers, backfills and edits them."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_dbos import schedules
from django_dbos.management.audit import system_user
from django_dbos.management.base import (
    ActionsCommand,
    UsageError,
    add_by,
    flag_of,
    refusing_values,
    table_of,
)
from django_dbos.models import Schedule

ACTIONS = {
    "list": "Show all schedules.",
    "show": "Show a schedule with its options.",
    "pause": "Pause a schedule; instants that pass meanwhile aren't caught up.",
    "resume": "Resume a paused schedule.",
    "trigger": "Start the workflow of a schedule now.",
    "backfill": "Start the workflows of past instants that haven't been started.",
    "edit": "Change options of a schedule; they override its declaration until reset.",
    "reset": "Drop the edited options of a declared schedule.",
    "delete": "Delete a schedule that isn't declared.",
}

CHANGES = {
    "pause": "paused",
    "resume": "resumed",
    "trigger": "triggered",
    "backfill": "backfilled",
    "edit": "edited",
    "reset": "reset",
    "delete": "deleted",
}


def _instant_of(text: str) -> datetime:
    """Return an instant, with its zone; raise ValueError for anything else."""
    found = parse_datetime(text)
    if found is None or not (timezone.is_aware(found) or not settings.USE_TZ):
        raise ValueError(text)
    return found


# Options of edit, and the functions that read their texts.
EDITABLE: dict[str, Any] = {
    "cron": str,
    "every": float,
    "timezone": str,
    "queue_name": str,
    "priority": int,
    "partition_key": str,
    "start": _instant_of,
    "end": _instant_of,
    "jitter": float,
    "catch_up": str,
    "catch_up_window": float,
    "overlap": str,
    "pause_after_failures": int,
    "args": json.loads,
    "kwargs": json.loads,
}
NONE = "none"
FORMS: dict[Any, str] = {
    str: "a text",
    float: "seconds",
    int: "a number",
    json.loads: "JSON",
    _instant_of: "a date and time with its zone, like 2026-03-01T00:00Z or 2026-03-01T00:00+01:00",
}


class Command(ActionsCommand):
    """Parses the arguments, and prints what django_dbos.schedules returns."""

    help = (
        "Shows the schedules with their next and last instants; pauses, resumes, triggers, "
        "backfills, edits, resets and deletes them. Exits with 1 for an unknown schedule, and with "
        "2 for an invalid option."
    )
    examples = (
        "list --format json",
        """pause nightly --reason "migration" --by ada""",
        "backfill nightly --first 2026-03-01T00:00Z --last 2026-03-02T00:00Z",
    )
    actions = ACTIONS
    noun = "schedule"

    def add_action_options(self, parser: ArgumentParser, action: str) -> None:
        """Declare the options of one action."""
        _add_options(parser, action)

    def perform(self, options: dict[str, Any]) -> None:
        """Perform the action, and print its answer."""
        action = options["action"]
        with refusing_values():
            try:
                found, started = _perform(action, options)
            except ImportError as error:
                # A schedule names its function by a path.
                raise CommandError(str(error)) from error
        if change := CHANGES.get(action):
            by = f" in the name of {options['by']!r}" if options.get("by") else ""
            self.audit(f"{change}{by}: schedule", [options["name"]])
            self.audit("started workflow", started)
        self.answer(_data(action, found, started), _lines(action, found, started))


def _add_options(parser: ArgumentParser, action: str) -> None:
    if action == "pause":
        parser.add_argument("--reason", default="", help="The reason, for the admin.")
        add_by(parser)
    if action == "backfill":
        for name in ("--first", "--last"):
            parser.add_argument(name, required=True, metavar="TIME", help="As 2026-03-01T00:00Z.")
    if action == "edit":
        for option in EDITABLE:
            # Django itself has an `args`.
            parser.add_argument(
                flag_of(option),
                dest=_dest(option),
                metavar="VALUE",
                help=f"{_capitalized(FORMS[EDITABLE[option]])}, or {NONE!r}.",
            )


def _capitalized(text: str) -> str:
    # Not str.capitalize(), which makes the other letters small: of JSON, and of the example.
    return f"{text[0].upper()}{text[1:]}"


def _dest(option: str) -> str:
    return f"new_{option}"


def _perform(action: str, options: dict[str, Any]) -> tuple[list[Schedule], list[str]]:
    """Return the schedules to print, and the ids of started workflows."""
    if action == "list":
        return schedules.list(), []
    name, started = options["name"], []
    match action:
        case "pause":
            schedules.pause(name, options["reason"], by=options["by"] or system_user())
        case "resume":
            schedules.resume(name)
        case "trigger":
            started = [schedules.trigger(name).workflow_id]
        case "backfill":
            first, last = (_time(options[key], f"--{key}") for key in ("first", "last"))
            started = [handle.workflow_id for handle in schedules.backfill(name, first, last)]
        case "edit":
            schedules.edit(name, **_edits(options))
        case "reset":
            schedules.reset(name)
        case "delete":
            schedules.delete(name)
            return [], []
    return [schedules.get(name)], started


def _edits(options: dict[str, Any]) -> Any:
    given = {name: text for name in EDITABLE if (text := options[_dest(name)]) is not None}
    if not given:
        raise UsageError("edit needs an option, such as --cron '0 4 * * *'.")
    edits = {}
    for name, text in given.items():
        is_none = text == NONE and name != "catch_up"
        try:
            edits[name] = None if is_none else EDITABLE[name](text)
        except ValueError:
            raise UsageError(
                f"{flag_of(name)} must be {FORMS[EDITABLE[name]]}, not {text!r}."
            ) from None
    return edits


def _time(text: str, flag: str) -> datetime:
    try:
        return _instant_of(text)
    except ValueError:
        raise UsageError(f"{flag} must be {FORMS[_instant_of]}, not {text!r}.") from None


def _data(action: str, found: list[Schedule], started: list[str]) -> Any:
    rows = [_row(schedule) for schedule in found]
    return rows if action == "list" else {**(rows[0] if rows else {}), "started": started}


def _lines(action: str, found: list[Schedule], started: list[str]) -> list[str]:
    if action == "list" and not found:
        return ["There are no schedules. A worker writes declared ones when it starts."]
    lines = [*_table(found), *started]
    if action == "show":
        lines += [f"{name}: {_value(value)}" for name, value in found[0].options.items()]
    return lines


def _row(schedule: Schedule) -> dict[str, Any]:
    columns = (
        "name",
        "workflow_name",
        "description",
        "next_at",
        "last_at",
        "last_workflow_id",
        "paused_at",
        "paused_by",
        "paused_reason",
        "tzdata",
        "declared",
        "edited",
        "options",
    )
    return {column: getattr(schedule, column) for column in columns}


def _table(found: list[Schedule]) -> list[str]:
    headings = ("SCHEDULE", "TIMES", "NEXT", "LAST", "STATE")
    return table_of([headings, *map(_cells, found)]) if found else []


def _cells(schedule: Schedule) -> tuple[str, ...]:
    edited = " (edited)" if schedule.is_edited else ""
    return (
        str(schedule.name),
        f"{schedule.description}{edited}",
        _instant(schedule.next_at),
        _instant(schedule.last_at),
        _state(schedule),
    )


def _state(schedule: Schedule) -> str:
    if schedule.paused_at is None:
        return "active" if schedule.next_at is not None else "ended"
    by = f" by {schedule.paused_by}" if schedule.paused_by else ""
    reason = f": {schedule.paused_reason}" if schedule.paused_reason else ""
    return f"paused since {_instant(schedule.paused_at)}{by}{reason}"


def _instant(value: datetime | None) -> str:
    return "-" if value is None else value.isoformat(" ", "seconds")


def _value(value: Any) -> str:
    return NONE if value is None else str(value)
