"""The websockets behind a server; the query string names the user, whom a project authenticates."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import django
from channels.routing import URLRouter

django.setup()

from django.contrib.auth.models import User  # noqa: E402

from django_dbos.routing import websocket_urlpatterns  # noqa: E402

sockets = URLRouter(websocket_urlpatterns)


async def application(scope: Any, receive: Any, send: Any) -> None:
    await sockets({**scope, "user": user_of(scope)}, receive, send)


def user_of(scope: Any) -> User:
    query = parse_qs(scope["query_string"].decode())
    return User(pk=int(query["user"][0]), is_active=True)
