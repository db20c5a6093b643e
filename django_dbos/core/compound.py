"""Compound texts: the records of waits for several things, with the texts of values inside.

They are JSON as `json.dumps` writes it, with a blank after each colon. The serializer of values
writes none, so no value of a user's looks like one, whatever texts it holds. A part that isn't
JSON, such as an encrypted or offloaded value, is a string in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

Change = Callable[[str], str]

_VALUES, _ERRORS = '{"values": [', '], "errors": '
_WINNER, _TEXT, _VALUE = '{"winner": ', ', "text": ', ', "value": '
_BEFORE_VALUE = re.compile(r', "(text|value)": ')
_BEGIN = re.compile(r"[^,\s]")
_NULL = "null"


def of_outcomes(values: Sequence[str], errors: dict[int, str], texts: dict[int, str]) -> str:
    """Return the text of many outcomes.

    Args:
        values: The JSON of each value; "null" where the outcome is in one of the others.
        errors: The texts of errors, by position.
        texts: The texts of values that aren't JSON, by position.
    """
    return (
        f'{_VALUES}{", ".join(values)}{_ERRORS}{json.dumps(errors)}, "texts": {json.dumps(texts)}}}'
    )


def of_winner(position: int, value: str | None = None, topic: str | None = None) -> str:
    """Return the text of the first of several; see winners.dump()."""
    text = f"{_WINNER}{position}"
    if topic is not None:
        text += f', "topic": {json.dumps(topic)}'
    if value is not None:
        text += f"{_TEXT}{json.dumps(value)}" if value[:1] == "!" else f"{_VALUE}{value}"
    return text + "}"


def is_compound(text: str) -> bool:
    """Return whether a stored text has those of other values inside."""
    return text.startswith((_VALUES, _WINNER))


def parts_of(text: str) -> list[str]:
    """Return the texts of the values and errors inside; none for the text of a single value."""
    parts: list[str] = []

    def note(part: str) -> str:
        parts.append(part)
        return part

    with_parts(text, note)
    return parts


def with_parts(text: str, change: Change) -> str:
    """Return a text with the parts inside changed; that of a single value as it is."""
    if text.startswith(_VALUES):
        return _outcomes_with(text, change)
    return _winner_with(text, change) if text.startswith(_WINNER) else text


def _outcomes_with(text: str, change: Change) -> str:
    # Within the strings behind it, quotes are escaped: the last one is no part of them.
    head, _, tail = text.rpartition(_ERRORS)
    behind = json.loads(f'{{"errors": {tail}')
    errors = {int(key): change(part) for key, part in behind["errors"].items()}
    values = _items(head[len(_VALUES) :])
    parts = {int(key): part for key, part in behind["texts"].items()}
    # What is null may be in one of the others.
    parts |= {place: value for place, value in enumerate(values) if value != _NULL}
    texts = {}
    for place in sorted(parts):
        new = change(parts[place])
        is_json = new[:1] != "!"
        values[place] = new if is_json else _NULL
        if not is_json:
            texts[place] = new
    return of_outcomes(values, errors, texts)


def _items(text: str) -> list[str]:
    """Return the texts of the values of a list, without its brackets."""
    # Numbers stay texts: Python refuses to read some that it has written.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    found: list[str] = []
    end = 0
    while (first := _BEGIN.search(text, end)) is not None:
        _, end = decoder.raw_decode(text, first.start())
        found.append(text[first.start() : end])
    return found


def _winner_with(text: str, change: Change) -> str:
    # The first of them: a value may have the like in it.
    found = _BEFORE_VALUE.search(text)
    if found is None:
        return text
    behind = text[found.end() : -1]
    value = json.loads(behind) if found[1] == "text" else behind
    new = change(value)
    if new == value:
        return text
    before = text[: found.start()]
    return f"{before}{_TEXT}{json.dumps(new)}}}" if new[:1] == "!" else f"{before}{_VALUE}{new}}}"
