"""Shared parts of the views: JSON and pages, refusals, CSRF for forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.vary import vary_on_headers

JSON = "application/json"
CSV = "text/csv"
HTML = "text/html"
View = Callable[..., HttpResponseBase]


class RefusalError(Exception):
    """The request is refused with an HTTP status, a sentence and perhaps details."""

    def __init__(self, status: int, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details


def answer_refusals(view: View) -> View:
    """Turn a RefusalError into JSON, or into a page for a browser."""

    @vary_on_headers("Accept")
    @wraps(view)
    def answering(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except RequestDataTooBig:
            return refuse(request, RefusalError(413, "The request's body is too large."))
        except RefusalError as refusal:
            return refuse(request, refusal)

    return answering


def refuse(request: HttpRequest, refusal: RefusalError) -> HttpResponse:
    if wants_json(request) or request.get_preferred_type([JSON, HTML]) == JSON:
        return JsonResponse({"error": refusal.message, **refusal.details}, status=refusal.status)
    return render(request, "shop/refusal.html", {"refusal": refusal}, status=refusal.status)


def wants_json(request: HttpRequest) -> bool:
    """Return whether the client sends data or prefers JSON; others get pages."""
    sends_data = request.content_type in (JSON, CSV)
    return sends_data or request.get_preferred_type([HTML, JSON]) == JSON


def csrf_exempt_for(content_type: str) -> Callable[[View], View]:
    """Require a CSRF token, except with a content type that no form of another site can send.

    Forms can send three (urlencoded, multipart, text/plain). Before a script of another site sends
    any other, the browser requests this server's permission (CORS), which it doesn't get.
    """

    def decorate(view: View) -> View:
        protected = csrf_protect(view)

        @csrf_exempt
        @wraps(view)
        def checking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            chosen = view if request.content_type == content_type else protected
            return chosen(request, *args, **kwargs)

        return checking

    return decorate


def read_fields(request: HttpRequest) -> Any:
    """Return the fields of a form, or of a JSON object."""
    return read_json(request) if request.content_type == JSON else request.POST


def read_json(request: HttpRequest) -> dict[str, Any]:
    """Return the JSON object in the body; raise RefusalError for anything else."""
    if request.content_type != JSON:
        raise RefusalError(415, f"Send JSON with the header 'Content-Type: {JSON}'.")
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, f"The body isn't JSON: {error}.") from error
    if not isinstance(value, dict):
        raise RefusalError(400, f"The body must be a JSON object, not {type(value).__name__}.")
    return value
