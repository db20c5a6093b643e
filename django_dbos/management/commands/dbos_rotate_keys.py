"""manage.py dbos_rotate_keys: encrypts stored values again, by the primary key."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import CommandError

from django_dbos import encryption
from django_dbos.management.base import DatabaseCommand, UsageError, table_of
from django_dbos.operations.rotation import BATCH, Rotated, rotate
from django_dbos.store import get_store


class Command(DatabaseCommand):
    """Parses the arguments, and prints what was done with each table."""

    help = (
        "Encrypts stored values again with the primary key of DBOS['ENCRYPTION'], or decrypts them "
        "if PRIMARY is None. Workers and web processes may run meanwhile, and the command may be "
        "stopped and started again. Exits with 1 if values are left whose key is missing."
    )
    examples = ("--dry-run", "--batch 200 --pause 0.1", "--plain --format json")

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what is to be done, and change nothing."
        )
        parser.add_argument(
            "--plain", action="store_true", help="Also encrypt values that are stored in plain."
        )
        parser.add_argument("--batch", type=int, default=BATCH, help="Rows that are read at once.")
        parser.add_argument(
            "--pause", type=float, default=0.0, help="Seconds between two batches (default: 0)."
        )

    def perform(self, options: dict[str, Any]) -> None:
        """Rotate, and print a line for each table with something to do."""
        ring = encryption.get_keyring()
        if ring is None:
            raise UsageError("DBOS['ENCRYPTION'] is not set, so there is no key to rotate to.")
        if options["plain"] and ring.primary is None:
            raise UsageError("--plain encrypts, but DBOS['ENCRYPTION']['PRIMARY'] is None.")
        if options["batch"] < 1 or options["pause"] < 0:
            raise UsageError(
                f"--batch must be at least 1, and --pause at least 0, not {options['batch']} and "
                f"{options['pause']:g}."
            )
        done: dict[tuple[str, str], Rotated] = {}
        for table in rotate(
            get_store(),
            with_plain=options["plain"],
            is_trial=options["dry_run"],
            batch=options["batch"],
            pause=options["pause"],
        ):
            done[table.database, table.table] = table
        tables = [table for table in done.values() if table.found]
        if not options["dry_run"]:
            self.audit("rotated the keys of values")
        lines = _lines(tables, is_trial=options["dry_run"]) or [_nothing(options["plain"])]
        self.answer([_as_json(table) for table in tables], lines)
        _check(tables)


def _lines(tables: list[Rotated], *, is_trial: bool) -> list[str]:
    if not tables:
        return []
    heading = ("TABLE", "DATABASE", "ROWS", "TO CHANGE" if is_trial else "CHANGED", "LEFT")
    rows = [
        (
            table.table,
            table.database,
            str(table.found),
            str(table.found - _left(table) if is_trial else table.changed),
            str(_left(table)),
        )
        for table in tables
    ]
    return table_of([heading, *rows])


def _nothing(with_plain: bool) -> str:
    if with_plain:
        return "Nothing to do: all values are as the primary key makes them."
    return (
        "Nothing to do: no value is encrypted with another key than the primary one. Values that "
        "are stored in plain count only with --plain."
    )


def _check(tables: list[Rotated]) -> None:
    missing: Counter[str] = sum((table.missing for table in tables), Counter())
    damaged = sum(table.damaged for table in tables)
    faults = [
        f"{count} rows are encrypted with key {key_id!r}, which isn't in "
        "DBOS['ENCRYPTION']['KEYS']."
        for key_id, count in sorted(missing.items())
    ]
    if damaged:
        faults.append(f"{damaged} rows aren't as they were written, and were left alone.")
    if faults:
        raise CommandError(" ".join(faults))


def _left(table: Rotated) -> int:
    return sum(table.missing.values()) + table.damaged


def _as_json(table: Rotated) -> dict[str, Any]:
    return {
        "table": table.table,
        "database": table.database,
        "rows": table.found,
        "changed": table.changed,
        "missing_keys": dict(sorted(table.missing.items())),
        "damaged": table.damaged,
    }
