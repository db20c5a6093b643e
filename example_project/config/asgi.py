"""HTTP and websockets on one port: the shop's pages, and the streams and events they show live."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

Application = Callable[..., Awaitable[Any]]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.config.settings")
pages = get_asgi_application()

# After get_asgi_application(), which loads the apps that the consumers need.
from django_dbos.routing import websocket_urlpatterns  # noqa: E402


def at_most(limit: int, application: Application) -> Application:
    """Serve `limit` requests at a time: each holds a thread and a database connection."""
    free = asyncio.Semaphore(limit)

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        async with free:
            await application(scope, receive, send)

    return limited


application = ProtocolTypeRouter(
    {
        "http": at_most(32, ASGIStaticFilesHandler(pages) if settings.DEBUG else pages),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)
