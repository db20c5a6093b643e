"""Whatever a browser sends to the admin is answered, and never by an error of ours."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote as quote_part

import pytest
from django.contrib.admin.utils import quote
from django.db import transaction
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from django_dbos.admin.act_forms import AttributesText, ForkPoint, MessageText, StartTime
from django_dbos.admin.asking import ANSWER, NEWEST, ORDER
from django_dbos.admin.backfill import Range
from django_dbos.admin.filters import AGES
from django_dbos.admin.saved_views import VIEWS
from django_dbos.admin.sections import SECTIONS
from django_dbos.testing import run_until_idle
from tests.admin.conftest import keys  # noqa: F401
from tests.admin.test_roles import ADMINS, LIST_ACTIONS
from tests.admin.workflows import busy, continuing
from tests.fuzz.parts import METHODS, NUMBERS, QUOTED, TEXT, fields, fuzz, mostly, queries
from tests.people.forms import ApprovalForm

# The addresses that are tried together, by the last parts of their names.
LISTS = ("changelist", "overview", "versions")
PAGES = ("change", "history", "download", "rows", "progress")
# A ModelAdmin's own, which are refused to all.
REFUSED = ("add", "delete")

FILTERS = sorted(
    {str(one.parameter_name) for of_model in ADMINS.values() for one in of_model.list_filter}
)
PARAMETERS = {
    "lists": [*FILTERS, "q", "p", "o", "e", "all", "_to_field", "_facets", "name__regex"],
    "pages": [
        *sorted({key for one in SECTIONS for key in one.keys}),
        "after",
        "before",
        "download",
    ],
    "acts": ["step", "queue_name", "topic", "message", "run_after", "children", "attributes"],
}
FORMS = (AttributesText, ForkPoint, MessageText, StartTime, Range, ApprovalForm)
FIELDS = [
    *("action", "_selected_action", "select_across", "index", "_save", "reason"),
    *(ANSWER, NEWEST, ORDER),
    *sorted({name for form in FORMS for name in form.base_fields}),
]
PARTS = mostly(st.sampled_from([*(one.name for one in SECTIONS), "pause", "reset"]), QUOTED)
# The keys of a row, as the addresses of further pages have them.
EDGES = st.lists(st.sampled_from(NUMBERS) | TEXT | st.none(), min_size=1, max_size=3)
CHOICES = [
    *(*AGES, *(view.name for view in VIEWS)),
    *("order=1", "user=1", "log", "answered", "callback"),
]
CHOSEN = st.sampled_from(CHOICES) | EDGES.map(json.dumps)
VALUES = mostly(CHOSEN.map(quote_part), QUOTED)
EXAMPLES = 60
POSTED = TEXT | st.sampled_from(["yes", "on", "2026-11-28T10:00", "{}", '{"a": 1}'])


def routes(group: str) -> list[tuple[str, str]]:
    """Return the addresses of a group, each after the name of its model."""
    found = []
    for model, model_admin in ADMINS.items():
        for url in model_admin.get_urls():
            view = str(url.name).removeprefix(f"django_dbos_{model}_") if url.name else "delete"
            of = "lists" if view in LISTS else "pages" if view in PAGES else "acts"
            if view not in REFUSED and of == group:
                found.append((model, str(url.pattern)))
    return found


def address(route: tuple[str, str], key: str, part: str) -> str:
    """Return an address with a key and a part, as they are sent."""
    model, pattern = route
    pattern = pattern.replace("<path:object_id>", key)
    for name in ("<slug:section>", "<slug:action>"):
        pattern = pattern.replace(name, part)
    return f"/admin/django_dbos/{model}/{pattern}"


@pytest.mark.parametrize("group", PARAMETERS)
def test_no_request_fails(group: str, keys: dict[str, str], admin_user: Any) -> None:  # noqa: F811
    busy.start()
    continuing.start()
    run_until_idle()
    client = Client()
    client.force_login(admin_user)
    wrong = QUOTED | TEXT.map(quote).map(quote_part)

    def addresses(route: tuple[str, str]) -> st.SearchStrategy[str]:
        right = st.just(quote(keys[route[0]]))
        return st.builds(address, st.just(route), mostly(right, wrong), PARTS)

    known = st.sampled_from([*keys.values(), *(action for _, action in LIST_ACTIONS)])
    posted = mostly(known, POSTED)

    @fuzz(EXAMPLES)
    @given(
        METHODS,
        st.sampled_from(routes(group)).flatmap(addresses),
        queries(PARAMETERS[group], VALUES),
        fields(FIELDS, posted),
    )
    def check(method: str, path: str, query: str, data: Any) -> None:
        with transaction.atomic():
            url = f"{path}?{query}" if query else path
            is_post = method == "POST"
            response = client.post(url, data) if is_post else client.generic(method, url)
            transaction.set_rollback(True)
        assert response.status_code < 500

    check()
