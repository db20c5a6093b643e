"""The appearance of the pages, judged by their sources, and links on their own site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.test import Client
from django.urls import path

import django_dbos
from django_dbos.admin import EventAdmin, ExecutorAdmin, MessageAdmin, WorkflowAdmin
from django_dbos.models import Event, Executor, Message, Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import get
from tests.admin.workflows import parent

PACKAGE = Path(django_dbos.__file__).parent
TEMPLATES = sorted((PACKAGE / "templates" / "admin").rglob("*.html"))
STYLE = (PACKAGE / "static" / "django_dbos" / "admin.css").read_text()

site = AdminSite(name="operations")
site.register(Workflow, WorkflowAdmin)
site.register(Message, MessageAdmin)
site.register(Event, EventAdmin)
site.register(Executor, ExecutorAdmin)
urlpatterns = [path("admin/", admin.site.urls), path("operations/", site.urls)]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_strict_content_security_policy_blocks_nothing(template: Path) -> None:
    assert not re.search(r"style=|<style|<script|\son\w+=", template.read_text())


def test_dark_mode_comes_from_the_system_or_the_theme() -> None:
    system = STYLE.partition("@media (prefers-color-scheme: dark)")[2].partition("\n}")[0]
    theme = STYLE.partition('html[data-theme="dark"]')[2].partition("}")[0]

    colours = re.findall(r"--dbos-\w+: #\w+", theme)
    assert colours == re.findall(r"--dbos-\w+: #\w+", system)
    # A user may choose the light theme on a dark system.
    assert 'html:not([data-theme="light"])' in system
    assert {colour.partition(":")[0] for colour in colours} == set(re.findall(r"--dbos-\w+", STYLE))


def test_every_notable_status_has_a_colour() -> None:
    coloured = set(re.findall(r'data-status="(\w+)"', STYLE))

    assert coloured <= set(Workflow.Status.values)
    assert {"SUCCESS", "PENDING", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"} <= coloured


@pytest.mark.django_db
@pytest.mark.urls("tests.admin.test_looks")
def test_links_stay_on_the_site_of_the_request(admin_client: Client) -> None:
    handle = parent.start()
    run_until_idle()
    handle.send("x")
    child = Workflow.objects.get(parent_id=handle.workflow_id)
    base = "/operations/django_dbos"

    pages = [
        get(admin_client, f"{base}/workflow/{handle.workflow_id.replace('_', '_5F')}/change/"),
        get(admin_client, f"{base}/workflow/{handle.workflow_id.replace('_', '_5F')}/rows/steps/"),
        get(admin_client, f"{base}/workflow/"),
        get(admin_client, f"{base}/message/"),
        get(admin_client, f"{base}/event/"),
    ]

    assert all(handle.workflow_id in page.text for page in pages[:4])
    assert str(child.workflow_id) in pages[4].text
    for page in pages:
        assert not [link for link in page.links if link.startswith("/admin/")]
        assert 'action="/admin/' not in page.html
