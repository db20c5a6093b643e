"""manage.py dbos_prune: deletes old finished workflows now, or shows which would go."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.db import Error

from django_dbos.conf import get_settings
from django_dbos.core import durations
from django_dbos.core.ids import new_uuid
from django_dbos.core.retention import (
    ANY,
    RetentionRule,
    Rules,
    check_pattern,
    parse_statuses,
)
from django_dbos.executor.pruning import Pruned, Pruning, pruning_of
from django_dbos.management.base import (
    DatabaseCommand,
    Unavailable,
    UsageError,
    refuse_empty,
    refusing_values,
    table_of,
)
from django_dbos.management.filters import name_hint
from django_dbos.store import errors, get_store
from django_dbos.store.sessions import Session

HEADINGS = ("NAME", "STATUS", "WORKFLOWS")


class Command(DatabaseCommand):
    """Parses the arguments, deletes with rests as a worker does, and prints what is gone."""

    help = (
        "Deletes finished workflows by the rules of DBOS['RETENTION'], or by --older-than or "
        "--keep, with pauses, so that workers aren't held up. This can't be undone: use --dry-run "
        "first."
    )
    examples = ("--dry-run", "--older-than 30d --status SUCCESS", "--keep 1000 --name 'shop.*'")

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare what goes."""
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Delete nothing; count the workflows that would go.",
        )
        parser.add_argument(
            "--older-than", metavar="AGE", help="Instead of the setting: the age, such as 30d."
        )
        parser.add_argument(
            "--keep",
            metavar="N",
            type=int,
            help="Instead of the setting: the number that stays of each function.",
        )
        parser.add_argument(
            "--status", action="append", metavar="STATUS", help="Only these; may be repeated."
        )
        parser.add_argument("--name", help="Only this function; shop.* for a beginning.")
        parser.add_argument(
            "--strays",
            action="store_true",
            help="Also delete rows of workflows that are gone; this reads every table.",
        )

    def perform(self, options: dict[str, Any]) -> None:
        """Prune, and print the numbers by function and status."""
        with refusing_values():
            rules = _rules(options)
        store, settings = get_store(), get_settings()
        pruning = pruning_of(store, time.monotonic, settings, rules)
        session = store.connect(f"prune-{new_uuid()}", "prune")
        try:
            pruned = _prune(session, pruning, options)
        except (errors.StoreError, Error) as error:
            raise Unavailable(f"The database didn't answer: {error}") from error
        finally:
            session.close()
        if not options["dry_run"]:
            self.audit(f"deleted {pruned.total} workflows, {pruned.past_runs} past runs")
        self.answer(_data(pruned, options), _lines(pruned, options))
        if not pruned.total and (hint := name_hint(options["name"])):
            self.stderr.write(hint.strip(), self.style.NOTICE)


def _rules(options: dict[str, Any]) -> Rules:
    older_than, keep = options["older_than"], options["keep"]
    refuse_empty(options["name"], "--name")
    if options["strays"] and options["dry_run"]:
        raise UsageError("--strays and --dry-run can't be combined: strays aren't counted before.")
    if older_than is not None and keep is not None:
        raise UsageError("--older-than and --keep can't be combined.")
    if older_than is None and keep is None:
        rules = get_settings().retention
        if options["status"] or options["name"]:
            raise UsageError("--status and --name need --older-than or --keep.")
        if rules is None:
            raise UsageError(
                "DBOS['RETENTION'] isn't set. Give --older-than, such as --older-than 30d."
            )
        return rules
    if keep is not None and keep < 1:
        raise UsageError(f"--keep must be at least 1, not {keep}.")
    age = None if older_than is None else durations.from_text(older_than, label="--older-than")
    if age == 0:
        raise UsageError("--older-than must be more than 0.")
    rule = RetentionRule(
        name=check_pattern(options["name"] or ANY, "--name"),
        statuses=parse_statuses(options["status"], "--status"),
        age=age,
        count=keep,
    )
    return (rule,)


def _prune(session: Session, pruning: Pruning, options: dict[str, Any]) -> Pruned:
    is_dry = options["dry_run"]
    pruned = _last(pruning.find_old(session) if is_dry else pruning.delete_old(session), pruning)
    if options["strays"]:
        pruned.strays = _last(pruning.delete_strays(session), pruning).strays
    if not is_dry:
        confirmed = _last(pruning.confirm_step_deletions(), pruning)
        pruned.steps_elsewhere = confirmed.steps_elsewhere
    return pruned


def _last(work: Iterator[Pruned], pruning: Pruning) -> Pruned:
    """Run all statements, each with a rest for as long as it took."""
    pruned = Pruned()
    for pruned in work:  # noqa: B007
        time.sleep(pruning.took)
    return pruned


def _data(pruned: Pruned, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "is_dry_run": options["dry_run"],
        "workflows": [
            {"name": name, "status": status, "count": count}
            for (name, status), count in sorted(pruned.workflows.items())
        ],
        "total": pruned.total,
        "past_runs": pruned.past_runs,
        "strays": pruned.strays,
        "steps_elsewhere": pruned.steps_elsewhere,
    }


def _lines(pruned: Pruned, options: dict[str, Any]) -> list[str]:
    rows = [
        (name, status, f"{count:,}") for (name, status), count in sorted(pruned.workflows.items())
    ]
    lines = table_of([HEADINGS, *rows]) if rows else []
    verb = "would be deleted" if options["dry_run"] else "deleted"
    lines.append(f"Workflows {verb}: {pruned.total:,}")
    if pruned.past_runs:
        lines.append(f"Past runs deleted: {pruned.past_runs:,}")
    if pruned.steps_elsewhere:
        lines.append(f"Atomic steps left on other databases: {pruned.steps_elsewhere:,}")
    if options["strays"]:
        lines.append(f"Rows of workflows that were gone: {pruned.strays:,}")
    return lines
