"""Values to JSON text and back, so that what is read is what was written: same types, same values.

Plain JSON values are written as they are. Any other registered type becomes an object with a single
key that starts with "$", for example ``{"$decimal": "1.50"}`` or, with the path of its class,
``{"$enum:shop.models:Status": ["PAID", "paid"]}``. A dict of the user's that looks like that, or
whose keys aren't all str, is written as ``{"$dict": [[key, value], …]}``. Everything else is
refused: what would come back as something else must not go in.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

from django_dbos import exceptions
from django_dbos.core.texts import is_encodable
from django_dbos.core.values import codecs, errors, foreign_codecs
from django_dbos.core.values.codecs import ClassCodec, JSONValue, Refused, ValueCodec

# Deep enough for any document. What json nests for it is up to three times as deep.
MAX_DEPTH = 100

# How a tagged object begins in a text that dumps() wrote; within a str its quote would be escaped.
_TAG_OPENING = '{"$'

_PLAIN_ATOMS = frozenset({str, int, float, bool, type(None)})

ClassFinder = Callable[[str], type | None]


def find_loaded_class(path: str) -> type | None:
    """Return the class at "module:qualified.name", if its module is imported. Runs no code."""
    module_name, _, qualified_name = path.partition(":")
    found: Any = sys.modules.get(module_name)
    for name in qualified_name.split("."):
        # Not getattr(): a module's or a metaclass's __getattr__ is code.
        found = getattr(found, "__dict__", {}).get(name)
    return found if isinstance(found, type) else None


class JSONSerializer:
    """Writes registered types as tagged JSON, and refuses all others."""

    name = "json"

    def __init__(self, *, find_class: ClassFinder = find_loaded_class) -> None:
        self._find_class = find_class
        self._by_type: dict[type, ValueCodec] = {}
        self._by_base: dict[type, ValueCodec] = {}
        self._by_tag: dict[str, ValueCodec] = {}
        self._replacements: dict[type, Callable[[Any], Any]] = {}
        self._class_codecs: dict[str, ClassCodec] = {}

        for cls, codec in codecs.VALUE_CODECS.items():
            self._by_type[cls] = self._by_tag[codec.tag] = codec
        class_codecs = (*codecs.CLASS_CODECS, *foreign_codecs.CLASS_CODECS)
        for class_codec in (errors.codec_for(self), *class_codecs):
            self._class_codecs[class_codec.tag] = class_codec

    def register(
        self,
        cls: type,
        tag: str,
        encode: Callable[[Any], Any],
        decode: Callable[[Any], Any],
        *,
        plain: Callable[[Any], JSONValue] | None = None,
        subclasses: bool = False,
    ) -> None:
        """Record values of exactly ``cls`` under ``tag``; with ``subclasses``, of all below it.

        ``encode`` returns something that can be serialized, of which ``decode`` makes the value
        again, with the same type. ``plain`` turns what ``encode`` returned into what a browser is
        shown.
        """
        by_class = self._by_base if subclasses else self._by_type
        self._check_registration(cls, tag, by_class.get(cls))
        codec = ValueCodec(
            tag=tag, encode=encode, decode=decode, plain=plain or (lambda payload: payload)
        )
        self._by_tag[tag] = by_class[cls] = codec

    def _check_registration(self, cls: type, tag: str, previous: ValueCodec | None) -> None:
        if cls in _PLAIN_BASES:
            raise ValueError(f"{cls.__name__} is plain JSON, so it can't be registered.")
        if not tag.isidentifier():
            raise ValueError(f"Tag {tag!r} isn't an identifier. Choose one like 'money'.")
        # The same registration again is a module that was reloaded.
        taken = tag in self._by_tag and (previous is None or previous.tag != tag)
        if taken or tag in self._class_codecs or tag == "dict":
            raise ValueError(f"Tag {tag!r} is taken by another type. Choose another one.")

    def register_replacement(self, base: type, replace: Callable[[Any], Any]) -> None:
        """Record ``replace(value)`` in place of any instance of ``base`` or of a subclass of it."""
        self._replacements[base] = replace

    # Writing

    def dumps(self, value: Any) -> str:
        """Return ``value`` as text that loads() makes an equal value of the same types of.

        Raises SerializationError, with the place in the value, for whatever wouldn't come back as
        it was.
        """
        try:
            if _is_plain(value, MAX_DEPTH):
                return _to_text(value)
        except (ValueError, RecursionError):
            pass  # NaN, a lone surrogate, an endless int: the walk says where.

        try:
            return _to_text(self._walk(value, MAX_DEPTH))
        except Refused as refused:
            raise exceptions.SerializationError(str(refused)) from refused.__cause__
        except RecursionError:
            raise exceptions.SerializationError(_TOO_DEEP) from None

    def _walk(self, value: Any, room: int) -> JSONValue:
        cls = type(value)
        if cls in _PLAIN_ATOMS:
            return _check_atom(value)
        if room == 0:
            raise Refused(_TOO_DEEP)
        if cls is list:
            return self._walk_list(value, room - 1)
        if cls is dict:
            return self._walk_dict(value, room - 1)

        codec = self._by_type.get(cls)
        if codec is None:
            return self._walk_subclass(value, room)
        payload = self._walk(_encode(codec, value), room)
        if cls is set or cls is frozenset:
            # The order of a set differs between processes, but equal values must give equal texts.
            payload.sort(key=_to_text)
        return {f"${codec.tag}": payload}

    def _walk_list(self, items: list[Any], room: int) -> JSONValue:
        result = []
        for index, item in enumerate(items):
            try:
                result.append(self._walk(item, room))
            except Refused as refused:
                refused.path.insert(0, f"[{index}]")
                raise
        return result

    def _walk_dict(self, items: dict[Any, Any], room: int) -> JSONValue:
        pairs = []
        for key, item in items.items():
            try:
                pairs.append([self._walk(key, room), self._walk(item, room)])
            except Refused as refused:
                refused.path.insert(0, _label(key))
                raise
        if all(type(key) is str for key in items) and not _looks_tagged(items):
            return dict(pairs)
        return {"$dict": pairs}

    def _walk_subclass(self, value: Any, room: int) -> JSONValue:
        cls = type(value)
        for base in cls.__mro__:
            if base in self._replacements:
                return self._walk(self._replacements[base](value), room)
            if base in self._by_base:
                codec = self._by_base[base]
                return {f"${codec.tag}": self._walk(_encode(codec, value), room)}

        for class_codec in self._class_codecs.values():
            if class_codec.accepts(cls):
                return self._walk_instance(class_codec, value, room)
        raise Refused(_unregistered(cls, self._by_type))

    def _walk_instance(self, codec: ClassCodec, value: Any, room: int) -> JSONValue:
        path = self.class_path(type(value))
        if path is None:
            raise Refused(
                f"its class {codecs.type_name(type(value))} can't be found again by its name. "
                "Define it at the top level of a module."
            )
        return {f"${codec.tag}:{path}": self._walk(_encode(codec, value), room)}

    def class_path(self, cls: type) -> str | None:
        """Return "module:qualified.name" if that leads back to ``cls``, also in other processes."""
        path = f"{cls.__module__}:{cls.__qualname__}"
        # What a script defines is "__main__" only to itself.
        return path if cls.__module__ != "__main__" and self._find_class(path) is cls else None

    # Reading

    def loads(self, text: str) -> Any:
        """Return the value that dumps() made ``text`` of.

        Raises UnknownTypeInHistory if a type in it isn't known here, SerializationError if it can't
        be read.
        """
        if _TAG_OPENING not in text:
            return _from_text(text, None)
        return _from_text(text, self._decode)

    def to_plain(self, text: str) -> JSONValue:
        """Return what ``text`` holds as plain JSON values, for those who don't know the types."""
        if _TAG_OPENING not in text:
            return _from_text(text, None)
        return _from_text(text, self._decode_plain)

    def rebuildable_class(self, path: str, codec: ClassCodec) -> type:
        """Return the class at ``path`` if it is of the kind that ``codec`` rebuilds."""
        cls = self._find_class(path)
        if cls is None:
            raise exceptions.UnknownTypeInHistory(
                f"Class {path!r} was recorded, but can't be found. Import its module at the top of "
                "the module with the workflow, or name it in DBOS['IMPORT_MODULES']; if it was "
                "renamed, keep the old name as well."
            )
        if not codec.accepts(cls):
            raise exceptions.UnknownTypeInHistory(
                f"Class {path!r} was recorded as {codec.tag}, but isn't one. Bring back what was "
                "there, or cancel the workflow."
            )
        return cls

    def _decode(self, pairs: dict[str, Any]) -> Any:
        if not _looks_tagged(pairs):
            return pairs
        ((key, payload),) = pairs.items()
        tag, _, path = key[1:].partition(":")
        if tag == "dict":
            return dict(payload)
        if path and tag in self._class_codecs:
            class_codec = self._class_codecs[tag]
            return class_codec.decode(self.rebuildable_class(path, class_codec), payload)
        if tag in self._by_tag:
            return self._by_tag[tag].decode(payload)
        raise exceptions.UnknownTypeInHistory(
            f"A value of type {tag!r} was recorded, but no such type is registered. Register it as "
            "it was, in the ready() of an AppConfig."
        )

    def _decode_plain(self, pairs: dict[str, Any]) -> JSONValue:
        if not _looks_tagged(pairs):
            return pairs
        ((key, payload),) = pairs.items()
        tag, _, path = key[1:].partition(":")
        if tag == "dict":
            return {
                name if isinstance(name, str) else _to_text(name): item for name, item in payload
            }
        if tag in self._class_codecs:
            return self._class_codecs[tag].plain(path, payload)
        return self._by_tag[tag].plain(payload) if tag in self._by_tag else payload


_TOO_DEEP = (
    f"it is nested more than {MAX_DEPTH} deep, or contains itself. Flatten it, or store it "
    "elsewhere and pass its key."
)

_encoder = json.JSONEncoder(
    ensure_ascii=False,
    allow_nan=False,
    # Cycles end at MAX_DEPTH.
    check_circular=False,
    separators=(",", ":"),
)


def _to_text(value: JSONValue) -> str:
    text = _encoder.encode(value)
    # NUL isn't a problem: JSON writes it as \u0000.
    if not is_encodable(text):
        raise ValueError("The text contains a lone surrogate.")
    return text


def _from_text(text: str, decode: Callable[[dict[str, Any]], Any] | None) -> Any:
    try:
        return json.loads(text, object_hook=decode)
    except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError, Refused) as error:
        raise exceptions.SerializationError(
            f"The recorded text {text[:80]!r} can't be read ({type(error).__name__}: {error}). "
            "Was it changed by hand, or by another program?"
        ) from error


def _is_plain(value: Any, room: int) -> bool:
    # The hot path: exact types only, and no call for the atoms of a container.
    cls = type(value)
    if cls in _PLAIN_ATOMS:
        return True
    if room == 0:
        return False
    if cls is dict:
        for key, item in value.items():
            if type(key) is not str:
                return False
            if type(item) not in _PLAIN_ATOMS and not _is_plain(item, room - 1):
                return False
        return not _looks_tagged(value)
    if cls is list:
        for item in value:
            if type(item) not in _PLAIN_ATOMS and not _is_plain(item, room - 1):
                return False
        return True
    return False


def _looks_tagged(pairs: dict[Any, Any]) -> bool:
    return len(pairs) == 1 and next(iter(pairs))[:1] == "$"


def _check_atom(value: Any) -> Any:
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
    # Python refuses to convert ints of thousands of digits; see sys.set_int_max_str_digits().
    try:
        str(value)
    except ValueError as error:
        raise Refused(f"the int has too many digits ({error}). Record bytes instead.") from None


def _encode(codec: ValueCodec | ClassCodec, value: Any) -> Any:
    try:
        return codec.encode(value)
    except RecursionError:
        raise
    except Exception as error:
        known = isinstance(error, Refused | exceptions.SerializationError)
        reason = str(error) if known else f"its encoder raised {type(error).__name__}: {error}."
        cause = None if known else error
        raise Refused(f"this {codecs.type_name(type(value))} is refused: {reason}") from cause


def _unregistered(cls: type, registered: dict[type, ValueCodec]) -> str:
    name = codecs.type_name(cls)
    base = next((one for one in cls.__mro__ if one in registered or one in _PLAIN_BASES), None)
    if base is not None:
        base_name = codecs.type_name(base)
        return (
            f"type {name} is a subclass of {base_name} that isn't registered, so it would come "
            f"back as something else. Convert it to {base_name} first, or register it."
        )
    remedy = _REMEDIES.get(name, "Convert it to plain values, or register it.")
    return f"type {name} isn't registered. {remedy}"


_REMEDIES = {
    "coroutine": "Was an await forgotten?",
    "generator": "Make a list of it.",
    "django.db.models.query.QuerySet": "Make a list of what is needed of it, for example of pks.",
}

_PLAIN_BASES = frozenset({*_PLAIN_ATOMS, list, dict})


def _label(key: Any) -> str:
    if type(key) is str and key.isidentifier():
        return f".{key}"
    text = repr(key)
    return f"[{text if len(text) <= 40 else text[:37] + '...'}]"
