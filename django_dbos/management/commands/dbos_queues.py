"""manage.py dbos_queues: shows queues, and changes, pauses, resumes and resets them."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from django_dbos import queues
from django_dbos.exceptions import QueueDoesNotExist
from django_dbos.management.audit import system_user
from django_dbos.management.base import (
    ActionsCommand,
    UsageError,
    add_by,
    flag_of,
    refusing_values,
    table_of,
)
from django_dbos.operations.queues import MOST_COUNTED, QueueDescription
from django_dbos.store import get_store

ACTIONS = {
    "list": "Show all known queues.",
    "show": "Show a queue.",
    "set": "Change options of a queue; they override DBOS['QUEUES'] until reset.",
    "reset": "Drop the changed options of a queue.",
    "pause": "Stop a queue; workflows that run go on until they end or wait.",
    "resume": "Resume a paused queue.",
}
CHANGES = {"set": "changed", "reset": "reset", "pause": "paused", "resume": "resumed"}
COUNTS = ("concurrency", "worker_concurrency", "partition_concurrency")
RATES = ("rate_limit", "partition_rate_limit")
NONE = "none"
YES_OR_NO = {"yes": True, "no": False}


class Command(ActionsCommand):
    """Parses the arguments, and prints what django_dbos.queues returns."""

    help = (
        "Shows the queues with their limits and depths; changes, pauses, resumes and resets them. "
        "Workers apply changes at once. Exits with 1 for an unknown queue, and with 2 for an "
        "invalid option."
    )
    examples = (
        "list --format json",
        "set mail --concurrency 5 --rate-limit 100/m",
        "pause mail --by ada",
    )
    actions = ACTIONS
    noun = "queue"

    def add_action_options(self, parser: ArgumentParser, action: str) -> None:
        """Declare the options of one action."""
        if action == "set":
            _add_options(parser)
        if action == "pause":
            add_by(parser)

    def perform(self, options: dict[str, Any]) -> None:
        """Perform the action, and print the queues afterwards."""
        action = options["action"]
        with refusing_values():
            found = _perform(action, options)
        if change := CHANGES.get(action):
            by = f" in the name of {options['by']!r}" if options.get("by") else ""
            self.audit(f"{change}{by}: queue", [options["name"]])
        rows = _with_counts(found)
        self.answer(rows if action == "list" else rows[0], _table(rows))


def _add_options(parser: ArgumentParser) -> None:
    for option in COUNTS:
        parser.add_argument(flag_of(option), metavar="N", help=f"At least 1, or {NONE!r}.")
    for option in RATES:
        parser.add_argument(flag_of(option), metavar="RATE", help=f"Like 100/m, or {NONE!r}.")
    parser.add_argument(flag_of("hold_while_waiting"), choices=YES_OR_NO)
    parser.add_argument("--create", action="store_true", help="Create the queue if it is unknown.")


def _perform(action: str, options: dict[str, Any]) -> list[QueueDescription]:
    match action:
        case "list":
            return queues.list()
        case "set":
            return [_set(options["name"], options, may_create=options["create"])]
        case "reset":
            return [queues.reset(options["name"])]
        case "pause":
            return [queues.pause(options["name"], options["by"] or system_user())]
        case "resume":
            return [queues.resume(options["name"])]
    return [queues.get(options["name"])]


def _set(name: str, given: dict[str, Any], *, may_create: bool) -> QueueDescription:
    chosen = {
        option: _value(option, given[option]) for option in (*COUNTS, *RATES) if given[option]
    }
    if given["hold_while_waiting"]:
        chosen["hold_while_waiting"] = YES_OR_NO[given["hold_while_waiting"]]
    if not chosen:
        raise UsageError("set needs an option, such as --concurrency 5.")
    if not may_create:
        _check_known(name)
    return queues.set(name, **chosen)


def _check_known(name: str) -> None:
    try:
        queues.get(name)
    except QueueDoesNotExist as error:
        raise CommandError(f"{error} To make a new queue, add --create.") from error


def _value(option: str, text: str) -> Any:
    if text == NONE:
        return None
    if option in RATES:
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{flag_of(option)} must be a number or {NONE!r}, not {text!r}.") from None


def _with_counts(found: list[QueueDescription]) -> list[dict[str, Any]]:
    counts = get_store().read_queue_counts([queue.name for queue in found], MOST_COUNTED)
    return [
        {**dataclasses.asdict(queue), **dataclasses.asdict(counts[queue.name])} for queue in found
    ]


def _table(rows: list[dict[str, Any]]) -> list[str]:
    headings = ("QUEUE", "QUEUED", "RUNNING", "PLACES", "OPTIONS", "STATE")
    return table_of([headings, *map(_cells, rows)])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    in_force = " ".join(f"{name}={value}" for name, value in row["options"].items())
    numbers = (f"{row[name]:,}" for name in ("queued", "running", "places"))
    edited = " (edited)" if row["edited"] else ""
    return (row["name"], *numbers, f"{in_force or 'no limits'}{edited}", _state(row))


def _state(row: dict[str, Any]) -> str:
    if row["paused_at"] is None:
        return "open"
    by = f" by {row['paused_by']}" if row["paused_by"] else ""
    return f"paused since {row['paused_at'].isoformat(' ', 'seconds')}{by}"
