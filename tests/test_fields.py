"""Columns and expressions that are equivalent on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Avg, DurationField, ExpressionWrapper, F, Max
from django.db.models.functions import Coalesce, ExtractYear, TruncDay
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import django_dbos as dbos
from django_dbos.fields import DatabaseNow
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle


@dbos.workflow
def hello() -> None: ...


@pytest.mark.django_db
def test_the_databases_clock_can_be_read_while_statements_are_logged() -> None:
    """With DEBUG, Django formats each statement on SQLite, and read `%Y` as a parameter."""
    with CaptureQueriesContext(connection) as queries:
        found = Workflow.objects.filter(priority=1).annotate(now=DatabaseNow()).first()

    assert found is None
    assert len(queries) == 1


TOOK = F("finished_at") - F("started_at")
LONG = timedelta(minutes=5)


@pytest.mark.rule(42)
@pytest.mark.django_db
def test_the_orm_can_calculate_with_instants() -> None:
    """On SQLite the columns are text, whose differences were all 0."""
    hello.start()
    run_until_idle()
    (row,) = Workflow.objects.all()
    took = row.finished_at - row.started_at
    back = row.started_at - timedelta(minutes=10, milliseconds=500) + took
    # A plain Django update; querysets of the engine refuse updates.
    models.QuerySet(Workflow).update(started_at=back)
    found: Any = Workflow.objects.annotate(
        took=TOOK,
        wrapped=ExpressionWrapper(TOOK, output_field=DurationField()),
        age=DatabaseNow() - F("created_at"),
        end=Coalesce("finished_at", DatabaseNow()),
        day=TruncDay("finished_at"),
        year=ExtractYear("finished_at"),
    ).get()

    assert found.took == found.wrapped == timedelta(minutes=10, milliseconds=500)
    assert timedelta(0) <= found.age < timedelta(days=1)
    assert found.end == found.finished_at == row.finished_at
    assert isinstance(found.day, datetime)
    assert found.year == row.finished_at.year
    assert Workflow.objects.aggregate(x=Avg(TOOK))["x"] == found.took
    assert Workflow.objects.aggregate(x=Max("finished_at"))["x"] == row.finished_at
    assert Workflow.objects.annotate(took=TOOK).filter(took__gt=LONG).exists()
    assert Workflow.objects.filter(finished_at__gt=F("started_at") + LONG).exists()
    assert not Workflow.objects.filter(finished_at__gt=F("started_at") + 3 * LONG).exists()
    assert Workflow.objects.filter(created_at__lte=timezone.now() + timedelta(minutes=1)).exists()
    assert not Workflow.objects.filter(created_at__year=1999).exists()
