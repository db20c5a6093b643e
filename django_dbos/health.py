"""Health: whether workflows make progress, as a probe or an operator asks.

`check_health()` reads the database, with a limit of time, and compares its figures with
DBOS["HEALTH"]. `manage.py dbos_health` and the view of `django_dbos.urls` show what it returns.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connections

from django_dbos.conf import Thresholds, get_settings
from django_dbos.store import errors, get_store
from django_dbos.store.figures import Figures, read_figures

__all__ = ["Health", "Problem", "check_health"]

logger = logging.getLogger("django_dbos.executor")

# The seconds of a check after which the database counts as unreachable.
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that an operator should look at."""

    kind: str
    """One of "database", "oldest_enqueued", "silent_executors", "stuck", "failing",
    "quarantined" and "no_worker"."""
    subject: str
    """The thing that has it, such as a queue; "" for the whole system."""
    value: float
    """The figure that exceeds its threshold."""
    text: str
    """A sentence that says what is wrong, with the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The answer of a check."""

    is_live: bool
    """True if the database has answered in time."""
    problems: tuple[Problem, ...]
    figures: Figures | None = None
    """The figures that were read; None if the database hasn't answered."""

    @property
    def is_ready(self) -> bool:
        """True if the database has answered, and there is no problem."""
        return self.is_live and not self.problems

    def as_json(self) -> dict[str, Any]:
        """Return the answer as plain values."""
        figures = self.figures
        return {
            "live": self.is_live,
            "ready": self.is_ready,
            "problems": [asdict(problem) for problem in self.problems],
            "workers": None if figures is None else figures.workers,
            "active": None
            if figures is None
            else {str(status): count.number for status, count in figures.active.items()},
            "oldest_enqueued": None if figures is None else figures.oldest_enqueued,
        }


def check_health(*, timeout: float = TIMEOUT) -> Health:
    """Return the health of the workflow database, and of what is in it.

    Args:
        timeout: Seconds after which the database counts as unreachable. The check never takes
            longer, since it reads on a thread of its own.
    """
    found = _answer(timeout)
    if isinstance(found, Figures):
        problems = tuple(find_problems(found, get_settings().health))
        return Health(is_live=True, problems=problems, figures=found)
    problem = Problem(kind="database", subject="", value=timeout, text=found)
    return Health(is_live=False, problems=(problem,))


# One check waits at a time: a database that is down doesn't collect threads.
_checking = threading.Lock()


def _answer(timeout: float) -> Figures | str:
    """Return the figures, or why there are none."""
    store = get_store()
    if store.is_private or connections[store.alias].in_atomic_block:
        # A test: only its own connection sees the rows.
        return _read(store)
    if not _checking.acquire(timeout=timeout):
        return _unanswered("an earlier check is still waiting")
    done: concurrent.futures.Future[Figures | str] = concurrent.futures.Future()

    def check() -> None:
        try:
            done.set_result(_read(store))
        finally:
            connections.close_all()
            _checking.release()

    threading.Thread(target=check, name="dbos-health", daemon=True).start()
    try:
        return done.result(timeout)
    except TimeoutError:
        return _unanswered(f"no answer within {timeout:g} s")


def _read(store: Any) -> Figures | str:
    try:
        return read_figures(store, window=get_settings().health.window)
    except Exception as error:
        # Whatever a driver raises: the check must answer.
        logger.warning("A health check failed: %r", error)
        if errors.means_not_migrated(error):
            return str(errors.NotMigrated(store.alias, error))
        return _unanswered(type(error).__name__)


def _unanswered(why: str) -> str:
    return f"The workflow database doesn't answer: {why}"


def find_problems(figures: Figures, limits: Thresholds) -> Iterator[Problem]:
    """Return what exceeds the thresholds."""
    yield from _of_queues(figures, limits)
    yield from _of_executors(figures)
    yield from _of_workflows(figures, limits)


def _of_queues(figures: Figures, limits: Thresholds) -> Iterator[Problem]:
    for queue in figures.queues:
        age = queue.oldest_enqueued
        if queue.is_paused or not queue.enqueued:
            continue
        if not queue.has_worker:
            yield Problem(
                kind="no_worker",
                subject=queue.name,
                value=queue.enqueued,
                text=f"Queue {queue.name!r} has {_counted(queue.enqueued)} and no live worker.",
            )
        elif age is not None and age > limits.oldest_enqueued:
            yield Problem(
                kind="oldest_enqueued",
                subject=queue.name,
                value=age,
                text=f"The oldest workflow in queue {queue.name!r} that never ran has been "
                f"enqueued for {age:.0f} s.",
            )


def _of_executors(figures: Figures) -> Iterator[Problem]:
    for executor_id in figures.silent_executors:
        yield Problem(
            kind="silent_executors",
            subject=executor_id,
            value=1,
            text=f"Executor {executor_id} sends no heartbeat, and nobody has recovered it.",
        )
    if figures.stuck:
        yield Problem(
            kind="stuck",
            subject="",
            value=figures.stuck,
            text=f"Executors that are gone hold {_counted(figures.stuck)}.",
        )


def _of_workflows(figures: Figures, limits: Thresholds) -> Iterator[Problem]:
    recent = figures.recent
    if recent.failed >= limits.min_failures and figures.failure_rate > limits.failure_rate:
        yield Problem(
            kind="failing",
            subject="",
            value=figures.failure_rate,
            text=f"{recent.failed:,} of the {_counted(recent.count)} of the last "
            f"{figures.window:.0f} s failed.",
        )
    if figures.quarantined > limits.quarantined:
        yield Problem(
            kind="quarantined",
            subject="",
            value=figures.quarantined,
            text=f"The engine has quarantined {_counted(figures.quarantined)}. Fix the code, then "
            "resume.",
        )


def _counted(number: int) -> str:
    return "1 workflow" if number == 1 else f"{number:,} workflows"
