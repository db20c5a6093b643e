"""manage.py dbos_executors: lists executors, and drains them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from django_dbos.conf import get_settings
from django_dbos.core import names
from django_dbos.management.base import ActionsCommand, UsageError, add_confirmation, table_of
from django_dbos.management.rows import instant
from django_dbos.models import Executor
from django_dbos.store import get_store


class Command(ActionsCommand):
    """Lists what lives, and asks it to end."""

    help = (
        "Lists the executors, the processes that run workflows, or asks them to drain: to claim "
        "nothing more, and to exit once their runs have ended or wait. Exits with 1 if there is "
        "nothing to drain."
    )
    examples = ("list --format json", "drain web-3:4711:0f3a9c21", "drain --hostname web-3 --yes")
    actions = {
        "list": "Show the executors, with what they run.",
        "drain": "Ask executors to drain. It can't be taken back.",
    }
    noun = "executor"
    nameless = ("list", "drain")

    def add_action_options(self, parser: ArgumentParser, action: str) -> None:
        """Declare whom to drain."""
        if action == "drain":
            parser.add_argument("executor_ids", nargs="*", metavar="ID", help="The executors.")
            parser.add_argument("--hostname", help="All executors of a host.")
            parser.add_argument("--all", action="store_true", help="All executors.")
            add_confirmation(parser)

    def perform(self, options: dict[str, Any]) -> None:
        """List or drain them."""
        if options["action"] == "drain":
            self._drain(options)
            return
        rows = list(_executors().order_by("-started_at"))
        runs = get_store().count_runs_of_executors([str(row.executor_id) for row in rows])
        data = [_data(row, runs.get(str(row.executor_id), 0)) for row in rows]
        self.answer(data, table_of([HEADINGS, *map(_cells, data)]))

    def _drain(self, options: dict[str, Any]) -> None:
        ids, host, everyone = options["executor_ids"], options["hostname"], options["all"]
        if (bool(ids), bool(host), bool(everyone)).count(True) != 1:
            raise UsageError("Name executors by their ids, or give --hostname or --all.")
        workers = [row for row in _executors().filter(is_inline=False) if row.is_live]
        known = [row.executor_id for row in workers]
        if missing := [one for one in ids if one not in known]:
            raise CommandError(
                f"Executor {missing[0]!r} isn't a live worker, so none was asked to drain."
                f"{names.suggest(missing[0], known)}"
            )
        hosts = sorted({row.hostname for row in workers})
        if host and host not in hosts:
            raise CommandError(f"No live worker is on host {host!r}.{names.suggest(host, hosts)}")
        live = [
            row.executor_id
            for row in workers
            if everyone or row.executor_id in ids or row.hostname == host
        ]
        if not live:
            raise CommandError("There is no live worker.")
        if not ids:
            self.confirm(
                f"Drain {len(live)} {'executor' if len(live) == 1 else 'executors'}?", options
            )
        answers = get_store().drain_executors(live)
        self.audit("drained executor", [one for one in live if answers[one]])
        self.answer(
            [{"executor_id": one, "draining": answers[one]} for one in live],
            [f"{one} {'drains' if answers[one] else 'has gone'}" for one in live],
        )


HEADINGS = ("EXECUTOR", "STATE", "KIND", "QUEUES", "RUNNING", "STARTED", "HEARD")


def _executors() -> Any:
    return Executor.objects.using(get_settings().database).judged()


def _data(row: Any, running: int) -> dict[str, Any]:
    return {
        "executor_id": row.executor_id,
        "hostname": row.hostname,
        "pid": row.pid,
        "is_inline": row.is_inline,
        "is_live": row.is_live,
        "queue_names": row.queue_names,
        "versions": row.versions,
        "concurrency": row.concurrency,
        "running": running,
        "started_at": row.started_at,
        "heard_at": row.heard_at,
        "drain_requested_at": row.drain_requested_at,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = "draining" if row["drain_requested_at"] else "live"
    return (
        row["executor_id"],
        state if row["is_live"] else "silent",
        "inline" if row["is_inline"] else "worker",
        "all" if row["queue_names"] is None else ", ".join(row["queue_names"]),
        f"{row['running']} of {row['concurrency']}",
        instant(row["started_at"]),
        instant(row["heard_at"]),
    )
