"""The tables: those of the workflow database, and one of each step database.

The ORM is the query API: `Workflow.objects.filter(status=...)`. Only the engine changes rows:
`save`, `delete`, `update` and `bulk_*` raise, and name the functions to call instead.

A column of serialized text is a field that ends in `_text`, such as `output_text`; the property
without that ending, `output`, reads its value. It does so at each access, and raises
SerializationError for a text that can't be read here.
"""

from __future__ import annotations

from django_dbos.models.alerts import AlertEpisode
from django_dbos.models.checkpoints import AtomicCheckpoint, Checkpoint
from django_dbos.models.events import Event, EventVersion
from django_dbos.models.executors import Executor, ExecutorQuerySet
from django_dbos.models.inquiries import Inquiry, InquiryQuerySet
from django_dbos.models.messages import Message
from django_dbos.models.past_runs import PastRun
from django_dbos.models.queues import Queue, QueueStart
from django_dbos.models.schedules import Schedule
from django_dbos.models.sequences import Sequence
from django_dbos.models.step_deletions import StepDeletion
from django_dbos.models.streams import StreamEntry
from django_dbos.models.wakes import Wake
from django_dbos.models.workflows import Workflow, WorkflowQuerySet

__all__ = [
    "AlertEpisode",
    "AtomicCheckpoint",
    "Checkpoint",
    "Event",
    "EventVersion",
    "Executor",
    "ExecutorQuerySet",
    "Inquiry",
    "InquiryQuerySet",
    "Message",
    "PastRun",
    "Queue",
    "QueueStart",
    "Schedule",
    "Sequence",
    "StepDeletion",
    "StreamEntry",
    "Wake",
    "Workflow",
    "WorkflowQuerySet",
]
