"""A real browser before the pages. Without one the tests fail: only `none` leaves them out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Chromium, find_browser
from tests.browser.npm import Npm
from tests.browser.servers import Server
from tests.conftest import make_process_environment
from tests.process.conftest import start_worker

__all__ = ["start_worker"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="DBOS_TEST_CHROMIUM is 'none'.")
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.process)
            if os.environ.get("DBOS_TEST_CHROMIUM") == "none":
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
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site's own templates and static files, which a test writes."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "static").mkdir()
    (folder / "templates").mkdir()
    return folder


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Npm:
    return Npm(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="session")
def running_server(django_db_setup: None, site_folder: Path) -> Iterator[Server]:
    environment = {
        **make_process_environment(),
        "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
        "DBOS_TEST_SITE": str(site_folder),
    }
    server = Server(environment, site_folder / "server.log")
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
