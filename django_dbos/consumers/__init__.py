"""Channels consumers that send a workflow's streams and events over websockets.

The data always comes from the tables; notifications only decide when to read them. The URLs are in
`django_dbos.routing`.
"""

from django_dbos.consumers.events import EventConsumer
from django_dbos.consumers.streams import StreamConsumer

__all__ = ["EventConsumer", "StreamConsumer"]
