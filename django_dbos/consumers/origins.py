"""Check of the Origin header: sockets follow the rules of Django's CSRF protection for forms."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.utils.http import is_same_domain

from django_dbos.telemetry.rare_warnings import RareWarning

logger = logging.getLogger("django_dbos.consumers")

_refusal = RareWarning(
    logger,
    "A socket from a page of %.200r is refused: the origin of this site is %r. If the page is "
    "yours, add its origin to CSRF_TRUSTED_ORIGINS; behind a proxy, see SECURE_PROXY_SSL_HEADER.",
)

SCHEMES = {"ws": "http", "wss": "https"}


def is_allowed(scope: Any) -> bool:
    """Return whether the origin is this site's or in CSRF_TRUSTED_ORIGINS; log a refusal.

    Scheme, host and port must match. Only browsers send an origin; without one, the socket is
    allowed.
    """
    origin = dict(scope.get("headers", [])).get(b"origin")
    if origin is None:
        return True
    text = origin.decode("latin1")
    expected = _own_origin(scope)
    if text == expected or _is_trusted(text):
        return True
    _refusal.warn(text, expected)
    return False


def _own_origin(scope: Any) -> str | None:
    """Return the origin of this site's pages, or None if the Host header isn't allowed."""
    scheme = scope.get("scheme", "ws")
    http_scope = {**scope, "method": "GET", "scheme": SCHEMES.get(scheme, scheme)}
    request = ASGIRequest(http_scope, BytesIO())
    try:
        return f"{request.scheme}://{request.get_host()}"
    except DisallowedHost:
        return None


def _is_trusted(origin: str) -> bool:
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return any(
        parts.scheme == trusted.scheme and is_same_domain(parts.netloc, trusted.netloc.lstrip("*"))
        for trusted in map(urlsplit, settings.CSRF_TRUSTED_ORIGINS)
        if trusted.netloc.startswith("*")
    )
