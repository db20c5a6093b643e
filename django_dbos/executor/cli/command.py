"""The command `manage.py dbos_worker`: one executor, or several processes with one each."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.core.management.base import CommandError
from django.core.signals import setting_changed
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from django_dbos.conf import get_settings
from django_dbos.core import names
from django_dbos.executor.cli import life, reload, supervisor
from django_dbos.executor.cli.inbox import Inbox
from django_dbos.executor.cli.log_lines import LineFormatter
from django_dbos.executor.executor import Executor
from django_dbos.operations import queues
from django_dbos.store import errors, get_store

logger = logging.getLogger("django_dbos.executor")
LAST_PORT = 65_535
# The exit code, as that of argparse and of the other commands.
WRONG_USAGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command's arguments."""

    queues: list[str] | None
    concurrency: int | None
    processes: int
    database: str | None
    once: bool
    reload: bool
    verbosity: int
    metrics_port: int | None = None


def run(arguments: Arguments) -> int:
    """Run until stopped; return the exit code."""
    _check(arguments)
    _show_log(arguments.verbosity)
    if arguments.database is not None:
        use_database(arguments.database)
    with Inbox() as inbox:
        is_child = supervisor.listen_to_parent(inbox.notify)
        if arguments.processes > 1:
            workers = [supervisor.worker() for _ in range(arguments.processes)]
            return supervisor.run(workers, inbox)
        if arguments.reload and not is_child:
            return supervisor.run([supervisor.worker(reload.ENVIRONMENT)], inbox)
        if arguments.reload:
            reload.watch(inbox)
        if arguments.metrics_port is not None:
            _serve_metrics(arguments.metrics_port)
        return life.run(
            lambda: _make_executor(arguments),
            inbox,
            once=arguments.once,
            drained_code=life.DRAINED if is_child else 0,
        )


def wrong_usage(text: str) -> CommandError:
    """Return the error for arguments that can't be; its exit code is that of argparse."""
    return CommandError(text, returncode=WRONG_USAGE)


def _check(arguments: Arguments) -> None:
    if arguments.processes < 1:
        raise wrong_usage(f"--processes must be at least 1, not {arguments.processes}.")
    if arguments.concurrency is not None and arguments.concurrency < 1:
        raise wrong_usage(f"--concurrency must be at least 1, not {arguments.concurrency}.")
    if arguments.processes > 1 and (arguments.once or arguments.reload):
        raise wrong_usage("--processes can't be combined with --once or --reload.")
    if arguments.metrics_port is not None and arguments.processes > 1:
        raise wrong_usage(
            "--metrics-port serves one process. Start several workers with a port each, in place "
            "of --processes."
        )
    if arguments.metrics_port is not None and not 1 <= arguments.metrics_port <= LAST_PORT:
        raise wrong_usage(
            f"--metrics-port must be from 1 to {LAST_PORT}, not {arguments.metrics_port}."
        )
    if arguments.once and arguments.reload:
        raise wrong_usage("--once can't be combined with --reload.")


def _serve_metrics(port: int) -> None:
    try:
        from django_dbos.telemetry import prometheus
    except ModuleNotFoundError as error:
        raise CommandError(
            f"--metrics-port needs {error.name!r}. Install django-durable-workflows[prometheus]."
        ) from error
    try:
        prometheus.serve_worker_metrics(port)
    except OSError as error:
        raise CommandError(f"--metrics-port {port} can't be used: {error}.") from error


def use_database(alias: str) -> None:
    """Keep workflows in this database, in place of DBOS["DATABASE"]."""
    if alias not in connections:
        raise wrong_usage(
            f"--database {alias!r} isn't in DATABASES, which has {', '.join(connections)}."
        )
    settings.DBOS = {**getattr(settings, "DBOS", {}), "DATABASE": alias}
    setting_changed.send(sender=Arguments, setting="DBOS", value=settings.DBOS, enter=True)


def check_migrations() -> None:
    """Raise CommandError unless the engine's tables are migrated."""
    connection = connections[get_settings().database]
    executor = MigrationExecutor(connection)
    targets = [key for key in executor.loader.graph.leaf_nodes() if key[0] == "django_dbos"]
    if executor.migration_plan(targets):
        raise CommandError(
            f"The tables of django_dbos aren't migrated in database {connection.alias!r}. Run "
            f"`{errors.migrate_command(connection.alias)}` first."
        )


def _make_executor(arguments: Arguments) -> Executor:
    check_migrations()
    executor = Executor(arguments.queues, concurrency=arguments.concurrency, owns_process=True)
    warn_of_unknown_queues(executor.identity.queue_names or ())
    return executor


def warn_of_unknown_queues(queue_names: Iterable[str]) -> None:
    """Log the queues that nothing names and that have no active workflows: likely typos."""
    store = get_store()
    for name in queue_names:
        if not queues.is_used(store, name):
            logger.warning(
                "Queue %r is named by no workflow function and not in DBOS['QUEUES'], and no "
                "workflow is in it.%s",
                name,
                names.suggest(name, queues.others(store, name)),
            )


def _show_log(verbosity: int) -> None:
    """Log to stderr, unless the project configures logging for django_dbos.

    A level that the project has set is kept.
    """
    root = logging.getLogger("django_dbos")
    if verbosity == 0 or root.hasHandlers():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root.addHandler(handler)
    if root.level == logging.NOTSET:
        root.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)
