"""manage.py dbos_sweep_offloaded: deletes offloaded values that no row refers to."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser
from typing import Any

from django_dbos import offloading
from django_dbos.management.base import DatabaseCommand, UsageError
from django_dbos.operations.sweeping import DAYS, GAP, sweep
from django_dbos.store import get_store


class Command(DatabaseCommand):
    """Parses the arguments, and prints what was found and deleted."""

    help = (
        "Deletes the objects of DBOS['OFFLOAD'] that no row refers to any more. Workers do it once "
        "a day where DBOS['RETENTION'] is set; without, run it from time to time. It reads all "
        "tables of values, twice."
    )
    examples = ("--dry-run", "--days 7 --format json")

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what is to be deleted; delete nothing."
        )
        parser.add_argument(
            "--days",
            type=int,
            default=DAYS,
            help=f"The minimum age of an object (default: {DAYS}).",
        )
        parser.add_argument(
            "--gap",
            type=float,
            default=GAP,
            help=f"Seconds between the two searches for references (default: {GAP:g}).",
        )

    def perform(self, options: dict[str, Any]) -> None:
        """Sweep, and print the counts."""
        if options["days"] < 1 or options["gap"] < 0:
            raise UsageError(
                f"--days must be at least 1, and --gap at least 0, not {options['days']} and "
                f"{options['gap']:g}."
            )
        if offloading.limit() is None:
            raise UsageError("DBOS['OFFLOAD'] is not set, so there is no storage to sweep.")
        swept = sweep(
            get_store(), days=options["days"], gap=options["gap"], is_trial=options["dry_run"]
        )
        if not options["dry_run"]:
            self.audit(f"deleted {swept.deleted} large values")
        line = (
            f"Objects of at least {options['days']} days: {swept.objects}; without a row: "
            f"{swept.orphans}; deleted: {swept.deleted}."
        )
        self.answer(dataclasses.asdict(swept), [line])
