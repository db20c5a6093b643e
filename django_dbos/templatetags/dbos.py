"""`{% load dbos %}`: a workflow's progress, streams and events on a page, live.

Each tag renders the state as of the page, so that it reads without JavaScript, as an element that
`static/django_dbos/live.js` keeps up to date. `{% dbos_live %}` loads it.

Who may read decides DBOS["CAN_READ"], for the user of the request, as for the websockets; or a
token of `dbos.stream_token()` or `dbos.event_token()`, which a view passes. Without permission the
element says so, and shows nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.template import Context, Library
from django.templatetags.static import static
from django.utils.translation import gettext

from django_dbos.live import widgets
from django_dbos.live.readers import Reader

register = Library()

STYLESHEET, SCRIPT = "django_dbos/live.css", "django_dbos/live.js"


@register.inclusion_tag("django_dbos/live/head.html", takes_context=True)
def dbos_live(context: Context) -> dict[str, Any]:
    """Load the module and the stylesheet of the elements; it belongs in the page's head."""
    says = {state: str(text) for state, text in widgets.NOTICES.items()}
    return {
        "stylesheet": static(STYLESHEET),
        "script": static(SCRIPT),
        "says": json.dumps(says, ensure_ascii=False),
        "csp_nonce": context.get("csp_nonce"),
    }


@register.simple_tag(takes_context=True)
def dbos_progress(
    context: Context,
    workflow_id: object,
    key: str = "progress",
    *,
    source: str = "event",
    total: float | Decimal = 100,
    label: str | None = None,
    token: str | None = None,
    websocket: str | bool = True,
    template: str = "django_dbos/live/progress.html",
    **attributes: object,
) -> str:
    """Show a progress bar with its text.

    The value is a number; a text, while nobody knows a number; or an object with `done`, and
    perhaps `total` and `text`.

    Args:
        context: The page's.
        workflow_id: The workflow.
        key: The event or stream.
        source: "event", or "stream" for the last entry of a stream.
        total: The number that means all, unless the value has its own.
        label: The bar's name for screen readers.
        token: A token of `event_token()` or `stream_token()`, instead of the request's user.
        websocket: The path at which the project has the websockets, if not "/ws/dbos/"; False uses
            HTTP alone.
        template: Renders the element.
        attributes: `id`, `class` and `title` of the element.
    """
    source_of = widgets.source(source, workflow_id, key, _reader(context, token), websocket)
    shown = widgets.progress(source_of, total, label or gettext("Progress"), attributes)
    return _render(context, template, shown)


@register.simple_tag(takes_context=True)
def dbos_stream(
    context: Context,
    workflow_id: object,
    key: str,
    *,
    mode: str = "list",
    limit: int | None = 1000,
    label: str | None = None,
    token: str | None = None,
    websocket: str | bool = True,
    template: str = "django_dbos/live/stream.html",
    **attributes: object,
) -> str:
    """Show the entries of a stream, as they are written.

    Args:
        context: The page's.
        workflow_id: The workflow.
        key: The stream.
        mode: "list" shows each entry as an item; "text" joins them, for the tokens of a model.
        limit: The number of items that the list keeps, the last ones; None keeps all. Text is kept
            whole.
        label: The name of the list or text for screen readers.
        token: A token of `stream_token()`, instead of the request's user.
        websocket: See `dbos_progress`.
        template: Renders the element.
        attributes: `id`, `class` and `title` of the element.
    """
    source_of = widgets.source("stream", workflow_id, key, _reader(context, token), websocket)
    shown = widgets.stream(source_of, mode, limit, label or key, attributes)
    return _render(context, template, shown)


@register.simple_tag(takes_context=True)
def dbos_event(
    context: Context,
    workflow_id: object,
    key: str,
    *,
    labels: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    default: str = "",
    label: str | None = None,
    token: str | None = None,
    websocket: str | bool = True,
    template: str = "django_dbos/live/event.html",
    **attributes: object,
) -> str:
    """Show the value of an event, and each later one.

    Args:
        context: The page's.
        workflow_id: The workflow.
        key: The event.
        labels: The texts for some values, as a dict or as the choices of a field. The element has
            the value itself in `data-value`, for stylesheets.
        default: The text before the first value.
        label: The name of the text for screen readers.
        token: A token of `event_token()`, instead of the request's user.
        websocket: See `dbos_progress`.
        template: Renders the element.
        attributes: `id`, `class` and `title` of the element.
    """
    source_of = widgets.source("event", workflow_id, key, _reader(context, token), websocket)
    shown = widgets.event(source_of, labels, default, label or key, attributes)
    return _render(context, template, shown)


def _reader(context: Context, token: str | None) -> Reader:
    if token:
        return Reader(token=token)
    request = context.get("request")
    if request is None:
        raise ValueError(
            "The tags of django_dbos need the request, to know who reads: render the page with it, "
            "and with the context processor django.template.context_processors.request. A token "
            "(token=…) needs no request."
        )
    user = getattr(request, "user", None)
    if user is not None:
        # Loads the user now: the check runs on an event loop, which can't.
        user = user if user.is_authenticated else None
    return Reader(user, getattr(request, "session", None))


def _render(context: Context, template: str, shown: dict[str, Any]) -> str:
    # The page's own engine, as {% include %}: its folders may have a template of the same name.
    assert context.template is not None
    with context.push(**shown):
        rendered: str = context.template.engine.get_template(template).render(context)
    return rendered
