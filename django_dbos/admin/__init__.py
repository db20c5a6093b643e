"""The admin shows which workflows run, wait or have failed, and why; it can cancel and resume them.

A workflow's page shows at most 50 rows of each kind, and links to pages with the rest: inlines
would turn a long stream into a page of many megabytes. All data comes from the workflow database
itself, never from a replica, and no query counts, sorts or reads a whole table.
"""

from django_dbos.admin.executors import ExecutorAdmin
from django_dbos.admin.people import InquiryAdmin
from django_dbos.admin.queues import QueueAdmin
from django_dbos.admin.rows import EventAdmin, MessageAdmin
from django_dbos.admin.schedules import ScheduleAdmin
from django_dbos.admin.workflows import WorkflowAdmin

__all__ = [
    "EventAdmin",
    "ExecutorAdmin",
    "InquiryAdmin",
    "MessageAdmin",
    "QueueAdmin",
    "ScheduleAdmin",
    "WorkflowAdmin",
]
