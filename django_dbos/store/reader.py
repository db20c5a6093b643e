"""Reads of the tables, for both databases.

They use Django's connection of the calling thread, and so the caller's transaction.
"""

from __future__ import annotations

from django_dbos.store.readers.events import EventReader
from django_dbos.store.readers.streams import StreamReader
from django_dbos.store.readers.workers import WorkerReader
from django_dbos.store.readers.workflows import WorkflowReader


class Reader(WorkflowReader, EventReader, StreamReader, WorkerReader):
    """Reads the tables of one database."""
