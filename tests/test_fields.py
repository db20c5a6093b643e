"""Columns and expressions that mean the same on both databases."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_dbos.fields import DatabaseNow
from django_dbos.models import Workflow


@pytest.mark.django_db
def test_the_databases_clock_can_be_asked_while_statements_are_logged() -> None:
    """With DEBUG, Django formats each statement on SQLite: `%Y` was taken for a parameter."""
    with CaptureQueriesContext(connection) as queries:
        found = Workflow.objects.filter(priority=1).annotate(now=DatabaseNow()).first()

    assert found is None
    assert len(queries) == 1
