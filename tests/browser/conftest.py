"""A real browser before the pages. Without one the tests fail: only `none` leaves them out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.chromium import Chromium, find_browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("DBOS_TEST_CHROMIUM") != "none":
        return
    skip = pytest.mark.skip(reason="DBOS_TEST_CHROMIUM is 'none'.")
    for item in items:
        if "browser" in item.path.parent.name:
            item.add_marker(skip)


@pytest.fixture
def browser() -> Iterator[Chromium]:
    """A page of 1280 by 900 pixels."""
    with Chromium(find_browser(os.environ.get("DBOS_TEST_CHROMIUM"))) as chromium:
        yield chromium


@pytest.fixture
def operator(browser: Chromium, admin_client: Any, live_server: Any) -> Chromium:
    """The browser of somebody who is logged in and may do everything."""
    browser.set_cookie(live_server.url, "sessionid", admin_client.cookies["sessionid"].value)
    return browser
