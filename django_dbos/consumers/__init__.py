"""Channels consumers: streams and events of workflows, live, over websockets.

The tables are what is sent; everything else only says when to look. See `django_dbos.routing`.
"""

from django_dbos.consumers.events import EventConsumer
from django_dbos.consumers.streams import StreamConsumer

__all__ = ["EventConsumer", "StreamConsumer"]
