"""manage.py dbos_show: shows a workflow with its steps."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser
from typing import Any

from django_dbos.conf import get_settings
from django_dbos.core.status import ACTIVE
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.management.base import DatabaseCommand, table_of
from django_dbos.management.rows import error_of, instant, lines_of, plain
from django_dbos.models import Checkpoint, Workflow
from django_dbos.operations.describing import WorkflowDescription, describe
from django_dbos.store import get_store

# The letters of a value that the text shows; JSON has it whole.
MAX_SHOWN = 200


class Command(DatabaseCommand):
    """Shows the row in words, and the steps as a table."""

    help = (
        "Shows a workflow: its status and the reason for it, its times, its values and its steps. "
        "Text shows the beginning of long values, JSON all of them. Exits with 1 if there is none."
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
        parser.add_argument("--no-steps", action="store_false", dest="steps", help="No steps.")

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
    return {
        "input": plain(row.input_text),
        "output": plain(row.output_text),
        "error": error_of(row.error_text),
    }


def _data(
    description: WorkflowDescription,
    values: dict[str, Any],
    steps: list[Any],
    *,
    payloads: bool,
) -> dict[str, Any]:
    data = {
        field.name: getattr(description, field.name) for field in dataclasses.fields(description)
    }
    if not payloads:
        del data["error"], data["attributes"]
    rows = [_step(step, payloads=payloads) for step in steps]
    return {**data, **values, "steps": rows}


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
        row |= {"output": plain(step.output_text), "error": error_of(step.error_text)}
    return row


def _lines(about: WorkflowDescription, values: dict[str, Any], steps: list[Any]) -> list[str]:
    error = values.get("error")
    facts = [
        ("Workflow", about.workflow_id),
        ("Function", about.name),
        ("Status", _status(about)),
        ("Why it isn't running", about.why_not_running),
        ("Waits for", about.waits_for),
        ("Queue", about.queue_name),
        ("Priority", about.priority or None),
        ("Partition key", about.partition_key),
        ("Deduplication id", about.deduplication_id),
        ("User", about.user_id),
        ("Parent", about.parent_id),
        ("Executor", about.executor_id),
        ("Run", about.run_number if about.run_number > 1 else None),
        ("Workers that died", about.recovery_attempts or None),
        ("Created", about.created_at),
        ("Started", about.started_at),
        ("Due", about.due_at if about.status.value in ACTIVE else None),
        ("Deadline", about.deadline_at),
        ("Ended", about.finished_at),
    ]
    if values:
        facts += [
            ("Attributes", _short(about.attributes) if about.attributes else None),
            ("Arguments", _short(values["input"])),
            ("Result", _short(values["output"]) if about.status == "SUCCESS" else None),
            ("Error", f"{error['class']}: {error['message']}" if error else None),
        ]
    lines = lines_of(facts)
    if steps:
        headings = ("STEP", "NAME", "STATE", "ATTEMPTS", "RECORDED")
        lines += ["", *table_of([headings, *map(_cells, steps)])]
    return lines


def _status(about: WorkflowDescription) -> str:
    label = f"{about.status.value}, {about.status.label}"
    return f"{label}, quarantined" if about.is_quarantined else label


def _cells(step: Any) -> tuple[str, ...]:
    state = "failed" if step.error_text is not None else str(Checkpoint.State(step.state).label)
    number, attempts = str(step.step_number), str(step.attempts)
    return (number, step.step_name, state, attempts, instant(step.recorded_at))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
