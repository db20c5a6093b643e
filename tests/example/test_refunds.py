"""Refunds, which somebody of the staff approves: in the admin, or on the form's own page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Inquiry, Workflow
from django_dbos.testing import advance, run_until_idle
from example_project.shop.models import Order

pytestmark = pytest.mark.django_db


@pytest.fixture
def handle(client: Client) -> dbos.WorkflowHandle[Any]:
    """A refund that was asked for in the admin; the client is the superuser who did it."""
    order = Order.objects.create(
        workflow_id="order-7", sku="KETTLE", quantity=2, total=98, status="fulfilled"
    )
    waiting = Order.objects.create(workflow_id="order-8", sku="KETTLE", quantity=1, total=49)
    client.force_login(User.objects.create_superuser("root"))
    chosen = {"action": "ask_for_refund", "_selected_action": [order.pk, waiting.pk]}
    for _ in range(2):
        page = client.post(reverse("admin:shop_order_changelist"), chosen, follow=True)
        (message,) = page.context["messages"]
        assert str(message) == "refund-order-7 waits for an approval."
    run_until_idle()
    assert Workflow.objects.count() == 1
    return dbos.retrieve_workflow("refund-order-7")


def test_somebody_approves_it(handle: Any, client: Client) -> None:
    (form,) = Inquiry.objects.pending()
    assert (form.title, form.initial) == ("Refund 2 of KETTLE?", {"amount": "98.00"})
    manager = User.objects.create_user("manager")
    client.force_login(manager)
    assert client.get(form.get_absolute_url()).status_code == 404

    manager.user_permissions.add(Permission.objects.get(codename="change_order"))
    answer = {"approved": "on", "amount": "50"}
    assert client.post(form.get_absolute_url(), answer).status_code == 302
    run_until_idle()

    result = handle.get_result()
    assert (result["status"], result["amount"]) == ("refunded", "50")
    assert result["by"] == str(manager.pk)


def test_somebody_refuses_it_in_the_admin(handle: Any, client: Client) -> None:
    (form,) = Inquiry.objects.pending()
    page = reverse("admin:django_dbos_inquiry_change", args=[form.pk])

    assert client.post(page, {"amount": "98", "reason": "No."}).status_code == 302
    run_until_idle()

    assert handle.get_result()["status"] == "refused"
    assert handle.get_result()["reason"] == "No."


def test_nobody_answers(handle: Any) -> None:
    advance(timedelta(days=8))
    run_until_idle()

    assert handle.get_result() == {"status": "nobody answered"}
