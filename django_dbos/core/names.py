"""Validation of user-defined texts (ids, keys, topics, names), with suggestions for typos."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from django_dbos.core.texts import is_encodable

MAX_VERSION_LENGTH = 100


def check_text(
    value: object, *, label: str, max_length: int = 255, allow_empty: bool = False
) -> str:
    """Return ``value`` as a plain str if every database can store it as a key.

    Args:
        value: The text to check.
        label: The name of the value in error messages, for example "A queue name".
        max_length: The largest number of characters.
        allow_empty: Accept "".

    Raises:
        TypeError: The value isn't a str.
        ValueError: The value is empty or too long, or contains a character that PostgreSQL's
            ``text`` can't hold (NUL, a lone surrogate).
    """
    if not isinstance(value, str):
        raise TypeError(f"{label} must be a str, not {type(value).__name__} {_shown(value)}.")
    if not value and not allow_empty:
        raise ValueError(f"{label} can't be empty.")
    if len(value) > max_length:
        raise ValueError(
            f"{label} can't be longer than {max_length} characters, but {_shown(value)} has "
            f"{len(value)}."
        )
    if "\0" in value:
        raise ValueError(f"{label} can't contain NUL characters, but is {_shown(value)}.")
    if not is_encodable(value):
        raise ValueError(f"{label} can't contain lone surrogates, but is {_shown(value)}.")
    # A subclass (a SafeString, a TextChoices member) would come back from the database as a plain
    # str.
    return str.__str__(value)


def check_workflow_id(value: object) -> str:
    """Return ``value`` if it is a valid workflow id."""
    return check_text(value, label="A workflow id")


def check_name(value: object) -> str:
    """Return ``value`` if it is a valid name for a workflow function or a step."""
    return check_text(value, label="A name")


def check_version(value: object) -> str:
    """Return ``value`` if it is a valid version of a workflow function."""
    version = check_text(value, label="A version", max_length=MAX_VERSION_LENGTH)
    if "@" in version:
        raise ValueError(f"A version can't contain '@', but is {version!r}.")
    return version


def check_queue_name(value: object) -> str:
    """Return ``value`` if it is a valid name for a queue."""
    return check_text(value, label="A queue name")


def check_schedule_name(value: object) -> str:
    """Return ``value`` if it is a valid name for a schedule: ids of its workflows begin with it."""
    return check_text(value, label="The name of a schedule", max_length=200)


def check_key(value: object) -> str:
    """Return ``value`` if it is a valid key for an event or a stream."""
    return check_text(value, label="A key")


def check_topic(value: object) -> str | None:
    """Return ``value`` if it is a valid message topic; None means "no topic"."""
    return None if value is None else check_text(value, label="A topic")


def check_idempotency_key(value: object) -> str | None:
    """Return ``value`` if it is a valid idempotency key; None means "no key"."""
    return None if value is None else check_text(value, label="An idempotency key")


def check_deduplication_id(value: object) -> str | None:
    """Return ``value`` if it is a valid deduplication id; None means "no id"."""
    return None if value is None else check_text(value, label="A deduplication id")


def check_partition_key(value: object) -> str | None:
    """Return ``value`` if it is a valid partition key; None means "no key"."""
    return None if value is None else check_text(value, label="A partition key")


def check_debounce_key(value: object) -> str | None:
    """Return ``value`` if it is a valid debounce key; None means "no key"."""
    return None if value is None else check_text(value, label="A debounce key")


def check_options(given: Iterable[str], known: Iterable[str], *, owner: str) -> None:
    """Raise TypeError, naming the options' ``owner``, for the first given option not in ``known``.

    The message suggests the option that is spelled most like it, or lists all of them.
    """
    options = list(known)
    for name in given:
        if name not in options:
            suggestion = suggest(name, options) or f" Options are {', '.join(options)}."
            raise TypeError(f"{owner} has no option {name!r}.{suggestion}")


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest candidate, or "" if none is close."""
    match = closest(name, candidates)
    return f" Did you mean {match!r}?" if match else ""


def closest(name: str, candidates: Iterable[str]) -> str:
    """Return the candidate that is spelled most like ``name``, or "" if none is close."""
    known = list(candidates)
    by_lower_case = {candidate.lower(): candidate for candidate in reversed(known)}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    if matches:
        return by_lower_case[matches[0]]

    # By edit distance "checkout" is far from "shop.workflows.checkout", yet it is a likely typo
    # for it.
    last_part = name.rpartition(".")[2]
    if not last_part:
        return ""
    return next((path for path in known if path.rpartition(".")[2] == last_part), "")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
