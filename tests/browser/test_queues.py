"""The pages of queues as operators see them: they fit the screen, and buttons do what they say."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from django_dbos import queues
from django_dbos.models import Queue
from django_dbos.store import get_store
from tests.admin.workflows import quick
from tests.browser.chromium import Chromium

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = reverse("admin:django_dbos_queue_change", args=["mail"])
LIMITS = {
    "concurrency": 10,
    "worker_concurrency": 5,
    "rate_limit": "100/m",
    "partition_concurrency": 1,
    "partition_rate_limit": "5/m",
}


@pytest.fixture
def mail() -> None:
    get_store().declare_queues({"mail": LIMITS, "a-queue-with-a-rather-long-name": {}}, ())
    queues.set("mail", concurrency=20, hold_while_waiting=True)
    queues.pause("mail", by="somebody-with-a-long-name@example.com")
    for _ in range(3):
        quick.using(queue_name="mail").start()


@pytest.mark.usefixtures("mail")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("url", [reverse("admin:django_dbos_queue_changelist"), PAGE])
def test_the_pages_fit_the_screen(
    operator: Chromium, live_server: Any, width: int, url: str
) -> None:
    operator.resize(width, 900)

    operator.go(live_server.url + url)

    assert operator.run("document.documentElement.scrollWidth <= window.innerWidth")
    if width == 1280:
        assert operator.run(
            "[...document.querySelectorAll('#result_list, .dbos-rows table')]"
            ".every(table => table.scrollWidth <= table.parentElement.clientWidth)"
        )


@pytest.mark.usefixtures("mail")
def test_a_form_edits_and_a_button_resumes(operator: Chromium, live_server: Any) -> None:
    operator.go(live_server.url + PAGE)
    operator.run("document.querySelector('#id_concurrency').value = '7'")
    operator.click("button.default")
    assert "workers follow at once" in operator.text

    operator.click(".dbos-tools form button")

    queue = Queue.objects.get(pk="mail")
    assert (queue.concurrency, queue.paused_at) == (7, None)
