"""The outcomes of many workflows, as the text of one checkpoint and as values."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos import serializers
from django_dbos.core import compound
from django_dbos.core.status import Status
from django_dbos.exceptions import DbosError, MaxRecoveryAttemptsExceeded, WorkflowCancelled
from django_dbos.store.records import Outcome

# The most that one checkpoint may hold, in characters; a column holds 1 GB, and memory less.
MAX_SIZE = 256_000_000


def dump(workflow_ids: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """Return the text of these outcomes: a value for each, and the errors by position.

    The text is JSON as the serializer writes it; texts of other serializers stay as they are.
    """
    values: list[str] = []
    errors: dict[int, str] = {}
    texts: dict[int, str] = {}
    for position, (workflow_id, outcome) in enumerate(zip(workflow_ids, outcomes, strict=True)):
        error, text = error_text(workflow_id, outcome), outcome.output
        if error is not None:
            errors[position] = error
        elif text is not None and text.startswith("!"):
            texts[position] = text
        is_json = error is None and text is not None and position not in texts
        values.append(str(text) if is_json else "null")
    text = compound.of_outcomes(values, errors, texts)
    if len(text) > MAX_SIZE:
        raise DbosError(
            f"The results of {len(outcomes)} workflows have {len(text)} characters, more than the "
            f"{MAX_SIZE} that one step may record. Get them in several parts."
        )
    return text


def error_text(workflow_id: str, outcome: Outcome) -> str | None:
    """Return the text of the error that the outcome is to an awaiter; None if it is a value."""
    match outcome.status:
        case Status.CANCELLED:
            return serializers.dump_error(WorkflowCancelled(workflow_id))
        case Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
            attempts = outcome.recovery_attempts
            return serializers.dump_error(MaxRecoveryAttemptsExceeded(workflow_id, attempts))
    return outcome.error
