"""Forms in a browser: their looks, an answer that arrives, and texts that are never executed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Inquiry
from django_dbos.testing import run_until_idle
from example_project.shop.forms import RefundForm
from tests.browser import pictures
from tests.browser.accessibility import faults
from tests.browser.chromium import Chromium
from tests.browser.npm import Npm
from tests.browser.servers import Server

pytestmark = pytest.mark.django_db(transaction=True)

LIST = reverse("admin:django_dbos_inquiry_changelist")
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@dbos.workflow
def refund(title: str, description: str, users: list[str]) -> Any:
    return dbos.wait_for_form(
        RefundForm,
        title=title,
        description=description,
        initial={"amount": 49, "reason": description},
        users=users,
        groups=["managers"],
        timeout=timedelta(days=7),
    ).data["reason"]


def ask(title: str, description: str, *users: str) -> Inquiry:
    handle = refund.start(title, description, list(users))
    run_until_idle()
    return Inquiry.objects.get(workflow_id=handle.workflow_id)


def complaints(browser: Chromium) -> list[str]:
    return [text for text in browser.complaints() if "favicon" not in text]


@pytest.fixture
def anna(browser: Chromium, server: Server) -> Chromium:
    """The browser of a customer, on a site with strict headers."""
    client = Client()
    client.force_login(User.objects.create_user("anna", pk=7))
    browser.set_cookie(server.url, "sessionid", client.cookies["sessionid"].value)
    return browser


def test_somebody_fills_in_a_form(anna: Chromium, server: Server) -> None:
    form = ask("Refund order 7?", "The parcel came a week late.", "7")
    page = server.url + form.get_absolute_url()
    pictures.take(anna, page, "form")

    anna.run("document.querySelector('#id_amount').value = '-1'")
    anna.run("document.querySelector('form').noValidate = true")
    anna.click("button")
    assert "greater than or equal to 0" in anna.text
    anna.save_picture(pictures.FOLDER / "form-error.png")
    anna.run("document.querySelector('#id_amount').value = '5'")
    anna.run("document.querySelector('#id_reason').value = 'It was late.'")
    anna.click("button")
    assert "The answer has arrived" in anna.text
    pictures.take(anna, page, "form-answered")
    run_until_idle()

    assert dbos.retrieve_workflow(str(form.workflow_id)).get_result() == "It was late."
    assert complaints(anna) == []


def test_the_pages_have_no_serious_fault(
    operator: Chromium, live_server: Any, npm: Npm, settings: Any
) -> None:
    settings.ROOT_URLCONF = "tests.browser.site"
    form = ask("Refund order 7?", "The parcel came a week late.", "7")
    change = reverse("admin:django_dbos_inquiry_change", args=[form.pk])
    found = {}

    for path in (form.get_absolute_url(), LIST, change):
        for scheme in ("light", "dark"):
            operator.prefer(prefers_color_scheme=scheme)
            operator.go(live_server.url + path)
            found[path, scheme] = faults(operator, npm)

    assert {page: some for page, some in found.items() if some} == {}


def test_texts_of_others_are_never_executed(anna: Chromium, server: Server) -> None:
    form = ask(EVIL, EVIL, "7")
    page = server.url + form.get_absolute_url()

    anna.go(page)
    assert EVIL in anna.text
    anna.click("button")
    run_until_idle()

    assert anna.run("document.images.length + document.scripts.length") == 0
    assert dbos.retrieve_workflow(str(form.workflow_id)).get_result() == EVIL
    assert complaints(anna) == []


def test_the_pages_of_operators(operator: Chromium, live_server: Any) -> None:
    asked = [
        ask("Refund order 7?", "The parcel came a week late.", "7", "12"),
        ask(EVIL, EVIL),
        ask("A question with a rather long title " * 4, ""),
    ]
    dbos.answer_form(asked[2].pk, {"amount": "1"})
    run_until_idle()
    url = live_server.url
    change = reverse("admin:django_dbos_inquiry_change", args=[asked[0].pk])

    pictures.take(operator, url + LIST, "people")
    pictures.take(operator, f"{url}{LIST}?state=all", "people-all")
    pictures.take(operator, url + change, "people-form")
    assert operator.run("[...document.images].every(image => !image.src.endsWith('/x'))")
    operator.run("document.querySelector('#id_amount').value = '5'")
    operator.click("input.default")
    assert "The workflow gets the answer" in operator.text
    pictures.take(operator, url + change, "people-answered")

    assert complaints(operator) == []
