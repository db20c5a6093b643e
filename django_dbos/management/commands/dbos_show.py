"""manage.py dbos_show: shows a workflow with its steps."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser
from typing import Any

from django_dbos.conf import get_settings
from django_dbos.core.status import Status
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.management.base import DatabaseCommand, table_of
from django_dbos.management.rows import (
    error_in_words,
    instant,
    lines_of,
    redacted,
    shown,
)
from django_dbos.models import Checkpoint, Workflow
from django_dbos.operations.describing import WorkflowDescription, describe
from django_dbos.store import get_store

# The letters of a value that the text shows; JSON has it whole.
MAX_SHOWN = 200


class Command(DatabaseCommand):
    """Shows the row in words, and the steps as a table."""

    help = (
        "Shows a workflow: its status and the reason for it, its values, redacted by "
        "DBOS['REDACT'], and its steps. Text shows the beginning of long values, JSON all of them. "
        "Exits with 1 if there is no such workflow."
    )
    examples = (
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11",
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11 --format json --no-payloads",
    )

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the id, and what isn't shown."""
        parser.add_argument("workflow_id", metavar="ID", help="The workflow.")
        parser.add_argument(
            "--no-payloads",
            action="store_false",
            dest="payloads",
            help="Leave out arguments, results, error messages and attributes.",
        )
        parser.add_argument(
            "--no-steps", action="store_false", dest="steps", help="Leave out the steps."
        )

    def perform(self, options: dict[str, Any]) -> None:
        """Show it."""
        alias, workflow_id = get_settings().database, options["workflow_id"]
        row = Workflow.objects.using(alias).filter(workflow_id=workflow_id).first()
        if row is None:
            raise WorkflowDoesNotExist(workflow_id)
        description = describe(get_store(), workflow_id)
        steps: list[Checkpoint] = []
        if options["steps"]:
            found = Checkpoint.objects.using(alias).filter(workflow_id=workflow_id)
            steps = list(found.order_by("step_number"))
        values = _values(row) if options["payloads"] else {}
        self.answer(
            _data(description, values, steps, payloads=options["payloads"]),
            _lines(description, values, steps),
        )


def _values(row: Any) -> dict[str, Any]:
    attributes = row.attributes
    return {
        "input": shown(row, "input", row.input_text),
        "output": shown(row, "output", row.output_text),
        "error": shown(row, "error", row.error_text),
        "attributes": attributes and redacted(row, "attributes", attributes),
    }


def _data(
    about: WorkflowDescription, values: dict[str, Any], steps: list[Any], *, payloads: bool
) -> dict[str, Any]:
    data = {field.name: getattr(about, field.name) for field in dataclasses.fields(about)}
    del data["error"], data["attributes"]
    rows = [_step(step, payloads=payloads) for step in steps]
    return {**data, "step_count": about.steps, **values, "steps": rows}


def _step(step: Any, *, payloads: bool) -> dict[str, Any]:
    row = {
        "step_number": step.step_number,
        "step_name": step.step_name,
        "state": Checkpoint.State(step.state).name,
        "attempts": step.attempts,
        "has_failed": step.error_text is not None,
        "related_workflow_id": step.related_workflow_id,
        "started_at": step.started_at,
        "recorded_at": step.recorded_at,
        "deadline_at": step.deadline_at,
    }
    if payloads:
        row |= {
            "output": shown(step, "output", step.output_text),
            "error": shown(step, "error", step.error_text),
            "attempt_errors": shown(step, "attempt_errors", step.attempt_errors_text),
        }
    return row


def _lines(about: WorkflowDescription, values: dict[str, Any], steps: list[Any]) -> list[str]:
    # The error is among the values, as far as it is shown.
    lines = str(dataclasses.replace(about, error=None)).splitlines()
    facts = [
        ("Deduplication id", about.deduplication_id),
        ("Deadline", about.deadline_at),
    ]
    if values:
        has_result = about.status.value == Status.SUCCESS
        facts += [
            ("Attributes", _short(values["attributes"]) if values["attributes"] else None),
            ("Arguments", _short(values["input"])),
            ("Result", _short(values["output"]) if has_result else None),
            ("Error", error_in_words(values["error"])),
        ]
    if found := lines_of(facts):
        lines += ["", *found]
    if steps:
        headings = ("STEP", "NAME", "STATE", "ATTEMPTS", "RECORDED")
        lines += ["", *table_of([headings, *map(_cells, steps)])]
    return lines


def _cells(step: Any) -> tuple[str, ...]:
    state = "failed" if step.error_text is not None else str(Checkpoint.State(step.state).label)
    number, attempts = str(step.step_number), str(step.attempts)
    return (number, step.step_name, state, attempts, instant(step.recorded_at))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
