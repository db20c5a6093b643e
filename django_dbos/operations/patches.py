"""Patches: small changes of code that runs with histories of the code before.

A run that reaches a patch behind its history is new to it: it records a marker, and takes the new
path from then on, in every replay. A run that reaches it inside its history was there before, with
the old code: without a marker at that position it takes the old path, and no position
(CORRECTNESS rule 99).
"""

from __future__ import annotations

from django_dbos.core import names
from django_dbos.core.records import RecordStep
from django_dbos.operations.run import Run, operation_name

MAX_NAME_LENGTH = 200


async def apatched(run: Run, name: str) -> bool:
    """Return whether the run takes the new path, and record that if it is so for the first time."""
    marker = _marker(name)
    run.check()
    run.check_caller("apatched")
    if marker in run.patches:
        return True
    is_behind_history = run.takes_new_paths and not run.history.is_replaying
    if not is_behind_history and not run.history.is_next(marker):
        return False
    call = run.begin("apatched", marker)
    if call.found is None:
        # What the new path records comes after the marker: a workflow's writes commit in order.
        await run.apost(RecordStep, checkpoint=call.checkpoint())
    run.patches.add(marker)
    return True


async def adeprecate_patch(run: Run, name: str) -> None:
    """Pass over the marker, if a run of the code with patched() has left one here."""
    marker = _marker(name)
    run.check()
    run.check_caller("adeprecate_patch")
    if run.history.is_next(marker):
        run.begin("adeprecate_patch", marker)


def _marker(name: str) -> str:
    checked = names.check_text(name, label="The name of a patch", max_length=MAX_NAME_LENGTH)
    return operation_name("patch", checked)
