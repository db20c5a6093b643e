"""Which pages may open sockets: those that Django's CSRF protection would take a form from."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.utils.http import is_same_domain

logger = logging.getLogger("django_dbos.consumers")

SCHEMES = {"ws": "http", "wss": "https"}


def is_allowed(scope: Any) -> bool:
    """Whether the page that connects is one of this site's; other programs send no origin.

    Scheme, host and port must be those that were asked, or in CSRF_TRUSTED_ORIGINS.
    """
    origin = dict(scope.get("headers", [])).get(b"origin")
    if origin is None:
        return True
    text = origin.decode("latin1")
    expected = _own_origin(scope)
    if text == expected or _is_trusted(text):
        return True
    logger.warning(
        "A socket of a page from %.200r is refused: this site is %r. Where the page is yours, add "
        "its origin to CSRF_TRUSTED_ORIGINS; behind a proxy see SECURE_PROXY_SSL_HEADER.",
        text,
        expected,
    )
    return False


def _own_origin(scope: Any) -> str | None:
    """What a page of this site has as its origin; None where the host isn't one of it."""
    scheme = scope.get("scheme", "ws")
    asked = {**scope, "method": "GET", "scheme": SCHEMES.get(scheme, scheme)}
    request = ASGIRequest(asked, BytesIO())
    try:
        return f"{request.scheme}://{request.get_host()}"
    except DisallowedHost:
        return None


def _is_trusted(origin: str) -> bool:
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    try:
        asked = urlsplit(origin)
    except ValueError:
        return False
    return any(
        asked.scheme == one.scheme and is_same_domain(asked.netloc, one.netloc.lstrip("*"))
        for one in map(urlsplit, settings.CSRF_TRUSTED_ORIGINS)
        if one.netloc.startswith("*")
    )
