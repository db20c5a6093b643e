"""What axe-core says of every page of the admin; test_looks.py asks it of those of the shop."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from tests.admin.conftest import keys, page_of
from tests.admin.test_roles import ANSWERS, address
from tests.browser import shop
from tests.browser.accessibility import faults
from tests.browser.chromium import Chromium
from tests.browser.npm import Npm
from tests.browser.servers import Server

__all__ = ["keys"]

pytestmark = pytest.mark.django_db(transaction=True)

# The addresses that show a page to a superuser.
PAGES = [
    name
    for name, (_, status) in ANSWERS.items()
    if status == 200 and not name.endswith("_download")
]


def test_the_admin_has_no_serious_fault(
    viewer: Chromium, server: Server, npm: Npm, keys: dict[str, str]
) -> None:
    paths = [
        reverse("admin:app_list", args=["django_dbos"]),
        *(address(name, keys) for name in PAGES),
        *(page_of(workflow_id) for workflow_id in shop.fill().values()),
    ]

    bad: dict[str, Any] = {}
    for path in paths:
        for scheme in ("light", "dark"):
            viewer.prefer(prefers_color_scheme=scheme)
            viewer.go(server.url + path)
            if found := faults(viewer, npm):
                bad[f"{path}, {scheme}"] = found

    assert len(paths) > 30
    assert bad == {}
