"""Model rows for users: values instead of the stored text."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

import django_dbos as dbos
from django_dbos import models
from django_dbos.handles import WorkflowHandle
from django_dbos.models.handle import Handle
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db


class OutOfStock(Exception):
    """Has its own message and argument."""


@dbos.step
def price(sku: str) -> Decimal:
    if sku == "gone":
        raise OutOfStock(sku, 3)
    return Decimal("1.50")


@dbos.workflow
def order(sku: str, *, count: int) -> Any:
    dbos.set_event("ordered", (sku, count))
    dbos.write_stream("log", {sku})
    dbos.close_stream("log")
    note = dbos.recv("note", timeout=0, default=None)
    return [price(sku) * count, note]


def ordered(sku: str) -> models.Workflow:
    handle = order.start(sku, count=2)
    handle.send((1, 2), topic="note")
    run_until_idle()
    return models.Workflow.objects.get(pk=handle.workflow_id)


def test_rows_have_values() -> None:
    workflow = ordered("pan")

    assert workflow.input == {"args": ["pan"], "kwargs": {"count": 2}}
    assert workflow.output == [Decimal("3.00"), (1, 2)]
    assert workflow.error is None
    assert models.Checkpoint.objects.get(step_name=price.name).output == Decimal("1.50")
    assert models.Message.objects.get().message == (1, 2)
    assert models.Event.objects.get().value == ("pan", 2)
    assert models.EventVersion.objects.get().value == ("pan", 2)
    entries = models.StreamEntry.objects.order_by("offset")
    assert [entry.value for entry in entries] == [{"pan"}, None]


def test_errors_are_the_raised_exceptions() -> None:
    workflow = ordered("gone")
    (step,) = [step for step in workflow.handle.steps() if step.step_name == price.name]

    with pytest.raises(OutOfStock) as raised:
        workflow.handle.get_result()

    for error in (workflow.error, step.error):
        assert type(error) is OutOfStock
        assert error.args == raised.value.args == ("gone", 3)
    assert (workflow.output, step.output) == (None, None)


def test_a_value_is_deserialized_on_access() -> None:
    """A list of workflows loads no values, and an unreadable text doesn't break it."""
    ordered("pan")
    texts = ("input_text", "output_text", "error_text")

    with CaptureQueriesContext(connection) as queries:
        (workflow,) = models.Workflow.objects.defer(*texts)
        assert workflow.status == models.Workflow.Status.SUCCESS
        assert len(queries) == 1
        assert workflow.output == [Decimal("3.00"), (1, 2)]
    assert len(queries) == 2

    workflow.output_text = "!unknown:x"
    with pytest.raises(dbos.SerializationError, match="unknown"):
        workflow.output  # noqa: B018


@pytest.mark.django_db(transaction=True)
def test_the_columns_keep_their_names() -> None:
    """The migration only renames in Django's state: it runs no statement in either direction."""
    for options in ({}, {"backwards": True}):
        said = StringIO()
        call_command("sqlmigrate", "django_dbos", "0002", stdout=said, **options)
        statements = [
            statement for statement in said.getvalue().splitlines() if statement[:2] != "--"
        ]
        assert set(statements) <= {"BEGIN;", "COMMIT;", ""}
    text = models.Workflow._meta.get_field("output_text")
    assert text.column == "output"


def test_the_type_of_a_row_s_handle_has_all_public_names() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(WorkflowHandle) == public(Handle)


def test_a_row_has_its_handle_before_the_apps_are_ready() -> None:
    code = (
        "import django\n"
        "from django.conf import settings\n"
        "from django.db.models.signals import class_prepared\n"
        "settings.configure(INSTALLED_APPS=['django.contrib.contenttypes', 'django_dbos'])\n"
        "def look(sender, **kwargs):\n"
        "    if sender.__name__ == 'Workflow':\n"
        "        print(sender(workflow_id='w').handle)\n"
        "class_prepared.connect(look)\n"
        "django.setup()\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "WorkflowHandle('w')\n", done.stderr


def test_a_project_without_the_app_is_told_to_add_it() -> None:
    """Its urls.py used to end in Django's words about an app_label."""
    code = (
        "import django\n"
        "from django.conf import settings\n"
        "installed = ['django.contrib.auth', 'django.contrib.contenttypes']\n"
        "settings.configure(INSTALLED_APPS=installed)\n"
        "django.setup()\n"
        "from django_dbos import urls\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "'django_dbos' isn't in INSTALLED_APPS. Add it there" in done.stderr
