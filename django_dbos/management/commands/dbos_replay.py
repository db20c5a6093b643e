"""manage.py dbos_replay: compares a recorded history with the code, without running a step."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from django_dbos.management.base import DatabaseCommand, UsageError, read_document
from django_dbos.operations import importing
from django_dbos.operations.replaying import Replayed, replay, replay_rows
from django_dbos.store import get_store


class Command(DatabaseCommand):
    """Parses the arguments, and prints the outcome of each replay."""

    help = (
        "Replays stored workflows, or those of a document of dbos_export, against the code: no "
        "step runs, and nothing is written. Prints the first difference of each. Exits with 1 if "
        "there is one."
    )
    examples = ("0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11", "--file order.json --format json")

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workflow_id", nargs="*", metavar="ID", help="The id of a workflow.")
        parser.add_argument("--file", help='A document of dbos_export; "-" is standard input.')

    def perform(self, options: dict[str, Any]) -> None:
        """Replay, and print the outcomes."""
        ids, path = options["workflow_id"], options["file"]
        if not ids and path is None:
            raise UsageError("Name a workflow, or give a document: --file FILE.")
        found = list(_of_document(path, ids) if path is not None else _of_database(ids))
        listed = [{**dataclasses.asdict(one), "fits": one.fits} for one in found]
        self.answer(listed, map(str, found))
        differing = sum(not one.fits for one in found)
        if differing:
            raise CommandError(f"Workflows that don't fit the code: {differing} of {len(found)}.")


def _of_database(ids: list[str]) -> Iterator[Replayed]:
    for workflow_id in ids:
        yield replay(get_store(), workflow_id)


def _of_document(path: str, ids: list[str]) -> Iterator[Replayed]:
    histories = importing.read_histories(read_document(path))
    unknown = set(ids) - {workflow.pk for workflow, _ in histories}
    if unknown:
        raise CommandError(f"The document has no workflow {min(unknown)!r}.")
    for workflow, checkpoints in histories:
        if not ids or workflow.pk in ids:
            yield replay_rows(get_store(), workflow, checkpoints)
