"""The recorded outcome of a wait for any of several alternatives."""

from __future__ import annotations

import json


def dump(position: int, value: str | None = None, topic: str | None = None) -> str:
    """Return the text that names the winning alternative, with its value's text inside.

    Args:
        position: The position of the alternative.
        value: The serialized value; None if there is none: a time has come, or a stream has ended.
        topic: The topic of a message.
    """
    text = f'{{"winner": {position}'
    if topic is not None:
        text += f', "topic": {json.dumps(topic)}'
    if value is not None:
        # JSON stays readable; the text of another serializer is kept as a text.
        text += f', "text": {json.dumps(value)}' if value[:1] == "!" else f', "value": {value}'
    return text + "}"
