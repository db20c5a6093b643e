"""The list and the page of workflows in a browser: how they look, and that they follow."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from tests.admin.conftest import LIST, page_of
from tests.browser import pictures, shop
from tests.browser.chromium import Chromium

pytestmark = pytest.mark.django_db(transaction=True)


def test_pictures_of_the_list_and_of_pages(operator: Chromium, live_server: Any) -> None:
    ids = shop.fill()

    pictures.take(operator, live_server.url + reverse(LIST), "workflows")
    for name, workflow_id in ids.items():
        pictures.take(operator, live_server.url + page_of(workflow_id), f"workflow-{name}")

    assert [text for text in operator.complaints() if "favicon" not in text] == []
