"""manage.py dbos_start: starts a workflow, and waits for its result on request."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from django_dbos.conf import get_settings
from django_dbos.core import names, registry
from django_dbos.core.durations import LONGEST
from django_dbos.exceptions import WaitTimeout, WorkflowDoesNotExist
from django_dbos.handles import WorkflowHandle
from django_dbos.management.base import (
    DatabaseCommand,
    Unfinished,
    UsageError,
    flag_of,
    printable,
    refusing_values,
)
from django_dbos.management.filters import time_of
from django_dbos.management.json_values import json_of
from django_dbos.management.rows import shown
from django_dbos.models import Workflow
from django_dbos.workflow_functions import start_by_name


def _run_after(text: str) -> datetime | float:
    try:
        return float(text)
    except ValueError:
        return time_of(text, "--run-after")


# The options of using(), how their texts are read, and their help.
OPTIONS: dict[str, tuple[Any, str]] = {
    "workflow_id": (str, "The id (default: a new UUIDv7)."),
    "queue_name": (str, "The queue (default: the function's)."),
    "priority": (int, "From -100 to 100, higher first."),
    "run_after": (_run_after, "The earliest start: seconds from now, or a time with its zone."),
    "timeout": (float, "The longest duration from the first run on, in seconds."),
    "partition_key": (str, "The workflow's part of its queue."),
    "deduplication_id": (str, "An id that is unique among the queue's active workflows."),
    "unique_for": (float, "Seconds for which the deduplication id stays taken."),
    "on_existing": (str, "If the id is taken: return (the default) or reject."),
    "on_duplicate": (
        str,
        "If the deduplication id is taken: return (the default), reject or replace.",
    ),
    "debounce_key": (str, "Starts with this key become one, after --delay without another."),
    "delay": (float, "Seconds without another start with the debounce key."),
    "max_delay": (float, "The longest delay of a debounced start, in seconds."),
    "user": (str, "The pk of the user to whom it belongs."),
}


class Command(DatabaseCommand):
    """Starts a workflow by its name."""

    help = (
        "Starts a workflow, with the checks of start(), and prints its id; with --wait also its "
        "result. Exits with 1 if it is refused or fails, and with 4 once --wait-timeout is over; "
        "the workflow then continues."
    )
    examples = (
        "shop.workflows.checkout --args '[17]' --queue-name orders",
        """checkout --kwargs '{"order_id": 17}' --workflow-id order-17 --wait --format json""",
        "checkout --args '[17]' --run-after 2026-03-01T00:00Z",
    )

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the function, its arguments and the options of the start."""
        parser.add_argument(
            "name", metavar="NAME", help="The function's name, or its last part where it is unique."
        )
        parser.add_argument(
            "--args",
            dest="given_args",
            default="[]",
            metavar="JSON",
            help="A list of arguments; - reads it from stdin.",
        )
        parser.add_argument(
            "--kwargs",
            dest="given_kwargs",
            default="{}",
            metavar="JSON",
            help="An object of keyword arguments; - reads it from stdin.",
        )
        for option, (_, text) in OPTIONS.items():
            parser.add_argument(flag_of(option), metavar="VALUE", help=text)
        parser.add_argument("--attributes", metavar="JSON", help="An object of plain values.")
        parser.add_argument(
            "--elsewhere",
            action="store_true",
            help="The code is another project's: don't look for the name here. Without --wait, "
            "stderr says so if no live worker has it.",
        )
        parser.add_argument("--wait", action="store_true", help="Wait for the result.")
        parser.add_argument(
            "--wait-timeout", type=float, metavar="SECONDS", help="Default: no limit."
        )

    def perform(self, options: dict[str, Any]) -> None:
        """Start it."""
        args = json_of(options["given_args"], "--args")
        kwargs = json_of(options["given_kwargs"], "--kwargs")
        if not isinstance(args, list):
            raise UsageError(f"--args must be a JSON list such as [17], not {args!r}.")
        if not isinstance(kwargs, dict):
            raise UsageError(f"--kwargs must be a JSON object, not {kwargs!r}.")
        if options["wait_timeout"] is not None and not options["wait"]:
            raise UsageError("--wait-timeout needs --wait.")
        if not 0 <= (options["wait_timeout"] or 0) <= LONGEST:
            raise UsageError("--wait-timeout must be a number of seconds, and not negative.")
        name = options["name"] if options["elsewhere"] else _name(options["name"])
        with refusing_values():
            handle = start_by_name(name, *args, using=_using(options), **kwargs)
        self.audit(f"started {name!r} as workflow", [handle.workflow_id])
        if options["wait"]:
            self._wait(handle, options["wait_timeout"])
        else:
            self.answer({"workflow_id": handle.workflow_id}, [handle.workflow_id])
            if options["elsewhere"] and (why := handle.describe().why_not_running):
                # Nobody has checked the name: a worker has it, or nothing happens.
                self.stderr.write(printable(why), self.style.NOTICE)

    def _wait(self, handle: WorkflowHandle[Any], timeout: float | None) -> None:
        failure = None
        try:
            handle.get_result(timeout=timeout)
        except Exception as error:
            failure = error
        row = Workflow.objects.using(get_settings().database).filter(pk=handle.workflow_id).first()
        # The function may have raised what the wait itself raises: the row decides.
        if failure is not None and (row is None or row.is_active):
            if row is None or not isinstance(failure, WaitTimeout):
                raise failure
            self._print(row)
            why = handle.describe().why_not_running or "It goes on."
            raise Unfinished(f"Workflow {handle.workflow_id!r} hasn't ended. {why}")
        if row is None:
            raise WorkflowDoesNotExist(handle.workflow_id)
        self._print(row)
        if failure is not None:
            raise CommandError(f"{type(failure).__name__}: {failure}")

    def _print(self, row: Workflow) -> None:
        output = shown(row, "output", row.output_text)
        data = {
            "workflow_id": row.workflow_id,
            "status": row.status,
            "output": output,
            "error": shown(row, "error", row.error_text),
        }
        lines = [str(row.workflow_id)]
        if row.status == Workflow.Status.SUCCESS:
            lines.append(json.dumps(output, ensure_ascii=False))
        self.answer(data, lines)


def _name(text: str) -> str:
    """Return the name of a function; raise CommandError unless this process has it."""
    if text in registry.workflows:
        return text
    found = [name for name in registry.workflows if name.rpartition(".")[2] == text]
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError(f"Several functions are named {text!r}: {', '.join(sorted(found))}.")
    candidates = [*registry.workflows, *(name.rpartition(".")[2] for name in registry.workflows)]
    raise CommandError(
        f"No workflow function is named {text!r}.{names.suggest(text, candidates)} "
        "If its code is elsewhere, add --elsewhere."
    )


def _using(options: dict[str, Any]) -> Any:
    given: dict[str, Any] = {}
    for option, (read, _) in OPTIONS.items():
        if (text := options[option]) is None:
            continue
        try:
            given[option] = read(text)
        except ValueError:
            raise UsageError(f"{flag_of(option)} must be a number, not {text!r}.") from None
    if options["attributes"] is not None:
        given["attributes"] = json_of(options["attributes"], "--attributes")
    return given
