"""The problems of the whole system, in words for the overview."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext_lazy as _

from django_dbos.admin.section import Label
from django_dbos.admin.values import duration
from django_dbos.conf import get_settings
from django_dbos.health import Problem, find_problems
from django_dbos.store import get_store
from django_dbos.store.figures import read_figures

TEXTS: Mapping[str, Label] = {
    "no_worker": _("Queue %(subject)s has workflows (%(number)d) and no live worker."),
    "oldest_enqueued": _(
        "The oldest workflow in queue %(subject)s that never ran has been enqueued for %(age)s."
    ),
    "silent_executors": _("Executor %(subject)s is silent, and nobody has recovered it."),
    "stuck": _("Executors that are gone hold workflows: %(number)d."),
    "failing": _("Of the newest workflows, %(percent)d %% have failed."),
    "quarantined": _("Workflows are quarantined: %(number)d."),
}


def find() -> list[str]:
    """Return what a health check complains of."""
    limits = get_settings().health
    figures = read_figures(get_store(), window=limits.window)
    return [_text(problem) for problem in find_problems(figures, limits)]


def _text(problem: Problem) -> str:
    values = {
        "subject": problem.subject,
        "number": problem.value,
        "percent": 100 * problem.value,
        "age": duration(problem.value),
    }
    return str(TEXTS[problem.kind]) % values
