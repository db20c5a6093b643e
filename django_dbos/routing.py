"""URLs of the websockets, for `URLRouter(websocket_urlpatterns)` in the project's asgi.py."""

from typing import Any

from django.urls import path

from django_dbos.consumers import EventConsumer, StreamConsumer

# For Channels, applications stand where Django has views.
stream_consumer: Any = StreamConsumer.as_asgi()
event_consumer: Any = EventConsumer.as_asgi()

websocket_urlpatterns = [
    path("ws/dbos/streams/", stream_consumer),
    path("ws/dbos/events/", event_consumer),
]
