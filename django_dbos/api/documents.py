"""Export and import of workflows, to look at them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_dbos.handles import WorkflowHandle
from django_dbos.operations import exporting, importing
from django_dbos.operations.entry import refuse_on_loop
from django_dbos.store import get_store

if TYPE_CHECKING:
    from django_dbos.models import Workflow


def export_workflows(
    workflows: Iterable[str | WorkflowHandle[Any] | Workflow],
    *,
    children: bool = False,
    decrypt: bool = False,
    user: Any = None,
) -> dict[str, Any]:
    """Return workflows with all their rows as a document of plain JSON values.

    It has their checkpoints, messages, events with their history, stream entries, past runs, and
    forms and callbacks, all of one moment. What DBOS["REDACT"] says is left out of values.

    Args:
        workflows: Ids, handles or rows, such as a queryset of `Workflow`.
        children: True adds the workflows that these have started, and theirs.
        decrypt: True decrypts values; otherwise encrypted ones stay so.
        user: The user that a function of DBOS["REDACT"] is called with.

    Raises:
        WorkflowDoesNotExist: There is no workflow of one of the ids.
        EncryptionKeyMissing: The key of a value to be decrypted or redacted isn't here.
    """
    refuse_on_loop("export_workflows")
    if isinstance(workflows, str) or not isinstance(workflows, Iterable):
        raise TypeError(
            "export_workflows() takes a list of workflows, not "
            f"{type(workflows).__name__} {workflows!r}."
        )
    ids = [_id_of(workflow) for workflow in workflows]
    return exporting.export(get_store(), ids, children=children, decrypt=decrypt, user=user)


async def aexport_workflows(
    workflows: Iterable[str | WorkflowHandle[Any] | Workflow],
    *,
    children: bool = False,
    decrypt: bool = False,
    user: Any = None,
) -> dict[str, Any]:
    """See export_workflows()."""
    return await sync_to_async(export_workflows)(
        workflows, children=children, decrypt=decrypt, user=user
    )


def import_workflows(document: Mapping[str, Any], *, run: bool = False) -> list[str]:
    """Insert the workflows of a document of export_workflows(), all of them or none.

    They may come from a database of the other kind. Nothing runs them: one that was active arrives
    as CANCELLED, with its history, and `resume()` lets it go on. Schedules, deduplication beyond
    the end, and places in queues stay behind. Plain values are encrypted and large ones offloaded,
    as those of other calls are. Import only what you trust: values become objects.

    Args:
        document: The document, as it was exported.
        run: True resumes the workflows that were active. They then run here, perhaps a second time.

    Returns:
        The ids of the workflows, in the order of the document.

    Raises:
        ImportRefused: A workflow of the document exists already, or the document is damaged. The
            message names the id or the place.
        OffloadFailed: The storage of large values has failed. Nothing was imported.
    """
    refuse_on_loop("import_workflows")
    return importing.import_document(get_store(), document, run=run)


async def aimport_workflows(document: Mapping[str, Any], *, run: bool = False) -> list[str]:
    """See import_workflows()."""
    return await sync_to_async(import_workflows)(document, run=run)


def _id_of(workflow: Any) -> str:
    if isinstance(workflow, str):
        return workflow
    workflow_id = getattr(workflow, "workflow_id", None)
    if not isinstance(workflow_id, str):
        raise TypeError(
            "export_workflows() takes ids, handles and rows of workflows, not "
            f"{type(workflow).__name__} {workflow!r}."
        )
    return workflow_id
