"""Attributes: plain JSON by which workflows are found, within the limits of other values."""

from __future__ import annotations

import json
from typing import Any

from django_dbos import serializers
from django_dbos.core.names import check_text
from django_dbos.core.numbers import check_bool
from django_dbos.core.values.json import MAX_DEPTH
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.store import get_store

# A key or a text may be as long as the limit of all of them allows.
ANY_LENGTH = 2**62


def to_text(value: Any) -> str | None:
    """Return attributes as the column's text.

    Raises:
        TypeError, ValueError: A value isn't plain JSON, is nested too deep, or has text that not
            every database stores in JSON.
        PayloadTooLarge: The text is longer than DBOS["MAX_PAYLOAD_BYTES"].
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError(f"attributes must be a dict with str keys, not {type(value).__name__}.")
    _check(value, MAX_DEPTH, "attributes")
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"attributes must be plain JSON values: {error}.") from error
    serializers.check_size(text, "The dict of attributes")
    return text


def set_attributes(workflow_id: str, given: dict[str, Any], *, merge: bool) -> None:
    """Replace the attributes of a workflow, or with `merge` only the given ones.

    Raises:
        WorkflowDoesNotExist: There is no such workflow.
        TypeError, ValueError, PayloadTooLarge: See to_text().
    """

    def change(existing: dict[str, Any] | None) -> str | None:
        return to_text({**(existing or {}), **given}) if merge else to_text(given)

    check_bool(merge, "merge")
    if given is None:
        raise TypeError("attributes must be a dict with str keys, not None; {} has none.")
    # A mistake is found before anything is locked.
    to_text(given)
    if not get_store().change_attributes(workflow_id, change):
        raise WorkflowDoesNotExist(workflow_id)


def _check(value: Any, room: int, where: str) -> None:
    if isinstance(value, str):
        check_text(value, label=f"A text in {where}", max_length=ANY_LENGTH, allow_empty=True)
    elif isinstance(value, dict | list | tuple):
        if room == 0:
            raise ValueError(
                f"attributes can't be nested more than {MAX_DEPTH} deep, or contain themselves."
            )
        if isinstance(value, dict):
            _check_keys(value, where)
            value = value.values()
        for item in value:
            _check(item, room - 1, where)


def _check_keys(value: dict[Any, Any], where: str) -> None:
    for key in value:
        check_text(key, label=f"A key in {where}", max_length=ANY_LENGTH, allow_empty=True)
