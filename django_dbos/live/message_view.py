"""The view to which pages post messages for workflows: as JSON, or by a form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_protect

from django_dbos.core import names
from django_dbos.live.http import live_view, reader_of
from django_dbos.live.protocol import JSON, NOT_KEPT, BadQuery
from django_dbos.live.sending import send_message

FIELDS = ("workflow_id", "message", "topic", "idempotency_key")
# A form has these, too.
FORM_FIELDS = (*FIELDS, "next", "csrfmiddlewaretoken")
SEE_OTHER = 303


@live_view("POST")
@csrf_protect
async def messages(request: HttpRequest) -> HttpResponseBase:
    """Send a message to a workflow: `{"workflow_id", "message"[, "topic", "idempotency_key"]}`.

    A form posts the same fields, and its message is a text. The answer is 204, so a browser stays
    on its page; or a redirect to the form's field `next`, a path of this site.
    """
    is_json = request.content_type == JSON
    fields = _read_json(request) if is_json else _read_form(request)
    key = request.headers.get("Idempotency-Key") or fields.get("idempotency_key")
    reader = await reader_of(request)
    try:
        await send_message(
            reader,
            fields["workflow_id"],
            fields["message"],
            topic=fields.get("topic"),
            idempotency_key=key,
        )
    except (TypeError, ValueError) as error:
        raise BadQuery(str(error)) from error
    if not is_json and (target := _target(request, fields.get("next"))):
        return HttpResponseRedirect(target, status=SEE_OTHER)
    return HttpResponse(status=204, headers={"Cache-Control": NOT_KEPT})


def _read_json(request: HttpRequest) -> Mapping[str, Any]:
    try:
        fields = json.loads(request.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadQuery(f"The body isn't JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadQuery(f"The body must be a JSON object with {', '.join(FIELDS)}.")
    return _checked(fields, FIELDS)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't a JSON value")


def _read_form(request: HttpRequest) -> Mapping[str, Any]:
    # An empty field of a form is one that wasn't filled in.
    return _checked(
        {name: text for name, text in request.POST.items() if text or name == "message"},
        FORM_FIELDS,
    )


def _checked(fields: dict[str, Any], known: tuple[str, ...]) -> Mapping[str, Any]:
    try:
        names.check_options(fields, known, owner="A message")
    except TypeError as error:
        raise BadQuery(str(error)) from None
    for name in ("workflow_id", "message"):
        if name not in fields:
            raise BadQuery(f"The field {name!r} is missing.")
    return fields


def _target(request: HttpRequest, path: Any) -> str | None:
    """Return the address to go on at, if it is one of this site."""
    is_own = url_has_allowed_host_and_scheme(
        path, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return str(path) if is_own else None
