"""manage.py dbos_list: lists workflows."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_dbos.management.base import DatabaseCommand, UsageError, table_of
from django_dbos.management.filters import add_filters, filtered, name_hint, newest
from django_dbos.management.rows import HEADINGS, cells_of, data_of

MOST = 10_000


class Command(DatabaseCommand):
    """Lists the newest workflows that the filters let through, page by page."""

    help = (
        "Lists workflows, the newest first, as a table or as JSON with the place of the next page. "
        "Pages go by key: each is as fast as the first, and none is shown twice."
    )
    examples = (
        "--status ERROR --since 24h",
        "--queue mail --active --limit 20",
        "--attribute customer.id=17 --format json",
    )

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the filters and the page."""
        parser.add_argument("--limit", type=int, default=50, metavar="N", help="Default: 50.")
        parser.add_argument(
            "--after", metavar="PLACE", help='The end of the previous page: "next" in its JSON.'
        )
        add_filters(parser)

    def perform(self, options: dict[str, Any]) -> None:
        """List them."""
        if not 1 <= options["limit"] <= MOST:
            raise UsageError(f"--limit must be from 1 to {MOST:,}, not {options['limit']}.")
        rows, after = newest(filtered(options), options["after"], options["limit"])
        self.answer(
            {"workflows": [data_of(row) for row in rows], "next": after},
            table_of([HEADINGS, *map(cells_of, rows)]) if rows else (),
        )
        if not self.is_json and after:
            self.stderr.write(f"There are more: --after {after}", self.style.NOTICE)
        if not self.is_json and not rows:
            self.stderr.write(
                f"No workflow matches.{name_hint(options['name'])}", self.style.NOTICE
            )
