"""The admin: what runs, waits and has failed, and why; read-only but for cancel and resume.

A workflow's page shows at most 50 rows of each kind, with a paged view for the rest: inlines would
make a page of many megabytes out of a long stream. Everything is read from the workflow database
itself, never from a replica, and nothing counts, sorts or reads a whole table.
"""

from django_dbos.admin.rows import EventAdmin, ExecutorAdmin, MessageAdmin
from django_dbos.admin.workflows import WorkflowAdmin

__all__ = ["EventAdmin", "ExecutorAdmin", "MessageAdmin", "WorkflowAdmin"]
