"""Continue as new: end this run of a workflow, and begin the next under the same id.

The arguments are checked here, and the run is unwound as in a suspension. Its end writes all at
once (`Continue`), so that after a crash there is either this run or the next one.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django_dbos.core import registry
from django_dbos.exceptions import DbosError
from django_dbos.interruptions import ContinuedAsNew
from django_dbos.operations.inputs import InputWriter
from django_dbos.operations.run import Run


async def acontinue_as_new(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
    """End the run; the next one begins with these arguments."""
    run.check()
    run.check_caller("acontinue_as_new")
    # The next run has no history: the current code runs it.
    current = registry.workflows.get(run.definition.name, run.definition)
    text = InputWriter(current).write(args, kwargs)
    _refuse_beside_branches(run)
    run.check_finished("continue_as_new()")
    run.stop(ContinuedAsNew(text, current.version))


def _refuse_beside_branches(run: Run) -> None:
    if run.is_concurrent:
        raise DbosError(
            f"continue_as_new() was called while other tasks of workflow {run.workflow_id!r} run: "
            "their work would be lost. Await or cancel them first, and call it in the workflow's "
            "own task."
        )
