"""manage.py dbos_export: writes workflows as a JSON document."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from django_dbos.api.documents import export_workflows
from django_dbos.management.base import DatabaseCommand, refusing_values


class Command(DatabaseCommand):
    """Parses the arguments, and writes the document."""

    help = (
        "Writes workflows with all their rows as a JSON document, which dbos_import and "
        "dbos_replay read. Exits with 1 for an unknown id, or a value whose key is missing."
    )
    examples = (
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11 --children --output order.json",
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11 --decrypt",
    )

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workflow_id", nargs="+", metavar="ID", help="The id of a workflow.")
        parser.add_argument(
            "--children", action="store_true", help="Also export the workflows that these started."
        )
        parser.add_argument(
            "--decrypt", action="store_true", help="Write encrypted values in plain."
        )
        parser.add_argument("--output", type=Path, help="The file (default: standard output).")

    def perform(self, options: dict[str, Any]) -> None:
        """Export, and write the document."""
        with refusing_values():
            document = export_workflows(
                options["workflow_id"], children=options["children"], decrypt=options["decrypt"]
            )
        ids = [one["workflow"]["workflow_id"] for one in document["workflows"]]
        change = "exported, decrypted: workflow" if options["decrypt"] else "exported workflow"
        self.audit(change, ids)
        text = json.dumps(document, indent=1, ensure_ascii=False)
        if options["output"] is None:
            self.stdout.write(text)
            return
        try:
            options["output"].write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(
                f"{str(options['output'])!r} can't be written: {error.strerror}."
            ) from error
        self.stderr.write(f"Workflows written: {len(document['workflows'])}")
