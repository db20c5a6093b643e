"""The words on the pages of executors: for their states, and for the workflows they run."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.section import Label
from django_dbos.admin.values import duration, instant
from django_dbos.models import Executor

# The statuses in whose colours the states of executors are shown.
COLOURS = {"alive": "SUCCESS", "draining": "PENDING", "silent": "ERROR", "dead": "CANCELLED"}


def facts(executor: Any, runs: int) -> list[tuple[Label, Any]]:
    """Return what the page tells of an executor; empty values are left out."""
    names = executor.workflow_names
    functions = gettext("unknown") if names is None else "\n".join(names) or gettext("none")
    facts = [
        (_("Executor"), executor.executor_id),
        (_("State"), badge(executor)),
        (_("Host"), executor.hostname),
        (_("Process id"), executor.pid),
        (_("Kind"), kind(executor)),
        (_("Version"), version(executor)),
        (_("Runs on"), runs_on(executor)),
        (_("Queues"), queues(executor)),
        (_("Running"), running(executor, runs)),
        (_("Started"), f"{instant(executor.started_at)} ({ago(executor, executor.started_at)})"),
        (_("Last heartbeat"), ago(executor, executor.heard_at) or gettext("declared dead")),
        (_("Lease"), duration(executor.lease.total_seconds())),
        (_("Drain requested"), instant(executor.drain_requested_at)),
        (_("Workflow functions"), format_html('<pre class="dbos-names">{}</pre>', functions)),
    ]
    return [(label, value) for label, value in facts if value not in (None, "")]


def state(executor: Any) -> str:
    """Return alive, draining, silent or dead; for rows that `judged()` has read."""
    if executor.heard_at is None:
        return "dead"
    if not executor.is_live:
        return "silent"
    return "alive" if executor.drain_requested_at is None else "draining"


def badge(executor: Any) -> SafeString:
    """Return the state, in its colour."""
    texts = {
        "alive": gettext("alive"),
        "draining": gettext("draining"),
        "silent": gettext("silent"),
        "dead": gettext("declared dead"),
    }
    found = state(executor)
    badge = '<span class="dbos-status" data-status="{}">{}</span>'
    return format_html(badge, COLOURS[found], texts[found])


def note(executor: Any) -> str:
    """Return what the state means, or "" for a live one."""
    match state(executor):
        case "draining":
            return gettext("It claims nothing more, and ends when its runs have.")
        case "silent":
            return gettext(
                "No heartbeat within its lease: another worker will recover what it runs."
            )
        case "dead":
            return gettext("It was declared dead; its workflows went back to their queues.")
    return ""


def may_drain(executor: Any) -> bool:
    """Return True if it is a live worker that doesn't drain yet."""
    return state(executor) == "alive" and not executor.is_inline


def kind(executor: Executor) -> str:
    """Return "worker" if it claims workflows from queues, else "runs inline"."""
    return gettext("runs inline") if executor.is_inline else gettext("worker")


def queues(executor: Executor) -> str:
    """Return the queues that it serves."""
    names = executor.queue_names
    return gettext("all") if names is None else ", ".join(names)


def version(executor: Executor) -> str:
    """Return the project's version, or "" if DBOS["APP_VERSION"] doesn't tell it."""
    return str((executor.versions or {}).get("app", ""))


def runs_on(executor: Executor, *parts: str) -> str:
    """Return the versions of django_dbos, Django and Python, or of some of them."""
    names = {"django_dbos": "django_dbos", "django": "Django", "python": "Python"}
    versions = executor.versions or {}
    shown = [key for key in parts or names if key in versions]
    return ", ".join(f"{names[key]} {versions[key]}" for key in shown)


def process(executor: Executor) -> str:
    """Return its host and process id."""
    return f"{executor.hostname}:{executor.pid}"


def running(executor: Executor, runs: int) -> str:
    """Return the number of workflows that it runs, and of its slots."""
    if executor.is_inline:
        return str(runs)
    return gettext("%(runs)d of %(slots)d") % {"runs": runs, "slots": executor.concurrency}


def ago(executor: Any, when: Any) -> str:
    """Return the time since an instant by the database's clock, or "" if there is none."""
    if when is None:
        return ""
    return gettext("%s ago") % duration((executor.now - when).total_seconds())
