"""Codecs for instances of the project's own classes: enums, named tuples and dataclasses."""

from __future__ import annotations

import dataclasses
import enum
import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django_dbos import exceptions
from django_dbos.core.values.codecs import ClassCodec, JSONValue, Refused, type_name


def _encode_enum(member: Any) -> list[Any]:
    value = member._value_
    is_plain = type(value) in (str, int, float, bool, type(None))
    name = member._name_
    if type(member).__members__.get(name) is member:
        # The name identifies the member. The value is for readers that don't have the class.
        return [name, value] if is_plain else [name]
    if isinstance(member, enum.Flag):
        # A combination of flags isn't a member.
        return [None, value]
    raise Refused(f"it isn't among the members of its class, as {name!r} should be.")


def _decode_enum(cls: Any, payload: list[Any]) -> Any:
    name = payload[0]
    if name is None and issubclass(cls, enum.Flag):
        return cls(payload[1])
    try:
        return cls.__members__[name]
    except KeyError:
        raise exceptions.UnknownTypeInHistory(
            f"{type_name(cls)} had a member {name!r} when it was recorded, but has none now. "
            "Keep members for as long as histories contain them."
        ) from None


# Named tuples and dataclasses


def _is_namedtuple(cls: type) -> bool:
    return issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def _encode_namedtuple(value: Any) -> dict[str, Any]:
    if state_of(value):
        raise Refused("it has attributes besides its fields.")
    return dict(zip(type(value)._fields, value, strict=True))


def _decode_namedtuple(cls: Any, payload: dict[str, Any]) -> Any:
    values = current_fields(cls, payload, cls._fields, cls._field_defaults)
    return tuple.__new__(cls, [values[name] for name in cls._fields])


def _is_dataclass(cls: type) -> bool:
    # A subclass that isn't decorated itself may have undeclared state.
    return "__dataclass_fields__" in vars(cls)


def _encode_dataclass(value: Any) -> dict[str, Any]:
    fields = dataclasses.fields(value)
    # A deleted attribute falls back to the default, which is an attribute of the class.
    optional = {field.name for field in fields if field.default is not dataclasses.MISSING}
    return encode_fields(value, [field.name for field in fields], optional)


def _decode_dataclass(cls: Any, payload: dict[str, Any]) -> Any:
    fields = dataclasses.fields(cls)
    defaults = {}
    for field in fields:
        if field.name in payload:
            continue
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    return decode_fields(blank(cls), payload, [field.name for field in fields], defaults)


# Fields, also of the classes in foreign_codecs.py


def encode_fields(
    value: Any, names: Iterable[str], optional: Collection[str] = ()
) -> dict[str, Any]:
    """Return the values of an object's fields by name.

    Args:
        value: The object.
        names: The fields of its class.
        optional: The fields that may be without a value, and are then left out.

    Raises:
        Refused: Another field has no value, the object has state besides its fields, or blank()
            couldn't create an instance of its class.
    """
    cls = type(value)
    blank(cls)
    state = state_of(value)
    result = {}
    for name in names:
        if name in state:
            result[name] = state.pop(name)
        elif name not in optional:
            raise Refused(f"its field {name!r} has no value.")
    undeclared = [name for name in state if not is_dispensable(cls, name)]
    if undeclared:
        raise Refused(
            f"its attribute {undeclared[0]!r} isn't a field of its class, so it would be lost."
        )
    return result


def decode_fields(
    instance: Any, recorded: dict[str, Any], names: Iterable[str], defaults: Mapping[str, Any]
) -> Any:
    """Set the fields of a blank instance, past its ``__setattr__``, and return it."""
    values = current_fields(type(instance), recorded, names, defaults)
    for name, value in values.items():
        object.__setattr__(instance, name, value)
    return instance


def blank(cls: type) -> Any:
    """Return an instance made without ``__init__``; raise Refused if a built-in base forbids it."""
    try:
        return object.__new__(cls)
    except TypeError as error:
        raise Refused(f"its class derives from a built-in type ({error}).") from None


def is_dispensable(cls: type, name: str) -> bool:
    """Return whether an attribute can be left out.

    That is so for cached properties of functools and Django, which compute their value again, and
    for the alias by which typing remembers the call of a generic class.
    """
    attribute = inspect.getattr_static(cls, name, None)
    return type(attribute).__name__ == "cached_property" or name == "__orig_class__"


def current_fields(
    cls: type, recorded: dict[str, Any], names: Iterable[str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the recorded or default values of the fields that the class has now.

    Raises:
        UnknownTypeInHistory: A new field has no default, or an old field was removed.
    """
    expected = set(names)
    values = {**defaults, **recorded}
    if values.keys() == expected:
        return values
    changed = ", ".join(repr(name) for name in sorted(values.keys() ^ expected))
    raise exceptions.UnknownTypeInHistory(
        f"The fields of {type_name(cls)} have changed since it was recorded ({changed}). "
        "Give new fields a default, and keep old ones for as long as histories contain them."
    )


def _plain_enum(path: str, payload: list[Any]) -> JSONValue:
    return payload[-1]


def plain_fields(path: str, payload: dict[str, Any]) -> JSONValue:
    """Return the payload, which is plain."""
    return payload


def state_of(value: object) -> dict[str, Any]:
    """Return the attributes of an object, from its ``__dict__`` and its slots."""
    state: Any = object.__getstate__(value)
    if state is None:
        return {}
    if isinstance(state, tuple):
        attributes, slots = state
        return {**(attributes or {}), **slots}
    return dict(state)


CLASS_CODECS = (
    ClassCodec(
        tag="enum",
        accepts=lambda cls: issubclass(cls, enum.Enum),
        encode=_encode_enum,
        decode=_decode_enum,
        plain=_plain_enum,
    ),
    ClassCodec(
        tag="namedtuple",
        accepts=_is_namedtuple,
        encode=_encode_namedtuple,
        decode=_decode_namedtuple,
        plain=plain_fields,
    ),
    ClassCodec(
        tag="dataclass",
        accepts=_is_dataclass,
        encode=_encode_dataclass,
        decode=_decode_dataclass,
        plain=plain_fields,
    ),
)
