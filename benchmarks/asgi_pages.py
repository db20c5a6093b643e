"""The pages and the websockets behind one server."""

from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

pages = get_asgi_application()

from django_dbos.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {"http": ASGIStaticFilesHandler(pages), "websocket": URLRouter(websocket_urlpatterns)}
)
