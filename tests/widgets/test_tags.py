"""The template tags: what they render for whom; tests/browser looks at them live."""

from __future__ import annotations

import json
import re
import uuid
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.template import Context, RequestContext, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.utils import translation

import django_dbos as dbos
from django_dbos.live.offsets import tag_of
from django_dbos.live.shown import progress_of, text_of
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db


@dbos.workflow
def tells() -> None:
    """Publish something under each kind of key."""
    dbos.set_event("progress", {"done": 1234, "total": 5000, "text": "Half <way>"})
    dbos.set_event("status", "awaiting_payment")
    for number in range(5):
        dbos.write_stream("log", f"line {number}")


@pytest.fixture
def workflow_id() -> str:
    handle = tells.start()
    run_until_idle()
    return handle.workflow_id


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def render(source: str, user: Any = None, **values: Any) -> str:
    request = RequestFactory().get("/")
    request.user = user or AnonymousUser()
    template = Template("{% load dbos %}" + source)
    return template.render(RequestContext(request, values))


def data_of(rendered: str) -> dict[str, str]:
    return {name: unescape(value) for name, value in re.findall(r' data-(\w+)="([^"]*)"', rendered)}


def test_a_progress_bar_is_readable_without_scripts(workflow_id: str, root: User) -> None:
    rendered = render("{% dbos_progress workflow_id %}", root, workflow_id=workflow_id)

    assert 'aria-label="Progress" max="5000" value="1234"' in rendered
    assert "24\N{NO-BREAK SPACE}%" in rendered
    assert "Half &lt;way&gt;" in rendered
    assert data_of(rendered)["version"] == "1"


def test_numbers_are_for_machines_in_every_language(
    workflow_id: str, root: User, settings: Any
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    source = "{% dbos_progress workflow_id 'none' total=0.5 %}{% dbos_progress workflow_id %}"

    with translation.override("de"):
        rendered = render(source, root, workflow_id=workflow_id)

    assert 'max="0.5"' in rendered
    assert 'value="1234"' in rendered


def test_a_total_may_be_a_decimal_of_a_model(root: User) -> None:
    rendered = render("{% dbos_progress 'some' total=total %}", root, total=Decimal("2.50"))

    assert 'max="2.5"' in rendered


def test_a_total_of_nothing_is_shown(root: User) -> None:
    assert 'max="0"' in render("{% dbos_progress 'some' total=total %}", root, total=0)


def test_a_list_shows_the_last_entries_and_where_to_go_on(workflow_id: str, root: User) -> None:
    rendered = render("{% dbos_stream workflow_id 'log' limit=2 %}", root, workflow_id=workflow_id)

    assert re.findall(r"<li>(.*?)</li>", rendered) == ["line 3", "line 4"]
    assert data_of(rendered) | {"websocket": "", "http": ""} == {
        "kind": "stream",
        "workflow": workflow_id,
        "key": "log",
        "mode": "list",
        "limit": "2",
        "offset": "5",
        "tag": tag_of(Workflow.objects.get(pk=workflow_id).token),
        "websocket": "",
        "http": "",
    }


def test_a_text_is_whole(workflow_id: str, root: User) -> None:
    rendered = render("{% dbos_stream id 'log' mode='text' %}", root, id=workflow_id)

    assert ">line 0line 1line 2line 3line 4<" in rendered


def test_an_event_has_labels_and_a_default(workflow_id: str, root: User) -> None:
    source = (
        "{% dbos_event id 'status' labels=labels class='badge' %}"
        "{% dbos_event id 'other' default='nothing yet' %}"
    )

    rendered = render(source, root, id=workflow_id, labels=[("awaiting_payment", "Pay")])

    assert '<dbos-event class="badge"' in rendered
    assert re.findall(r'role="status" aria-label="[^"]*">([^<]*)<', rendered) == [
        "Pay",
        "nothing yet",
    ]
    assert json.loads(data_of(rendered)["labels"]) == {"awaiting_payment": "Pay"}


def test_strangers_and_ids_that_do_not_exist_get_one_answer(workflow_id: str) -> None:
    stranger = User.objects.create_user("stranger")
    source = "{% dbos_progress id %}{% dbos_stream id 'log' %}{% dbos_event id 'status' %}"

    for user, notice in ((None, "Log in to follow this."), (stranger, "You may not follow this.")):
        known = render(source, user, id=workflow_id)
        assert known == render(source, user, id=str(uuid.uuid4()))
        assert known.count(notice) == 3
        assert "data-workflow" not in known
        assert "line" not in known


def test_the_rule_decides_by_key(workflow_id: str, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": lambda user, workflow, kind, key: key == "log"}

    assert "line 4" in render("{% dbos_stream id 'log' %}", id=workflow_id)
    assert "Log in" in render("{% dbos_event id 'status' %}", id=workflow_id)


def test_a_workflow_of_the_same_transaction_is_shown(root: User) -> None:
    """A view with ATOMIC_REQUESTS starts one, and renders its page before the commit."""
    with transaction.atomic():
        workflow_id = tells.start().workflow_id
        rendered = render("{% dbos_progress id %}", root, id=workflow_id)

    assert data_of(rendered)["workflow"] == workflow_id


def test_a_token_needs_no_request(workflow_id: str) -> None:
    template = Template("{% load dbos %}{% dbos_event id 'status' token=token %}")
    token = dbos.event_token(workflow_id, keys=["status"])

    rendered = template.render(Context({"id": workflow_id, "token": token}))

    assert "awaiting_payment" in rendered
    assert data_of(rendered)["token"] == token
    forged = template.render(Context({"id": workflow_id, "token": token[:-1]}))
    assert "awaiting_payment" not in forged


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% dbos_stream id 'log' mode='txt' %}", "mode must be 'list' or 'text', not 'txt'"),
        ("{% dbos_progress id source='events' %}", "not 'events'. Did you mean 'event'"),
        ("{% dbos_event id 'k' clas='x' %}", "has no option 'clas'. Did you mean 'class'"),
        ("{% dbos_event missing 'k' %}", "can't be empty. The page's context may lack"),
        ("{% dbos_progress id total='x' %}", "total must be a number of at least 0, not 'x'"),
        ("{% dbos_progress id total=-1 %}", "total must be a number of at least 0, not -1"),
        (
            "{% dbos_stream id 'log' limit='x' %}",
            "limit must be an int of at least 1, or None, not 'x'",
        ),
        ("{% dbos_stream id 'log' limit=0 %}", "limit must be an int of at least 1"),
        ("{% dbos_event id 'k' labels='x' %}", "labels must be a dict, or pairs"),
    ],
)
def test_mistakes_in_a_template_are_named(root: User, source: str, expected: str) -> None:
    with pytest.raises((TypeError, ValueError), match=expected):
        render(source, root, id="some")


def test_a_page_without_its_request_is_told(workflow_id: str) -> None:
    with pytest.raises(ValueError, match="context processor"):
        Template("{% load dbos %}{% dbos_event id 'k' %}").render(Context({"id": workflow_id}))
    with pytest.raises(TemplateSyntaxError):
        Template("{% load dbos %}{% dbos_event id %}")


urlpatterns: list[Any] = []


@pytest.mark.urls("tests.widgets.test_tags")
def test_a_forgotten_include_is_an_error_with_a_hint(root: User) -> None:
    """Without an address the element would stay as it is, and say so in the browser's console."""
    for source in ("dbos_progress id", "dbos_stream id 'log'", "dbos_event id 'status'"):
        with pytest.raises(ImproperlyConfigured, match=r"include\('django_dbos.urls'\)"):
            render(f"{{% {source} websocket=False %}}", root, id="some")

    # With Channels, websockets are enough.
    assert "data-state" in render("{% dbos_progress id %}", id="some")


def test_a_project_overrides_the_templates(
    workflow_id: str, root: User, settings: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "django_dbos" / "live"
    folder.mkdir(parents=True)
    own = {
        "progress": "{{ percent }} of {{ total }}, {{ text }}, for {{ who }}",
        "stream": "{% for entry in entries %}[{{ entry.offset }} {{ entry.value }}]{% endfor %}",
        "event": "{{ value }} is {{ text }}",
        "head": "{{ script }} {{ stylesheet }}",
    }
    for name, text in own.items():
        (folder / f"{name}.html").write_text(text)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    sources = {
        "progress": "{% dbos_progress id %}",
        "stream": "{% dbos_stream id 'log' limit=2 %}",
        "event": "{% dbos_event id 'status' labels=labels %}",
        "head": "{% dbos_live %}",
    }
    values = {"id": workflow_id, "who": "<you>", "labels": {"awaiting_payment": "unpaid"}}

    found = {name: render(source, root, **values) for name, source in sources.items()}

    assert found == {
        "progress": "24\N{NO-BREAK SPACE}% of 5000, Half &lt;way&gt;, for &lt;you&gt;",
        "stream": "[3 line 3][4 line 4]",
        "event": "awaiting_payment is unpaid",
        "head": "/static/django_dbos/live.js /static/django_dbos/live.css",
    }


def test_the_guide_names_the_variables_of_the_stylesheet() -> None:
    project = Path(dbos.__file__).parent.parent
    style = (project / "django_dbos" / "static" / "django_dbos" / "live.css").read_text()
    guide = (project / "docs" / "guides" / "pages.md").read_text()
    # Those that it sets itself are its own.
    own = set(re.findall(r"^\s*(--dbos-live-\w+):", style, re.MULTILINE))

    read = set(re.findall(r"var\((--dbos-live-[\w-]+)", style)) - own
    assert set(re.findall(r"--dbos-live-[\w-]+", guide)) == read != set()


def test_the_head_takes_a_nonce(root: User) -> None:
    rendered = render("{% dbos_live %}", csp_nonce="abc")

    assert rendered.count('nonce="abc"') == 2
    assert 'src="/static/django_dbos/live.js"' in rendered
    assert "style=" not in rendered


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (50, (50, 100, "")),
        (True, (None, 100, "")),
        ({"done": 3, "total": 4, "text": "x"}, (3, 4, "x")),
        ({"done": 5, "total": 4}, (4, 4, "")),
        ({"done": -5, "total": -4}, (0, 100, "")),
        ("soon", (None, 100, "soon")),
        ([1], (None, 100, "")),
    ],
)
def test_progress_of_values(value: Any, expected: tuple[Any, ...]) -> None:
    found = progress_of(value)

    assert (found.done, found.total, found.text) == expected


def test_there_is_no_share_of_nothing() -> None:
    """The page of an order without parcels used to end in a ZeroDivisionError."""
    found = progress_of(3, total=0)

    assert (found.done, found.percent) == (None, "")


def test_only_all_of_it_is_100_percent() -> None:
    assert progress_of({"done": 999, "total": 1000}).percent == "99\N{NO-BREAK SPACE}%"
    assert progress_of({"done": 0.29, "total": 1}).percent == "28\N{NO-BREAK SPACE}%"


def test_texts_of_values() -> None:
    assert text_of({"text": "words", "n": 1}) == "words"
    assert text_of({"a": "ü", "b": [1, None, True]}) == '{"a":"ü","b":[1,null,true]}'
