"""Every argument of DBOS's list_workflows has a filter, in a table of the guide that runs here."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db

GUIDE = Path(__file__).parents[2] / "docs/guides/from-dbos.md"
# The arguments of list_workflows() of DBOS 3.4 for Python, and those that only its Go SDK has.
ARGUMENTS = {
    *("workflow_ids", "status", "start_time", "end_time", "completed_after", "completed_before"),
    *("dequeued_after", "dequeued_before", "name", "app_version", "parent_workflow_id", "user"),
    *("queue_name", "limit", "offset", "sort_desc", "workflow_id_prefix", "load_input"),
    *("load_output", "executor_id", "queues_only", "has_parent", "attributes", "schedule_name"),
    *("application_name", "deduplication_id", "is_debounced", "forked_from", "is_fork"),
    "was_forked_from",
}


def table() -> dict[str, str]:
    """Return the filters of the table, by the arguments that they stand for."""
    section = GUIDE.read_text().partition("## Listing workflows")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| (`.*?) \| `([^`]+)`", section, re.MULTILINE))


@dbos.workflow(name="shop.checkout-by-filter", version="2")
def checkout() -> None:
    pack.start()


@dbos.workflow(name="shop.pack-by-filter")
def pack() -> None:
    return None


def test_every_argument_is_in_the_table() -> None:
    named = {name for row in table() for name in re.findall(r"(\w+)=", row)}

    assert named >= ARGUMENTS


@pytest.mark.parametrize("row", table())
def test_every_filter_of_the_table_runs(row: str) -> None:
    expression = table()[row]
    names = {
        "since": timezone.now() - timedelta(days=1),
        "until": timezone.now(),
        "dbos": dbos,
    }
    pack.using(workflow_id="a").start()
    if expression.startswith("."):
        expression = f"Workflow.objects{expression}"
    elif expression.startswith("["):
        expression = f"Workflow.objects.order_by('-created_at'){expression}"

    assert list(eval(expression, {"Workflow": Workflow, **names})) is not None


def test_the_filters_find_what_they_say() -> None:
    first = checkout.using(
        workflow_id="order-1", user=7, attributes={"order": 17, "to": {"city": "Oslo", "zip": None}}
    ).start()
    pack.using(workflow_id="order-2", queue_name="mail", deduplication_id="d", run_after=60).start()
    run_until_idle()

    def ids(found: Any) -> list[str]:
        return sorted(found.values_list("workflow_id", flat=True))

    workflows = Workflow.objects
    assert ids(workflows.filter(workflow_id__startswith="order-")) == [
        "order-1", "order-1-1", "order-2",
    ]  # fmt: skip
    assert ids(workflows.filter(parent_id=first.workflow_id)) == ["order-1-1"]
    assert ids(workflows.filter(queue_name="mail", deduplication_id="d")) == ["order-2"]
    assert ids(workflows.filter(version="2")) == ["order-1"]
    for attributes in (
        {"order": 17},
        {"to": {"city": "Oslo"}},
        {"order": 17, "to": {"zip": None}},
    ):
        assert ids(workflows.with_attributes(**attributes)) == ["order-1"]
    for attributes in ({"order": "17"}, {"to": {"city": "Rome"}}, {"order": 17, "x": None}):
        assert ids(workflows.with_attributes(**attributes)) == []
    assert len(workflows.with_attributes()) == 3
    assert ids(workflows.filter(status="DELAYED").with_attributes()) == ["order-2"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no such index")
def test_attributes_are_found_by_their_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")

    plan = Workflow.objects.with_attributes(order=17).explain()

    assert "dbos_workflow_attributes" in plan
