"""The JSON serializer: values come back with the same types and contents, or are refused.

Plain JSON values are written unchanged. A value of another registered type becomes an object with a
single key that begins with "$", for example ``{"$decimal": "1.50"}`` or, with the path of its
class, ``{"$enum:shop.models:Status": ["PAID", "paid"]}``. A user's dict of that form, or with keys
that aren't all str, is written as ``{"$dict": [[key, value], …]}``. All other values are refused,
as they would come back as something else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django_dbos import exceptions
from django_dbos.core.values import codecs, errors, foreign_codecs
from django_dbos.core.values.class_codecs import CLASS_CODECS
from django_dbos.core.values.codecs import ClassCodec, JSONValue, Refused, ValueCodec
from django_dbos.core.values.plain_json import (
    ATOMS,
    TYPES,
    check_atom,
    from_text,
    is_plain,
    is_tagged,
    to_text,
)
from django_dbos.core.values.value_codecs import VALUE_CODECS

# Deep enough for any document. Tags make the JSON up to three times as deep.
MAX_DEPTH = 100

# The advice of errors about unregistered types.
REGISTER = "register it with django_dbos.serializers.register()"

# The beginning of a tagged object in text of dumps(). Inside a str, the quote would be escaped.
_TAG_OPENING = '{"$'

ClassFinder = Callable[[str], type | None]


def find_loaded_class(path: str) -> type | None:
    """Return the class at "module:qualified.name" in an imported module, without running code."""
    module_name, _, qualified_name = path.partition(":")
    found: Any = sys.modules.get(module_name)
    for name in qualified_name.split("."):
        # Not getattr(), which could run the __getattr__ of a module or a metaclass.
        found = getattr(found, "__dict__", {}).get(name)
    return found if isinstance(found, type) else None


class JSONSerializer:
    """Serializes registered types as tagged JSON, and refuses all others."""

    name = "json"

    def __init__(self, *, find_class: ClassFinder = find_loaded_class) -> None:
        self._find_class = find_class
        self._by_type: dict[type, ValueCodec] = {}
        self._by_base: dict[type, ValueCodec] = {}
        self._by_tag: dict[str, ValueCodec] = {}
        self._replacements: dict[type, Callable[[Any], Any]] = {}
        self._class_codecs: dict[str, ClassCodec] = {}

        for cls, codec in VALUE_CODECS.items():
            self._by_type[cls] = self._by_tag[codec.tag] = codec
        class_codecs = (*CLASS_CODECS, *foreign_codecs.CLASS_CODECS)
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
        """Register a codec for a type; see serializers.register()."""
        by_class = self._by_base if subclasses else self._by_type
        self._check_registration(cls, tag, by_class.get(cls))
        codec = ValueCodec(
            tag=tag, encode=encode, decode=decode, plain=plain or (lambda payload: payload)
        )
        self._by_tag[tag] = by_class[cls] = codec

    def _check_registration(self, cls: type, tag: str, previous: ValueCodec | None) -> None:
        if cls in TYPES:
            raise ValueError(f"{cls.__name__} is plain JSON and can't be registered.")
        if not tag.isidentifier():
            raise ValueError(f"Tag {tag!r} isn't an identifier. Choose one like 'money'.")
        # A reloaded module registers the same type and tag again.
        taken = tag in self._by_tag and (previous is None or previous.tag != tag)
        if taken or tag in self._class_codecs or tag == "dict":
            raise ValueError(f"Tag {tag!r} is taken by another type. Choose another tag.")

    def register_replacement(self, base: type, replace: Callable[[Any], Any]) -> None:
        """Record ``replace(value)`` in place of each instance of ``base`` or its subclasses."""
        self._replacements[base] = replace

    # Writing

    def dumps(self, value: Any) -> str:
        """Return ``value`` as text from which loads() restores an equal value of the same types.

        Raises:
            SerializationError: A part of the value wouldn't come back unchanged. The message has
                its path.
        """
        try:
            if is_plain(value, MAX_DEPTH):
                return to_text(value)
        except (ValueError, RecursionError):
            pass  # NaN, a lone surrogate, an overlong int: the walk finds its path.

        try:
            return to_text(self._walk(value, MAX_DEPTH))
        except Refused as refused:
            raise exceptions.SerializationError(str(refused)) from refused.__cause__
        except RecursionError:
            raise exceptions.SerializationError(_TOO_DEEP) from None

    def _walk(self, value: Any, room: int) -> JSONValue:
        cls = type(value)
        if cls in ATOMS:
            return check_atom(value)
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
            # Equal values must give equal texts, and a set's order differs between processes.
            payload.sort(key=to_text)
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
        if all(type(key) is str for key in items) and not is_tagged(items):
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
        """Return "module:qualified.name" if it leads back to ``cls`` in any process, else None."""
        path = f"{cls.__module__}:{cls.__qualname__}"
        # "__main__" is another module in each process.
        return path if cls.__module__ != "__main__" and self._find_class(path) is cls else None

    # Reading

    def loads(self, text: str) -> Any:
        """Return the value that dumps() has serialized to ``text``.

        Raises:
            UnknownTypeInHistory: A type in the text isn't registered, or its class can't be found.
            SerializationError: The text can't be read.
        """
        if _TAG_OPENING not in text:
            return from_text(text, None)
        return from_text(text, self._decode)

    def is_plain_text(self, text: str) -> bool:
        """Return whether ``text`` of dumps() is the same as JSON for readers without the types."""
        return _TAG_OPENING not in text

    def to_plain(self, text: str) -> JSONValue:
        """Return the value in ``text`` as plain JSON values, for readers without the types."""
        if _TAG_OPENING not in text:
            return from_text(text, None)
        return from_text(text, self._decode_plain)

    def rebuildable_class(self, path: str, codec: ClassCodec) -> type:
        """Return the class at ``path`` if ``codec`` accepts it; else raise UnknownTypeInHistory."""
        cls = self._find_class(path)
        if cls is None:
            raise exceptions.UnknownTypeInHistory(
                f"Class {path!r} was recorded, but can't be found. Import its module at the top of "
                "the module with the workflow, or name it in DBOS['IMPORT_MODULES']; if it was "
                "renamed, keep the old name as well."
            )
        if not codec.accepts(cls):
            raise exceptions.UnknownTypeInHistory(
                f"Class {path!r} was recorded as {codec.tag}, but isn't one. Restore the class, or "
                "cancel the workflow."
            )
        return cls

    def _decode(self, pairs: dict[str, Any]) -> Any:
        if not is_tagged(pairs):
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
            f"A value of type {tag!r} was recorded, but no such type is registered. Register it "
            "again, in the ready() of an AppConfig."
        )

    def _decode_plain(self, pairs: dict[str, Any]) -> JSONValue:
        if not is_tagged(pairs):
            return pairs
        ((key, payload),) = pairs.items()
        tag, _, path = key[1:].partition(":")
        if tag == "dict":
            return {
                name if isinstance(name, str) else to_text(name): item for name, item in payload
            }
        if tag in self._class_codecs:
            return self._class_codecs[tag].plain(path, payload)
        return self._by_tag[tag].plain(payload) if tag in self._by_tag else payload


_TOO_DEEP = (
    f"it is nested more than {MAX_DEPTH} deep, or contains itself. Flatten it, or store it "
    "elsewhere and pass its key."
)


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
    known = (base for base in cls.__mro__ if base in registered or base in TYPES)
    base = next(known, None)
    if base is not None:
        base_name = codecs.type_name(base)
        return (
            f"type {name} is a subclass of {base_name} that isn't registered, so it would come "
            f"back as something else. Convert it to {base_name} first, or {REGISTER}."
        )
    remedy = _REMEDIES.get(name, f"Convert it to plain values, or {REGISTER}.")
    return f"type {name} isn't registered. {remedy}"


_REMEDIES = {
    "coroutine": "Is an await missing?",
    "generator": "Convert it to a list.",
    "django.db.models.query.QuerySet": "Convert the needed part to a list, for example of pks.",
}


def _label(key: Any) -> str:
    if type(key) is str and key.isidentifier():
        return f".{key}"
    text = repr(key)
    return f"[{text if len(text) <= 40 else text[:37] + '...'}]"
