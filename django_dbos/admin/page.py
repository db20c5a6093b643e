"""The content of a workflow's page: a fixed number of queries, and no more rows than it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_dbos.admin import ages, timeline
from django_dbos.admin.base import Links, badge
from django_dbos.admin.columns import split_name
from django_dbos.admin.facts import Failure, main_facts, other_facts
from django_dbos.admin.look import Look
from django_dbos.admin.notes import LiveExecutors, explain, finality, read_queue_reasons
from django_dbos.admin.section import Rows, preview
from django_dbos.admin.sections import (
    ATTRIBUTES,
    CHILDREN,
    EVENT_HISTORY,
    EVENTS,
    FORKS,
    INPUT,
    INQUIRIES,
    MESSAGES,
    OUTCOME,
    PAST_RUNS,
    STREAMS,
)
from django_dbos.admin.tails import read_tails
from django_dbos.admin.values import Value
from django_dbos.core.status import Status
from django_dbos.models import Workflow

# Seconds from one look of the browser at an active workflow to the next.
PERIOD = 2.0
# Sections with the values of a workflow, and those with its rows, in the order of the page. What is
# told elsewhere, too, is folded.
VALUES = (INPUT, ATTRIBUTES)
ROWS = (INQUIRIES, MESSAGES, EVENTS, PAST_RUNS)
FOLDED = (EVENT_HISTORY, CHILDREN, FORKS)


def page_context(
    workflow: Workflow, links: Links, queue: str, query: Mapping[str, str], look: Look
) -> dict[str, Any]:
    """Return the page of a workflow, ready for its template.

    Raises:
        ValueError: The query string has an invalid step number.
    """
    workflow_id, now = str(workflow.workflow_id), ages.now()
    steps = timeline.read_page(workflow_id, query, look)
    rows = [preview(section, links, workflow_id, look) for section in ROWS]
    folded = [preview(section, links, workflow_id, look) for section in FOLDED]
    outcome = preview(OUTCOME, links, workflow_id, look)
    tails = read_tails(links, workflow_id, look)
    values = [preview(section, links, workflow_id, look) for section in VALUES]
    return {
        "name": split_name(workflow.name),
        "badge": badge(workflow),
        "note": _note(workflow),
        "is_held_up": workflow.is_active and workflow.status != Status.PENDING,
        "period": PERIOD if workflow.is_active else 0,
        "facts": main_facts(workflow, links, queue, now),
        "more_facts": other_facts(workflow),
        "timeline": timeline.build(workflow, links, steps, now, look),
        "values": [section for section in values if section.rows],
        "outcome": outcome,
        "failure": Failure.of(_only(outcome)),
        "tails": tails,
        "sections": [section for section in rows if section.rows],
        "folded": [section for section in folded if section.rows],
        "missing": [section.title for section in rows if not section.rows]
        + ([] if tails.streams else [STREAMS.title]),
    }


def _note(workflow: Workflow) -> str:
    executors = LiveExecutors.read()
    reasons = read_queue_reasons([workflow], executors).get(str(workflow.workflow_id), ())
    return explain(workflow, executors, queue_reasons=reasons) or finality(workflow)


def _only(section: Rows) -> Value | None:
    return section.rows[0][0] if section.rows else None
