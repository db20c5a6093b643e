"""Plain JSON: writing and parsing text, and the checks of values that need no codec."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from django_dbos import exceptions
from django_dbos.core.texts import is_encodable
from django_dbos.core.values.codecs import JSONValue, Refused

ATOMS = frozenset({str, int, float, bool, type(None)})
TYPES = frozenset({*ATOMS, list, dict})

_encoder = json.JSONEncoder(
    ensure_ascii=False,
    allow_nan=False,
    # The limit on depth also stops cycles.
    check_circular=False,
    separators=(",", ":"),
)


def to_text(value: JSONValue) -> str:
    """Return compact JSON text; raise ValueError for NaN, infinities and lone surrogates."""
    text = _encoder.encode(value)
    # NUL needs no check: JSON writes it as \u0000.
    if not (text.isascii() or is_encodable(text)):
        raise ValueError("The text contains a lone surrogate.")
    return text


def from_text(text: str, decode: Callable[[dict[str, Any]], Any] | None) -> Any:
    """Return the value of JSON text, with ``decode`` applied to each object.

    Raises:
        SerializationError: The text isn't JSON, or ``decode`` has failed.
    """
    try:
        return json.loads(text, object_hook=decode)
    except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError, Refused) as error:
        raise exceptions.SerializationError(
            f"The recorded text {text[:80]!r} can't be read ({type(error).__name__}: {error}). "
            "Check whether it was changed by hand or by another program."
        ) from error


def is_plain(value: Any, room: int) -> bool:
    """Return whether the value is plain JSON, no more than ``room`` levels deep.

    This is the hot path: it compares exact types, and makes no call for the atoms of a container.
    """
    cls = type(value)
    if cls in ATOMS:
        return True
    if room == 0:
        return False
    if cls is dict:
        for key, item in value.items():
            if type(key) is not str:
                return False
            if type(item) not in ATOMS and not is_plain(item, room - 1):
                return False
        return not is_tagged(value)
    if cls is list:
        for item in value:  # noqa: SIM110 (all() is slower)
            if type(item) not in ATOMS and not is_plain(item, room - 1):
                return False
        return True
    return False


def is_tagged(pairs: dict[Any, Any]) -> bool:
    """Return whether an object has the form of a tagged value: a single key that begins with $."""
    return len(pairs) == 1 and next(iter(pairs))[:1] == "$"


def check_atom(value: Any) -> Any:
    """Return an atom, or raise Refused if JSON or the database can't hold it."""
    cls = type(value)
    if cls is str and not is_encodable(value):
        raise Refused(f"the str {value[:80]!r} contains a lone surrogate. Record bytes instead.")
    if cls is float and not math.isfinite(value):
        raise Refused(f"{value!r} isn't a JSON number. Use None or a str for it.")
    if cls is int and not -_LONG_INT < value < _LONG_INT:
        _check_long_int(value)
    return value


_LONG_INT = 10**600


def _check_long_int(value: int) -> None:
    # Python refuses to convert ints with thousands of digits, see sys.set_int_max_str_digits().
    try:
        str(value)
    except ValueError as error:
        raise Refused(f"the int has too many digits ({error}). Record bytes instead.") from None
