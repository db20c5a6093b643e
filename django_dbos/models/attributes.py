"""The condition that a workflow has an attribute, as people type it."""

from __future__ import annotations

import functools
import json
import math
import operator
from typing import Any

from django.db.models import F, JSONField, Q, Value
from django.db.models.fields.json import KeyTransform, KeyTransformExact


def attribute_is(key: str, value: str, *, indexed: bool) -> Q:
    """Return the condition for an attribute such as `order=17` or `customer.id=7`.

    A value is a text, or the JSON that it is: 17 finds 17 and "17".

    Args:
        key: The key, or a path of keys with dots between them.
        value: The value as text.
        indexed: True where the database has an index of attributes.
    """
    path, values = key.split("."), _read(value)
    if indexed:
        return _any([Q(attributes__contains=_nested(path, candidate)) for candidate in values])
    return _any(
        [Q(KeyTransformExact(_at(path), Value(candidate, JSONField()))) for candidate in values]
    )


def _read(value: str) -> list[Any]:
    """Return what a value may be: the text, and the JSON that it is."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    # NaN and the infinities are no JSON for databases.
    return [value] if isinstance(found, float) and not math.isfinite(found) else [value, found]


def _any(conditions: list[Q]) -> Q:
    return functools.reduce(operator.or_, conditions)


def _at(path: list[str]) -> Any:
    found: Any = F("attributes")
    for part in path:
        found = KeyTransform(part, found)
    return found


def _nested(path: list[str], value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value
