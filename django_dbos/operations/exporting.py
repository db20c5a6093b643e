"""Exports: workflows with all their rows as one JSON document, to be looked at elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django_dbos import encryption, offloading, redaction, serializers
from django_dbos.conf import get_settings
from django_dbos.core.names import check_workflow_id
from django_dbos.core.numbers import check_bool
from django_dbos.core.status import Status
from django_dbos.exceptions import WorkflowDoesNotExist

if TYPE_CHECKING:
    from django_dbos.store.base import Store

FORMAT, VERSION = "django_dbos.workflows", 1
# Workflows that are looked up at once.
BATCH = 500


def export(
    store: Store,
    workflow_ids: Iterable[str],
    *,
    children: bool = False,
    decrypt: bool = False,
    user: Any = None,
) -> dict[str, Any]:
    """Return the document of these workflows; see api.documents.export_workflows()."""
    check_bool(children, "children")
    check_bool(decrypt, "decrypt")
    return {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": datetime.now(UTC).isoformat(),
        "workflows": list(_exported(store, workflow_ids, children, partial(_text, decrypt, user))),
    }


def _exported(
    store: Store, workflow_ids: Iterable[str], children: bool, text_of: Any
) -> Iterator[dict[str, Any]]:
    # Not at the top: `import django_dbos` works before the apps are loaded.
    from django_dbos.models import Workflow
    from django_dbos.store import documents

    left = [check_workflow_id(workflow_id) for workflow_id in dict.fromkeys(workflow_ids)]
    seen = set(left)
    found = Workflow.objects.using(store.alias)
    with documents.snapshot(store.alias):
        while left:
            some, left = left[:BATCH], left[BATCH:]
            rows = found.in_bulk(some)
            for workflow_id in some:
                if workflow_id not in rows:
                    raise WorkflowDoesNotExist(workflow_id)
                yield _document(store.alias, rows[workflow_id], documents, text_of)
            if children:
                begun = found.filter(parent_id__in=some).order_by("created_at", "pk")
                ids = [str(pk) for pk in begun.values_list("pk", flat=True)]
                left += [pk for pk in ids if pk not in seen]
                seen.update(ids)


def _document(alias: str, workflow: Any, documents: Any, text_of: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"workflow": documents.to_json(workflow, text_of)}
    for name, model in documents.PARTS.items():
        rows = list(model._base_manager.using(alias).filter(workflow_id=workflow.pk).order_by("pk"))
        if name == "checkpoints":
            rows += _only_elsewhere(alias, workflow, rows)
        made[name] = [documents.to_json(row, text_of) for row in rows]
    return made


def _only_elsewhere(alias: str, workflow: Any, checkpoints: list[Any]) -> list[Any]:
    """Return the atomic steps that are committed on step databases and not in the history.

    Their worker died in between. The next run would adopt them, as a run of the import then does,
    where those databases aren't. The worker of a claimed workflow may be about to copy them, and a
    workflow that has succeeded has them all.
    """
    from django_dbos.models import AtomicCheckpoint, Checkpoint

    if workflow.status in (Status.PENDING, Status.SUCCESS):
        return []
    known = {row.step_number for row in checkpoints}
    last = max((row.record_order for row in checkpoints), default=0)
    found: list[Any] = []
    for other in get_settings().step_databases:
        rows = AtomicCheckpoint.objects.using(other).filter(token=workflow.token)
        for row in rows.exclude(step_number__in=known).order_by("step_number"):
            copy = Checkpoint(
                workflow_id=workflow.workflow_id,
                step_number=row.step_number,
                step_name=row.step_name,
                state=Checkpoint.State.RECORDED,
                output_text=row.output_text,
                error_text=row.error_text,
                record_order=last + len(found) + 1,
                claim_number=workflow.claim_number,
                attempts=1,
                recorded_at=row.recorded_at,
            )
            copy._state.db = alias
            found.append(copy)
    return found


def _text(decrypt: bool, user: Any, row: Any, field: str, text: str) -> str:
    """Return the text of a value as it is exported: an offloaded one is in the document."""
    text = offloading.inlined(text)
    shown = _redacted(user, row, field, text)
    if shown is None:
        return encryption.decrypt_all(text) if decrypt else text
    return shown if decrypt or not text.startswith(encryption.PREFIX) else encryption.protect(shown)


def _redacted(user: Any, row: Any, field: str, text: str) -> str | None:
    """Return the plain text of a value of which parts are redacted; None if none are."""
    if not redaction.is_on():
        return None
    plain = serializers.to_plain_parts(field, text)
    shown = redaction.redacted(user, row, field, plain)
    return None if shown == plain else serializers.from_plain_parts(field, text, shown)
