"""The appearance of the pages, judged by their sources, and links on their own site."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import path

import django_dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import Page
from tests.admin.workflows import parent

PACKAGE = Path(django_dbos.__file__).parent
TEMPLATES = sorted((PACKAGE / "templates" / "admin").rglob("*.html"))
MAX_PAGES = 200
STYLE = (PACKAGE / "static" / "django_dbos" / "admin.css").read_text()

ADMINS = {
    model: type(model_admin)
    for model, model_admin in admin.site._registry.items()
    if model._meta.app_label == "django_dbos"
}
site = AdminSite(name="operations")
for model, model_admin in ADMINS.items():
    site.register(model, model_admin)
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


@pytest.mark.urls("tests.admin.test_looks")
def test_links_stay_on_the_site_of_the_request(admin_client: Client, keys: dict[str, str]) -> None:
    """A project's own site has every page, and none leads to the default site."""
    base = "/operations/django_dbos/"
    handle = parent.start()
    run_until_idle()
    handle.send("x")
    waiting, known, seen = [base], {base}, set[str]()

    while waiting and len(seen) < MAX_PAGES:
        url = waiting.pop(0)
        response = admin_client.get(url)
        seen.add(url)
        assert response.status_code == 200, url
        if not response.headers["Content-Type"].startswith("text/html"):
            continue
        page = Page(response.content.decode())
        assert not [link for link in page.links if link.startswith("/admin/")], url
        assert 'action="/admin/' not in page.html, url
        links = [urljoin(url, link).partition("#")[0] for link in page.links if link]
        # The other tests of this process have registered hundreds of functions: links of a filter.
        found = [link for link in dict.fromkeys(links) if link.startswith(base)]
        waiting += [link for link in found if link not in known]
        known.update(found)

    # The rows of each model were reached by links alone.
    assert set(keys) == {model._meta.model_name for model in ADMINS}
    for name, key in keys.items():
        assert f"{base}{name}/" in seen
        assert f"{base}{name}/{quote(key)}/change/" in seen
