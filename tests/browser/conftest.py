"""A real browser before the pages. Without one the tests fail: only `none` leaves them out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.chromium import Chromium, find_browser
from tests.browser.servers import Server
from tests.conftest import make_process_environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("DBOS_TEST_CHROMIUM") != "none":
        return
    skip = pytest.mark.skip(reason="DBOS_TEST_CHROMIUM is 'none'.")
    for item in items:
        if "browser" in item.path.parent.name:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    with Chromium(find_browser(os.environ.get("DBOS_TEST_CHROMIUM"))) as chromium:
        yield chromium


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Chromium]:
    """An empty page of 1280 by 900 pixels, of a browser that knows nobody."""
    yield chromium
    chromium.forget()


@pytest.fixture
def operator(browser: Chromium, admin_client: Any, live_server: Any) -> Chromium:
    """The browser of somebody who is logged in and may do everything."""
    browser.set_cookie(live_server.url, "sessionid", admin_client.cookies["sessionid"].value)
    return browser


@pytest.fixture(scope="session")
def running_server(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    environment = {
        **make_process_environment(),
        "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
    }
    server = Server(environment, tmp_path_factory.mktemp("site") / "server.log")
    yield server
    server.kill()


@pytest.fixture
def server(transactional_db: None, running_server: Server) -> Server:
    """The site with its websockets, in a process of its own."""
    running_server.start()
    return running_server


@pytest.fixture
def viewer(browser: Chromium, admin_client: Any, server: Server) -> Chromium:
    """The browser of a superuser on that site."""
    browser.set_cookie(server.url, "sessionid", admin_client.cookies["sessionid"].value)
    return browser
