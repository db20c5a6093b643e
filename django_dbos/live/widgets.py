"""The elements of the template tags: what their templates show, and what their script needs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.forms.utils import flatatt
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.translation import gettext_lazy as _

from django_dbos.core import names
from django_dbos.live import snapshots
from django_dbos.live.readers import Reader, Reason, Refused
from django_dbos.live.shown import progress_of, text_of
from django_dbos.live.snapshots import EventSnapshot, StreamSnapshot

SOURCES = ("event", "stream")
MODES = ("list", "text")
ATTRIBUTES = ("id", "class", "title")
OPTIONS = ("default", "label", "labels", "limit", "mode", "source", "template", "token", "total")
# Where `routing.websocket_urlpatterns` are, unless a project has them below another path.
WEBSOCKETS = "ws/dbos/"

# The texts for the states of an element: by state of live.js, and by reason of a refusal.
NOTICES = {
    "reconnecting": _("Reconnecting …"),
    "login": _("Log in to follow this."),
    "expired": _("This page has expired. Reload it."),
    "refused": _("You may not follow this."),
    "wrong": _("The address of this is wrong."),
}
STATES = {Reason.NOT_LOGGED_IN: "login", Reason.EXPIRED: "expired"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The source of an element: a stream or an event of a workflow, as its reader may see it."""

    kind: str
    workflow_id: str
    key: str
    reader: Reader
    websocket: str | None
    http: str | None


def source(
    kind: str, workflow_id: object, key: object, reader: Reader, websocket: str | bool
) -> Source:
    """Return what an element shows; raise ValueError or TypeError for a wrong argument.

    Raises:
        ImproperlyConfigured: The project has no address at which the element could follow it.
    """
    _check_choice("source", kind, SOURCES)
    if workflow_id == "":
        raise ValueError(
            "A workflow id can't be empty. The page's context may lack the variable that the tag "
            "names."
        )
    source = Source(
        kind=kind,
        workflow_id=names.check_workflow_id(
            str(workflow_id) if isinstance(workflow_id, UUID) else workflow_id
        ),
        key=names.check_key(key),
        reader=reader,
        websocket=_websocket(kind, websocket),
        http=_http(kind),
    )
    if source.websocket is None and source.http is None:
        raise ImproperlyConfigured(
            "The tags of django_dbos have no address from which a page could get its values. Add "
            "path('dbos/', include('django_dbos.urls')) to the project's URLs, or install Channels "
            "for websockets."
        )
    return source


def progress(
    source: Source, total: Any, label: str, attributes: Mapping[str, object]
) -> dict[str, Any]:
    """Return the context of a progress bar's template; raise ValueError for a wrong total."""
    # A model's DecimalField, which is no float.
    total = float(total) if isinstance(total, Decimal) else total
    if isinstance(total, bool) or not isinstance(total, int | float) or not 0 <= total < math.inf:
        raise ValueError(f"total must be a number of at least 0, not {total!r}.")
    data: dict[str, object] = {"max": _number(total)}
    notice, value = "", None
    try:
        if source.kind == "event":
            value = _take_event(source, data).value
        else:
            entries = _take_stream(source, data, last=1).entries
            value = entries[-1][1] if entries else None
    except Refused as refused:
        notice = _refuse(refused, data)
    found = progress_of(value, total)
    return {
        "attributes": _attributes("progress", data, attributes),
        "label": label,
        "done": None if found.done is None else _number(found.done),
        "total": _number(found.total),
        "percent": found.percent,
        "text": found.text,
        "notice": notice,
    }


def stream(
    source: Source, mode: str, limit: Any, label: str, attributes: Mapping[str, object]
) -> dict[str, Any]:
    """Return the context of a stream's template; raise ValueError for a wrong limit."""
    _check_choice("mode", mode, MODES)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit must be an int of at least 1, or None, not {limit!r}.")
    is_list = mode == "list"
    data: dict[str, object] = {"mode": mode}
    if is_list and limit is not None:
        data["limit"] = limit
    entries: list[tuple[int, Any]] = []
    notice = ""
    try:
        entries = _take_stream(source, data, last=limit if is_list else None).entries
    except Refused as refused:
        notice = _refuse(refused, data)
    return {
        "attributes": _attributes("stream", data, attributes),
        "label": label,
        "mode": mode,
        "entries": [
            {"offset": offset, "value": value, "text": text_of(value)} for offset, value in entries
        ],
        "notice": notice,
    }


def event(
    source: Source,
    labels: Mapping[str, str] | Iterable[tuple[str, str]],
    default: str,
    label: str,
    attributes: Mapping[str, object],
) -> dict[str, Any]:
    """Return the context of an event's template."""
    data: dict[str, object] = {}
    try:
        texts = {str(value): str(text) for value, text in dict(labels).items()}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"labels must be a dict, or pairs as a field's choices, not {labels!r}."
        ) from error
    if texts:
        data["labels"] = json.dumps(texts, ensure_ascii=False)
    value, notice, shown = None, "", str(default)
    if default:
        data["default"] = default
    try:
        taken = _take_event(source, data)
        if taken.version:
            value = taken.value
            data["value"] = text_of(value)
            shown = texts.get(text_of(value), text_of(value))
    except Refused as refused:
        notice, shown = _refuse(refused, data), ""
    return {
        "attributes": _attributes("event", data, attributes),
        "label": label,
        "value": value,
        "text": shown,
        "notice": notice,
    }


def _take_event(source: Source, data: dict[str, object]) -> EventSnapshot:
    taken = snapshots.take_of_event(source.reader, source.workflow_id, source.key)
    data |= _connection(source) | {"tag": taken.tag, "version": taken.version}
    return taken


def _take_stream(source: Source, data: dict[str, object], *, last: int | None) -> StreamSnapshot:
    taken = snapshots.take_of_stream(source.reader, source.workflow_id, source.key, last=last)
    data |= _connection(source) | {"tag": taken.tag, "offset": taken.next_offset}
    return taken


def _connection(source: Source) -> dict[str, object]:
    """Return what the script needs to go on; without it, an element stays as it is."""
    return {
        "kind": source.kind,
        "workflow": source.workflow_id,
        "key": source.key,
        "token": source.reader.token,
        "websocket": source.websocket,
        "http": source.http,
    }


def _refuse(refused: Refused, data: dict[str, object]) -> str:
    """Note the state of an element whose reader is refused; return its notice."""
    data["state"] = STATES.get(refused.reason, "refused")
    return str(NOTICES[str(data["state"])])


def _attributes(name: str, data: Mapping[str, object], attributes: Mapping[str, object]) -> str:
    for attribute in attributes:
        if attribute not in ATTRIBUTES:
            raise TypeError(
                f"{{% dbos_{name} %}} has no option {attribute!r}."
                f"{names.suggest(attribute, [*ATTRIBUTES, *OPTIONS])}"
            )
    found = {f"data-{key}": value for key, value in data.items() if value is not None}
    return flatatt({**attributes, **{key: str(value) for key, value in found.items()}})


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}."
            f"{names.suggest(str(value), choices)}"
        )


def _websocket(kind: str, given: str | bool) -> str | None:
    if given is False or (given is True and not apps.is_installed("channels")):
        return None
    folder = get_script_prefix() + WEBSOCKETS if given is True else given
    return f"{folder.rstrip('/')}/{kind}s/"


def _http(kind: str) -> str | None:
    try:
        return reverse(f"dbos:{kind}s")
    except NoReverseMatch:
        return None


def _number(value: float) -> str:
    """Return a number as HTML and JavaScript read it, whatever the page's language."""
    return str(int(value)) if value == int(value) else repr(value)
