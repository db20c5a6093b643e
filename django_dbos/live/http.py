"""Requests and responses of the live views: who asks for what, and the answer to a refusal."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers

from django_dbos.core import names
from django_dbos.exceptions import PayloadTooLarge, SerializationError, WorkflowDoesNotExist
from django_dbos.live import protocol
from django_dbos.live.offsets import OffsetGone, TooManyEvents
from django_dbos.live.outages import OUTAGE, is_outage
from django_dbos.live.protocol import BadQuery, Reply
from django_dbos.live.readers import Reader, Reason, Refused
from django_dbos.telemetry.rare_warnings import RareWarning

View = Callable[..., Awaitable[HttpResponseBase]]

logger = logging.getLogger("django_dbos.live")
_is_away = RareWarning(
    logger, "The database is unavailable; live requests are answered with 503: %r"
)

TOO_MANY, UNAVAILABLE = 429, 503

# The seconds after which a reader is told to come again.
PAUSE = 2
# The same in an outage of the database, after which all of them come.
OUTAGE_PAUSE = 5

GONE = protocol.refusal(
    410, "The offset is of an earlier workflow with this id, or from before a rewind. Begin anew."
)
_REFUSALS: Mapping[Reason, Reply] = {
    Reason.NOT_LOGGED_IN: protocol.refusal(
        401, "Log in, or send a valid token.", WWW_Authenticate='Bearer realm="dbos"'
    ),
    Reason.EXPIRED: protocol.refusal(
        401,
        "The token has expired.",
        WWW_Authenticate='Bearer realm="dbos", error="invalid_token"',
    ),
    Reason.FORBIDDEN: protocol.refusal(404, "There is no such workflow, or you have no access."),
    Reason.GONE: GONE,
    Reason.TOO_MANY: protocol.refusal(
        TOO_MANY, "That was too much at once.", Retry_After=str(PAUSE)
    ),
}
BUSY = protocol.refusal(TOO_MANY, "There is nothing new. Come again.", Retry_After=str(PAUSE))

AWAY = protocol.refusal(
    UNAVAILABLE, "The database is unavailable. Come again.", Retry_After=str(OUTAGE_PAUSE)
)


def live_view(*methods: str) -> Callable[[View], Any]:
    """Decorate a view whose answers are the protocol's: it decides itself who has access.

    Args:
        methods: The methods that it serves; others are answered with 405.
    """

    def decorate(view: View) -> Any:
        @wraps(view)
        async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method not in methods:
                allowed = ", ".join(methods)
                text = f"{request.method} isn't offered here, only {allowed}."
                return response_of(protocol.refusal(405, text, Allow=allowed))
            return await _answer(view, request, *args, **kwargs)

        decorated: Any = login_not_required(wrapped)
        # An answer may wait for another transaction, and async views can't have one around them.
        for alias in connections:
            decorated = transaction.non_atomic_requests(using=alias)(decorated)
        return decorated

    return decorate


async def _answer(view: View, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
    try:
        return await view(request, *args, **kwargs)
    except (PayloadTooLarge, RequestDataTooBig) as error:
        return response_of(protocol.refusal(413, str(error)))
    except (BadQuery, TooManyEvents, SerializationError) as error:
        return response_of(protocol.refusal(400, str(error)))
    except OffsetGone:
        return response_of(GONE)
    except Refused as refused:
        return response_of(_REFUSALS[refused.reason])
    except WorkflowDoesNotExist:
        # It was deleted after the check.
        return response_of(_REFUSALS[Reason.FORBIDDEN])
    except OUTAGE as error:
        if not is_outage(error):
            raise
        _is_away.warn(error)
        return response_of(AWAY)


def response_of(reply: Reply) -> HttpResponse:
    """Return a reply as a response."""
    response = HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))
    if "Content-Type" not in reply.headers:
        del response["Content-Type"]
    if reply.status in (TOO_MANY, UNAVAILABLE):
        # Django would log each of a flood, and mail the administrators in an outage. The reason is
        # logged once a minute.
        response._has_been_logged = True  # type: ignore[attr-defined]
    vary(response)
    return response


def vary(response: HttpResponseBase) -> None:
    """Tell caches that an answer is for one reader."""
    patch_vary_headers(response, ["Cookie", "Authorization"])


async def reader_of(request: HttpRequest) -> Reader:
    """Return who asks: the holder of a token, the user of the session, or nobody."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.GET.get("token", "")
    if token:
        return Reader(token=token.strip())
    if not hasattr(request, "auser"):
        return Reader()
    return Reader(await request.auser(), getattr(request, "session", None))


def required(request: HttpRequest, name: str) -> str:
    """Return a parameter of the query string; raise BadQuery if it is missing or given twice."""
    values = request.GET.getlist(name)
    if len(values) != 1:
        told = f"given {len(values)} times. Give it once" if values else "missing"
        raise BadQuery(f"The parameter {name!r} is {told}: ?{name}=…")
    return values[0]


def workflow_id_of(request: HttpRequest) -> str:
    """Return the workflow id; raise BadQuery if it is missing or invalid."""
    return checked(names.check_workflow_id, required(request, "workflow_id"))


def checked(check: Callable[[object], str], value: object) -> str:
    """Return a text of the request that a check accepts; raise BadQuery otherwise."""
    try:
        return check(value)
    except (TypeError, ValueError) as error:
        raise BadQuery(str(error)) from None


def is_threaded(request: HttpRequest) -> bool | None:
    """Return whether a WSGI server has other threads to serve requests; None for an ASGI server."""
    if isinstance(request, ASGIRequest):
        return None
    return bool(request.META.get("wsgi.multithread", False))
