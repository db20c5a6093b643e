"""Database objects that belong to no model, with and without migrations."""

from __future__ import annotations

from io import StringIO

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.models.signals import post_migrate

from django_dbos.testing import run_until_idle
from tests.admin.workflows import quick

on_postgresql = pytest.mark.skipif(
    settings.VENDOR != "postgresql", reason="Only there a sequence deals places."
)


def migrated() -> None:
    """Send the signal at the end of `migrate`, which comes with and without migrations."""
    config = apps.get_app_config("django_dbos")
    post_migrate.send(config, app_config=config, using="default", verbosity=0, interactive=False)


def count_sequences() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_sequences WHERE sequencename LIKE 'dbos_queue_sequence%%'"
        )
        return int(cursor.fetchone()[0])


@on_postgresql
@pytest.mark.django_db
def test_tables_without_migrations_get_their_sequence() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP SEQUENCE dbos_queue_sequence")

    migrated()

    handle = quick.start(7)
    run_until_idle()
    assert handle.get_result() == 7


@on_postgresql
@pytest.mark.django_db
def test_no_second_sequence_is_created() -> None:
    migrated()

    assert count_sequences() == 1


@on_postgresql
@pytest.mark.django_db
def test_without_tables_no_sequence_is_created() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP SEQUENCE dbos_queue_sequence")
        cursor.execute("ALTER TABLE dbos_workflow RENAME TO elsewhere")

    migrated()

    assert count_sequences() == 0


@on_postgresql
@pytest.mark.django_db
def test_sqlmigrate_shows_the_sequence() -> None:
    forwards, backwards = StringIO(), StringIO()

    call_command("sqlmigrate", "django_dbos", "0001", stdout=forwards)
    call_command("sqlmigrate", "django_dbos", "0001", backwards=True, stdout=backwards)

    assert "CREATE SEQUENCE dbos_queue_sequence" in forwards.getvalue()
    assert "DROP SEQUENCE dbos_queue_sequence" in backwards.getvalue()


@pytest.mark.django_db
def test_sqlite_needs_no_sequence() -> None:
    migrated()

    assert quick.start().get_status() == "ENQUEUED"
