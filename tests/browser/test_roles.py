"""Limited roles in a browser, on the admin and the shop: a viewer, an operator, strangers."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.testing import run_until_idle
from example_project.shop.models import Product
from example_project.shop.workflows import checkout
from tests.admin.conftest import LIST, page_of, url_of
from tests.browser.chromium import Chromium
from tests.browser.servers import Server
from tests.browser.test_elements import address

pytestmark = pytest.mark.django_db(transaction=True)

VIEWER = ("view_workflow", "view_message", "view_event", "view_queue", "view_executor")
OPERATOR = (*VIEWER, "view_payload", "cancel_workflow", "resume_workflow", "send_message")
LogIn = Callable[..., User]


@pytest.fixture
def log_in(browser: Chromium, server: Server) -> LogIn:
    """Log a new user in, in place of the one before."""

    def log_in(name: str, *permissions: str, is_staff: bool = True) -> User:
        user = User.objects.create_user(name, is_staff=is_staff)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        browser.set_cookie(server.url, "sessionid", client.cookies["sessionid"].value)
        return user

    return log_in


@pytest.fixture
def order(transactional_db: None, server: Server) -> Any:
    """An order of a customer, which waits for the payment."""
    Product.objects.create(sku="KETTLE", name="Kettle", price=Decimal("49.00"), stock=10)
    customer = User.objects.create_user("customer")
    handle = checkout.using(user=customer).start("KETTLE", 1, f"{server.url}/payments/")
    run_until_idle()
    return handle


def buttons(browser: Chromium) -> list[str]:
    found: list[str] = browser.run(
        "[...document.querySelectorAll('#tools .button')].map(button => button.textContent.trim())"
    )
    return found


def actions(browser: Chromium) -> list[str]:
    found: list[str] = browser.run(
        "[...document.querySelectorAll('select[name=action] option')].map(option => option.value)"
    )
    return [action for action in found if action]


def test_a_viewer_sees_what_happens_without_values_and_does_nothing(
    browser: Chromium, server: Server, log_in: LogIn, order: Any
) -> None:
    log_in("viewer", *VIEWER)

    browser.go(server.url + page_of(order.workflow_id))

    assert "Waiting for a message on topic 'payment'" in browser.text
    assert "(hidden)" in browser.text
    assert "KETTLE" not in browser.text
    assert buttons(browser) == []
    browser.go(server.url + reverse(LIST))
    assert order.workflow_id in browser.text
    assert actions(browser) == []
    assert browser.complaints() == []
    browser.go(server.url + url_of("cancel", order.workflow_id))
    assert "403 Forbidden" in browser.text
    assert order.get_status() == "WAITING"


def test_an_operator_acts_with_the_permissions_that_there_are(
    browser: Chromium, server: Server, log_in: LogIn, order: Any
) -> None:
    operator = log_in("operator", *OPERATOR)

    browser.go(server.url + page_of(order.workflow_id))
    assert "KETTLE" in browser.text
    assert buttons(browser)[:2] == ["Cancel", "Cancel with children"]
    assert "Change its start" not in buttons(browser)
    browser.click(f"a[href='{url_of('cancel', order.workflow_id)}']")
    assert "1 active workflow will be cancelled" in browser.text
    browser.click("#content-main form [type=submit]")

    assert "1 cancelled" in browser.text
    assert "cancelled" in str(browser.run("document.querySelector('#badge').textContent"))
    assert order.get_status() == "CANCELLED"
    entry = LogEntry.objects.get()
    assert (entry.user, entry.change_message) == (operator, "Cancelled.")
    browser.go(server.url + url_of("history", order.workflow_id))
    assert "operator" in browser.text
    assert "Cancelled." in browser.text
    assert browser.complaints() == []


def test_those_who_are_no_staff_are_led_to_the_login(
    browser: Chromium, server: Server, log_in: LogIn, order: Any
) -> None:
    log_in("stranger", *OPERATOR, is_staff=False)

    for url in (page_of(order.workflow_id), reverse(LIST), url_of("cancel", order.workflow_id)):
        browser.go(server.url + url)
        assert "/admin/login/" in browser.run("location.pathname")
        assert order.workflow_id not in browser.text


def test_staff_without_permissions_see_nothing(
    browser: Chromium, server: Server, log_in: LogIn, order: Any
) -> None:
    log_in("staff")

    for url in (page_of(order.workflow_id), reverse(LIST), url_of("cancel", order.workflow_id)):
        browser.go(server.url + url)
        assert "403 Forbidden" in browser.text


def test_the_shop_shows_each_role_what_it_may_follow(
    browser: Chromium, server: Server, log_in: LogIn, order: Any
) -> None:
    """The progress of an order is for everyone who has its address; the rest is for few."""
    payment = address(server, "event", order.workflow_id, key="payment_url")
    url = str(dbos.get_event(order.workflow_id, "payment_url"))
    roles: list[tuple[str, tuple[str, ...], str]] = [
        ("stranger", (), "You may not follow this."),
        ("viewer", VIEWER, "You may not follow this."),
        ("operator", OPERATOR, url),
    ]

    browser.go(payment)
    assert "Log in to follow this." in browser.text
    assert url not in browser.text
    for name, permissions, shown in roles:
        log_in(name, *permissions, is_staff=bool(permissions))
        browser.go(payment)
        browser.wait_for_text(shown)
        assert (url in browser.text) == (shown == url)
        browser.go(f"{server.url}/orders/{order.workflow_id}/")
        browser.wait_for_text("Waiting for your payment")
    assert browser.complaints() == []


def test_a_permission_that_is_taken_away_ends_what_the_page_shows(
    browser: Chromium, server: Server, log_in: LogIn, order: Any
) -> None:
    operator = log_in("operator", *OPERATOR)
    browser.go(address(server, "event", order.workflow_id, key="payment_url"))
    browser.wait(lambda: browser.run("document.querySelector('[data-state=live]') !== null"))

    operator.user_permissions.clear()

    browser.wait_for_text("You may not follow this.")
