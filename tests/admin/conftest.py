"""Users of the admin, its addresses, and its pages in parsed form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Event, Inquiry, Message, Schedule
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.admin.workflows import quick
from tests.people.forms import approve
from tests.store.conftest import register

LIST = "admin:django_dbos_workflow_changelist"


@pytest.fixture
def operator(client: Client) -> Client:
    """Log in a user who may view, cancel and resume workflows."""
    return log_in(client, "view_workflow", "cancel_workflow", "resume_workflow", "view_payload")


def log_in(client: Client, *permissions: str) -> Client:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def page_of(workflow_id: str) -> str:
    return reverse("admin:django_dbos_workflow_change", args=[quote(workflow_id)])


def url_of(name: str, workflow_id: str, *args: str) -> str:
    return reverse(f"admin:django_dbos_workflow_{name}", args=[quote(workflow_id), *args])


def get(client: Client, url: str, data: dict[str, Any] | None = None) -> Page:
    response = client.get(url, data)
    assert response.status_code == 200, response
    return Page(response.content.decode())


@dbos.workflow
def speak() -> None:
    """Have a row of each kind."""
    dbos.set_event("state", "spoken")
    dbos.recv(timeout=None)


@pytest.fixture
def keys(transactional_db: None) -> dict[str, str]:
    """The key of a row of each model of the admin, by the model's name."""
    workflow_id = speak.start().workflow_id
    approve.start()
    dbos.send(workflow_id, 1, topic="other")
    dbos.schedules.create("nightly", quick, "0 3 * * *")
    run_until_idle()
    executor_id = register(get_store(), queue_names='["default"]', concurrency=1)
    get_store().declare_queues({"mail": {"concurrency": 10}}, {"default"})
    return {
        "event": str(Event.objects.get().pk),
        "executor": executor_id,
        "inquiry": str(Inquiry.objects.get().pk),
        "message": str(Message.objects.get().pk),
        "queue": "mail",
        "schedule": str(Schedule.objects.get().name),
        "workflow": workflow_id,
    }


class Page(HTMLParser):
    """A parsed page: the cells of its tables, its text, its links and its buttons."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.text = self.note = ""
        self.links: list[str] = []
        self.tags: list[str] = []
        self.buttons: list[str] = []
        self.hidden: dict[str, list[str]] = {}
        self.form_url = ""
        self.sections: dict[str, list[list[str]]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.rows: list[list[str]] = []
        self._in_cell = self._in_button = self._in_note = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag == "a":
            self.links.append(given.get("href") or "")
        elif tag == "section" and given.get("id"):
            self.rows = self.sections[str(given["id"])] = []
        elif tag == "table" and given.get("id"):
            self.rows = self.tables[str(given["id"])] = []
        elif tag in ("tr", "dt"):
            self.rows.append([""] if tag == "dt" else [])
            self._in_cell = tag == "dt"
        elif tag in ("td", "th", "dd") and self.rows:
            self.rows[-1].append("")
            self._in_cell = True
        elif tag == "form":
            self.hidden, self.form_url = {}, given.get("action") or ""
        elif tag == "input" and given.get("type") == "hidden":
            self.hidden.setdefault(str(given["name"]), []).append(given.get("value") or "")
        elif tag == "p":
            self._in_note = "dbos-note" in str(given.get("class"))
        elif tag == "button":
            self.buttons.append("")
            self._in_button = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "dt", "dd"):
            self._in_cell = False
        elif tag == "p":
            self._in_note = False
        elif tag == "button":
            self._in_button = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data
        if self._in_note:
            self.note += data
        if self._in_button:
            self.buttons[-1] += data

    @property
    def badge(self) -> str:
        """Return the status in the heading of a workflow's page."""
        return re.findall(r'<h1.*?data-status="\w+">(.*?)</span>', self.html, re.DOTALL)[0]

    @property
    def streams(self) -> list[list[str]]:
        """Return the key, state and number of values of each stream."""
        found = re.findall(r"<h3>(.*?)</h3>", self.html.partition('id="streams"')[2], re.DOTALL)
        return [re.sub(r"<[^>]+>", "|", text).replace("|", " ").split()[:3] for text in found]

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Return the number and the name of each step of the timeline, with its state."""
        found = re.findall(
            r'class="dbos-number">(\d+)</span>\s*<span class="dbos-what">(.*?)<svg',
            self.html,
            re.DOTALL,
        )
        return [(number, " ".join(re.sub("<[^>]+>", "", name).split())) for number, name in found]

    def body(self, section: str) -> list[list[str]]:
        """Return the rows of a section without its column headings."""
        return self.sections[section][1:]
