"""The quickstart and the guide to websockets, followed to the letter in an empty folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.browser.chromium import Chromium, find_browser
from tests.pages.walkthrough import Walk, build

PROJECT = Path(__file__).resolve().parent.parent.parent
DOCS = PROJECT / "docs"

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(300),
    pytest.mark.skipif(settings.VENDOR != "sqlite", reason="The pages begin on SQLite."),
]


SERVERS = {"daphne": "python manage.py runserver", "uvicorn": "uvicorn mysite.asgi:application"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), PROJECT)


@pytest.fixture
def walk(tmp_path: Path, wheel: Path) -> Iterator[Walk]:
    walk = Walk(tmp_path, wheel)
    yield walk
    walk.close()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Walk:
    """The quickstart, followed to its end; its servers have been stopped."""
    walk = Walk(tmp_path_factory.mktemp("quickstart"), wheel)

    def before(command: str) -> None:
        if "approve" in command:
            walk.kill("worker")
            walk.do("python manage.py dbos_worker")

    walk.before = before
    try:
        walk.follow(DOCS / "quickstart.md")
    finally:
        walk.close()
    return walk


def test_the_quickstart_works_as_it_is_written(quickstart: Walk) -> None:
    """Pasted into a project of startproject's, it used to end in a traceback."""
    assert "Traceback" not in quickstart.log("worker") + quickstart.log("web")
    assert "identified no issues" in quickstart.run(["python", "manage.py", "check"])
    code = "import django_dbos as d; print(d.__file__)"
    assert "environment" in quickstart.run(["python", "-c", code])


def test_a_module_beside_the_settings_is_told_of(walk: Walk) -> None:
    """It isn't discovered, and nothing said so until something was enqueued."""
    for command in ("pip install x", "django-admin startproject mysite", "cd mysite"):
        walk.do(command)
    walk.write('# mysite/settings.py\nINSTALLED_APPS += ["django_dbos"]\n')
    walk.write(
        '# mysite/settings.py\nDATABASES["default"]["OPTIONS"] = '
        '{"transaction_mode": "IMMEDIATE"}\n'
    )
    walk.write("# mysite/workflows.py\n")

    said = walk.run(["python", "manage.py", "migrate"])
    worker = walk.run(["python", "manage.py", "dbos_worker", "--once"])

    assert "(django_dbos.W009) mysite.workflows isn't discovered" in said
    assert "No workflow function is known here." in worker
    assert "workflow functions known: 0" in worker


@pytest.mark.parametrize("server", SERVERS)
def test_the_guide_to_websockets_works_as_it_is_written(
    walk: Walk, quickstart: Walk, server: str
) -> None:
    """With Django's runserver, and with uvicorn alone, its page retried forever without a word."""
    pytest.importorskip(server)
    walk.copy_project(quickstart.folder)

    if server != "daphne":
        walk.instead = {'"daphne", ': "", SERVERS["daphne"]: SERVERS[server]}

    walk.follow(DOCS / "guides" / "websockets.md")
    # The page ends with settings: runserver reloads at some moment, uvicorn doesn't.
    walk.kill("web")
    walk.do(SERVERS[server])

    assert read_stream(walk) == (4401, [])
    cookie = walk.run(["python", "manage.py", "shell", "-v", "0", "-c", LOG_IN]).strip()
    assert read_stream(walk, cookie) == (1000, ["packed", "sent"])
    token = walk.run(["python", "manage.py", "shell", "-v", "0", "-c", MAKE_TOKEN]).strip()
    assert read_stream(walk, token=token) == (1000, ["packed", "sent"])
    assert read_stream(walk, token=token[:-1]) == (4401, [])
    if server == "daphne" and (given := os.environ.get("DBOS_TEST_CHROMIUM")) != "none":
        look(walk, find_browser(given), cookie)


LOG_IN = """
from django.contrib.auth.models import User
from django.test import Client

client = Client()
client.force_login(User.objects.create_superuser("ada"))
print(client.cookies["sessionid"].value)
"""


MAKE_TOKEN = "from orders.tokens import token_for; print(token_for('order-1'))"


def read_stream(walk: Walk, cookie: str = "", token: str = "") -> tuple[int, list[str]]:
    """The code with which the socket was closed, and the values before that."""
    site = f"127.0.0.1:{walk.port}"
    address = f"ws://{site}/ws/dbos/streams/?workflow_id=order-1&key=progress"
    if token:
        address += f"&token={token}"
    headers = {"Cookie": f"sessionid={cookie}"} if cookie else {}
    frames: list[dict[str, Any]] = []
    with connect(address, origin=f"http://{site}", additional_headers=headers) as socket:
        with suppress(ConnectionClosed):
            while True:
                frames.append(json.loads(socket.recv(timeout=60)))
        assert socket.close_code is not None
        return socket.close_code, [one["value"] for one in frames if "offset" in one]


def look(walk: Walk, browser: str, cookie: str) -> None:
    site = f"http://127.0.0.1:{walk.port}"
    with Chromium(browser) as page:
        page.go(f"{site}/orders/order-1/live/")
        page.wait_for_text("Log in to follow this order.")

        page.set_cookie(site, "sessionid", cookie)
        page.go(f"{site}/orders/order-1/live/")

        page.wait_for_text("sent")
        assert "packed" in page.text
