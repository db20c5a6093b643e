"""The recorded outcome of a wait for any of several alternatives."""

from __future__ import annotations

from django_dbos.core import compound


def dump(position: int, value: str | None = None, topic: str | None = None) -> str:
    """Return the text that names the winning alternative, with its value's text inside.

    Args:
        position: The position of the alternative.
        value: The serialized value; None if there is none: a time has come, or a stream has ended.
        topic: The topic of a message.
    """
    return compound.of_winner(position, value, topic)
