"""A workflow in a worker process that asks people, and reminds them at a gate."""

from __future__ import annotations

from typing import Any

import django_dbos as dbos
from django_dbos.models import Inquiry
from tests.people.forms import ApprovalForm
from tests.process.workflows import Gate


def remind(form: Inquiry, number: int) -> None:
    """Wait at the gate that the form's initial note names."""
    Gate(form.initial["note"]).pass_through()


@dbos.workflow
def asks(gate: str) -> Any:
    answer = dbos.wait_for_form(
        ApprovalForm, initial={"note": gate}, timeout=3600, reminders=[0], on_reminder=remind
    )
    return answer.data["note"]


@dbos.workflow
def calls_back() -> Any:
    dbos.set_event("url", dbos.callback_url("paid"))
    return dbos.recv("paid", timeout=3600)
