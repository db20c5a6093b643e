"""URLs of the websockets, for `URLRouter(websocket_urlpatterns)` in a project's asgi.py."""

from typing import Any

from django.urls import path

from django_dbos.consumers import EventConsumer, StreamConsumer

# Channels routes to ASGI applications, where Django's types expect views.
stream_consumer: Any = StreamConsumer.as_asgi()
event_consumer: Any = EventConsumer.as_asgi()

websocket_urlpatterns = [
    path("ws/dbos/streams/", stream_consumer),
    path("ws/dbos/events/", event_consumer),
]
