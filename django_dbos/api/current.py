"""The workflow that the calling code belongs to: its data, its logger and its next run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NoReturn

from django_dbos.fields import as_shown
from django_dbos.operations import context, continuing
from django_dbos.operations._sync import continuing as sync_continuing
from django_dbos.operations._sync import reads as sync_reads
from django_dbos.operations.entry import aenter_workflow, enter_workflow, workflow_run
from django_dbos.operations.users import find_user


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentWorkflow:
    """The workflow that the calling code belongs to."""

    workflow_id: str
    step_number: int
    """The position of the latest operation, or of the current step; 0 before the first. It goes on
    after `continue_as_new()`."""
    attempt: int
    """The number of the attempt at the step; outside of steps, the number of runs since the last
    progress. Both begin at 1."""
    max_attempts: int | None
    """The maximum number of attempts at the step; None outside of steps."""
    step_name: str | None
    """The name of the step; None in the workflow's own code."""
    user_id: str | None
    is_replaying: bool
    """True if an earlier run has recorded the next operation."""
    scheduled_at: datetime | None = None
    """The instant of the schedule that has started the workflow, which may be earlier than the
    start; aware in UTC, or local without `USE_TZ`. None if no schedule has started it."""

    @property
    def is_in_step(self) -> bool:
        """True if the calling code belongs to a step."""
        return self.step_name is not None

    @property
    def user(self) -> Any:
        """The user for whom the workflow was started, read from the database.

        None without a user, and for a `user_id` that is no user's pk, such as "system".
        """
        find = partial(find_user, self.user_id)
        run = workflow_run(context.current())
        # A step's own queries are repeated by its retries.
        return find() if run is None else sync_reads.patiently(run, find)


def current_workflow() -> CurrentWorkflow | None:
    """Return the workflow that the calling code belongs to; None outside of workflows."""
    scope = context.current()
    if scope is None:
        return None
    run, step = scope.run, scope.step
    return CurrentWorkflow(
        workflow_id=run.workflow_id,
        step_number=step.step_number if step else run.history.step_number,
        attempt=step.attempt if step else run.claim.recovery_attempts + 1,
        max_attempts=step.max_attempts if step else None,
        step_name=step.step_name if step else None,
        user_id=run.claim.user_id,
        is_replaying=step is None and run.history.is_replaying,
        scheduled_at=None if (at := run.claim.scheduled_at) is None else as_shown(at),
    )


class _ReplayFilter(logging.Filter):
    """Drops the records that an earlier run of the workflow has logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        workflow = current_workflow()
        return workflow is None or not workflow.is_replaying


logger = logging.getLogger("django_dbos.workflow")
"""A logger that is silent while a workflow replays."""
logger.addFilter(_ReplayFilter())


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run of the workflow, and begin the next run under the same id, with no history.

    For workflows that never end: a replay reads only the history of the run, and the limits of
    steps, messages and events count anew. Nothing after the call runs, except `finally` blocks.
    Messages that aren't consumed, events, streams and children stay; see the guide.

    Args:
        args: The arguments of the next run. The serializer must be able to store them.
        kwargs: Its keyword arguments.

    Raises:
        TypeError: The workflow function doesn't take these arguments.
        SerializationError: An argument can't be stored; PayloadTooLarge if they are too large.
        NotInWorkflow: The call is made outside of a workflow.
        NotAllowedInStep: The call is made inside a step.
        DbosError: Other tasks of the workflow are running.

    Example:
        @dbos.workflow
        def cart(items: list[str]) -> None:
            items.append(dbos.recv("item", timeout=None))
            dbos.continue_as_new(items)
    """
    enter_workflow(
        "continue_as_new",
        sync_continuing.continue_as_new,
        continuing.acontinue_as_new,
        args,
        kwargs,
    )


async def acontinue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """See continue_as_new()."""
    await aenter_workflow("acontinue_as_new", continuing.acontinue_as_new, args, kwargs)
