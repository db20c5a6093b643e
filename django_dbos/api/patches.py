"""Small changes of workflow code beside workflows that run with it."""

from __future__ import annotations

from django_dbos.operations import patches
from django_dbos.operations._sync import patches as sync_patches
from django_dbos.operations.entry import aenter_workflow, enter_workflow


def patched(name: str) -> bool:
    """Return True if the workflow is to take the new path of a change, False for the old one.

    A workflow that gets here for the first time takes the new path, and records that; one that got
    here with the code before the change takes the old path, in every replay. The first True costs
    a checkpoint, which is on its way when the call returns; further calls cost nothing.

    Args:
        name: The name of the change, at most 200 characters. Each change has its own.

    Raises:
        NotInWorkflow: The call is made outside of a workflow.
        NotAllowedInStep: The call is made inside a step.
        TypeError: The name is no str; ValueError if it is empty or too long.

    Example:
        if dbos.patched("check-fraud"):
            check_fraud(order_id)
        charge(order_id)
    """
    return enter_workflow("patched", sync_patches.patched, patches.apatched, name)


async def apatched(name: str) -> bool:
    """See patched()."""
    return await aenter_workflow("apatched", patches.apatched, name)


def deprecate_patch(name: str) -> None:
    """Stand where patched() was, once only the new path is left in the code.

    Workflows that have recorded the patch pass it; others record nothing. Put it in when no
    workflow can take the old path any more, and remove it when no workflow has recorded the patch:
    `manage.py dbos_versions` tells.

    Args:
        name: The name of the change.

    Raises:
        NotInWorkflow: The call is made outside of a workflow.
        NotAllowedInStep: The call is made inside a step.
        TypeError: The name is no str; ValueError if it is empty or too long.

    Example:
        dbos.deprecate_patch("check-fraud")
        check_fraud(order_id)
        charge(order_id)
    """
    enter_workflow("deprecate_patch", sync_patches.deprecate_patch, patches.adeprecate_patch, name)


async def adeprecate_patch(name: str) -> None:
    """See deprecate_patch()."""
    await aenter_workflow("adeprecate_patch", patches.adeprecate_patch, name)
