"""Executors: the processes that run workflows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, F, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_dbos.core.engine import get_engine
from django_dbos.fields import DatabaseNow, InstantField, KeyField
from django_dbos.models.base import EngineQuerySet, EngineRow


class ExecutorQuerySet(EngineQuerySet["Executor"]):
    """Executors, with the data that shows which are live."""

    def drain(self) -> dict[str, bool]:
        """Ask each executor to drain: it claims nothing more, and ends when its runs have.

        Runs go on until they end or wait; those that wait are suspended, or return to their queues.
        Then `manage.py dbos_worker` exits with 0. The request is seen within milliseconds of the
        commit, without LISTEN at the next heartbeat. It can't be taken back.

        Returns:
            By executor id, whether it lives; web processes that run workflows inline don't drain.

        Example:
            Executor.objects.filter(hostname="web-3").drain()
        """
        return get_engine().drain(list(self.values_list("executor_id", flat=True)))

    def judged(self) -> Any:
        """Return each with its last heartbeat as `heard_at`, and the database's time as `now`.

        `heard_at` is None once the executor was declared dead. `heartbeat_at` is left out: dead
        executors have PostgreSQL's -infinity in it, which Python's datetime can't hold.
        """
        heard_at = Case(When(heartbeat_at__gt=_first_day(), then=F("heartbeat_at")))
        return self.defer("heartbeat_at").annotate(heard_at=heard_at, now=DatabaseNow())


def _first_day() -> datetime:
    day = datetime(1, 1, 2, tzinfo=UTC)
    return day if settings.USE_TZ else timezone.make_naive(day, UTC)


class Executor(EngineRow):
    """A process that runs workflows; its row is deleted when it stops or is declared dead."""

    executor_id = KeyField(_("executor id"), max_length=255, primary_key=True)
    hostname = KeyField(_("host name"), max_length=255)
    pid = models.IntegerField(_("process id"))
    is_inline = models.BooleanField(
        _("inline"), db_default=False, help_text=_("A web process that runs workflows inline.")
    )
    queue_names = models.JSONField(_("queues"), null=True, help_text=_("Empty for all queues."))
    workflow_names = models.JSONField(
        _("workflow functions"),
        null=True,
        help_text=_("The names that it knows; empty if they are too many to list."),
    )
    versions = models.JSONField(
        _("versions"),
        null=True,
        help_text=_("The versions of the project, django_dbos, Django and Python."),
    )
    concurrency = models.IntegerField(_("concurrency"))
    has_lock = models.BooleanField(
        _("holds a lock"),
        db_default=False,
        help_text=_("It holds a session lock, free as soon as its process dies."),
    )
    lock_key = models.BigIntegerField(_("lock key"))
    lease = models.DurationField(_("lease"))
    started_at = InstantField(_("started at"))
    heartbeat_at = InstantField(_("last heartbeat"))
    drain_requested_at = InstantField(
        _("drain requested at"),
        null=True,
        help_text=_("It claims nothing more, and ends when its runs have."),
    )

    objects: ClassVar[ExecutorQuerySet] = ExecutorQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "dbos_executor"
        verbose_name = _("executor")
        verbose_name_plural = _("executors")
        default_permissions = ("view",)
        permissions = (("drain_executor", "Can drain executors"),)

    def __str__(self) -> str:
        return str(self.executor_id)

    @property
    def is_live(self) -> bool:
        """True if the last heartbeat is within the lease; for rows that `judged()` has read."""
        row: Any = self
        return row.heard_at is not None and bool(row.now - row.heard_at <= row.lease)
