"""manage.py dbos_import: inserts the workflows of a JSON document."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_dbos.api.documents import import_workflows
from django_dbos.management.base import DatabaseCommand, read_document


class Command(DatabaseCommand):
    """Parses the arguments, and prints the ids."""

    help = (
        "Inserts the workflows of a document of dbos_export, all or none. Nothing runs them: "
        "those that were active arrive as CANCELLED. Exits with 1 if one exists already, or the "
        "document is damaged."
    )
    examples = ("order.json", "order.json --run --format json")

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", metavar="FILE", help='The document; "-" is standard input.')
        parser.add_argument(
            "--run", action="store_true", help="Resume the workflows that were active."
        )

    def perform(self, options: dict[str, Any]) -> None:
        """Import, and print the ids."""
        document = read_document(options["file"])
        ids = import_workflows(document, run=options["run"])
        self.audit("imported workflow", ids)
        self.answer(ids, ids)
