"""The texts that users choose (ids, keys, topics, names): what is refused, and what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def check_text(
    value: object, *, what: str, max_length: int = 255, allow_empty: bool = False
) -> str:
    """Return ``value`` if every database can store it as a key.

    Raises TypeError or ValueError, naming ``what``, for whatever isn't a str, is empty or too long,
    or holds a character that PostgreSQL's text can't hold.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__} {_shown(value)}.")
    if not value and not allow_empty:
        raise ValueError(f"{what} can't be empty.")
    if len(value) > max_length:
        raise ValueError(
            f"{what} can't be longer than {max_length} characters, but {_shown(value)} has "
            f"{len(value)}."
        )
    if "\0" in value:
        raise ValueError(f"{what} can't contain NUL characters, but is {_shown(value)}.")
    if not _is_encodable(value):
        raise ValueError(f"{what} can't contain lone surrogates, but is {_shown(value)}.")
    # A subclass (a SafeString, a TextChoices member) would come back from the database as a plain
    # str.
    return str.__str__(value)


def check_workflow_id(value: object) -> str:
    """Return ``value`` if it can be a workflow id."""
    return check_text(value, what="A workflow id")


def check_name(value: object) -> str:
    """Return ``value`` if it can be the name of a workflow function or a step."""
    return check_text(value, what="A name")


def check_queue_name(value: object) -> str:
    """Return ``value`` if it can be the name of a queue."""
    return check_text(value, what="A queue name")


def check_key(value: object) -> str:
    """Return ``value`` if it can be the key of an event or a stream."""
    return check_text(value, what="A key")


def check_topic(value: object) -> str | None:
    """Return ``value`` if it can be the topic of a message; None is "no topic"."""
    return None if value is None else check_text(value, what="A topic")


def check_idempotency_key(value: object) -> str | None:
    """Return ``value`` if it can be an idempotency key; None is "no key"."""
    return None if value is None else check_text(value, what="An idempotency key")


def check_deduplication_id(value: object) -> str | None:
    """Return ``value`` if it can be a deduplication id; None is "no id"."""
    return None if value is None else check_text(value, what="A deduplication id")


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the candidate most like ``name``, or "" if none is."""
    match = closest(name, candidates)
    return f" Did you mean {match!r}?" if match else ""


def check_options(given: Iterable[str], known: Iterable[str], *, of: str) -> None:
    """Raise TypeError for the first of the ``given`` options that isn't ``known``."""
    options = list(known)
    for name in given:
        if name not in options:
            suggestion = suggest(name, options) or f" Options are {', '.join(options)}."
            raise TypeError(f"{of} has no option {name!r}.{suggestion}")


def closest(name: str, candidates: Iterable[str]) -> str:
    """Return the candidate most like ``name``, or "" if none is."""
    known = list(candidates)
    by_lower_case = {candidate.lower(): candidate for candidate in reversed(known)}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    if matches:
        return by_lower_case[matches[0]]

    # "checkout" is far from "shop.workflows.checkout" letter by letter, yet it is what was meant.
    last_part = name.rpartition(".")[2]
    return (
        next((one for one in known if one.rpartition(".")[2] == last_part), "") if last_part else ""
    )


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
