"""The types beyond plain JSON that can be recorded: how each is written down, and rebuilt.

A ``ValueCodec`` writes the values of one type. A ``ClassCodec`` writes the instances of a kind of
classes (enums, dataclasses, …) together with the path of their class. What ``encode`` returns is
serialized in turn, so it may hold other such values.

Rebuilding never runs a user's ``__init__``, ``__new__`` or ``__setstate__``: a history is data, and
must not be able to do anything. (There are two exceptions: an exception that can't be restored
otherwise, see recorded_errors; and validators of pydantic and attrs, see foreign_codecs.)
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import inspect
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from django_dbos import exceptions

JSONValue = Any


class Refused(Exception):
    """A value can't be recorded. Collects the path to it on its way up through the containers."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def __str__(self) -> str:
        if not self.path:
            return self.reason
        shown = self.path if len(self.path) <= 12 else [*self.path[:6], "…", *self.path[-3:]]
        return f"at ${''.join(shown)}, {self.reason}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ValueCodec:
    """Writes the values of one type under a tag; ``plain`` says what a browser is shown."""

    tag: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    plain: Callable[[Any], JSONValue]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClassCodec:
    """Writes the instances of a kind of classes under a tag and the path of their class."""

    tag: str
    accepts: Callable[[type], bool]
    encode: Callable[[Any], Any]
    decode: Callable[[type, Any], Any]
    plain: Callable[[str, Any], JSONValue]


# Dates and times


def encode_datetime(value: dt.datetime | dt.time) -> Any:
    """Return ISO 8601 text, or [text without zone, fold, zone] where that would lose something."""
    zone = _encode_zone(value.tzinfo)
    if zone is None and not value.fold:
        return value.isoformat()
    if value.tzinfo is None or zone is not None:
        return [value.replace(tzinfo=None).isoformat(), value.fold, zone]
    return [value.isoformat(), value.fold, None]


def decode_datetime(payload: Any) -> dt.datetime:
    value: dt.datetime = _decode_with_zone(dt.datetime, payload)
    return value


def decode_time(payload: Any) -> dt.time:
    value: dt.time = _decode_with_zone(dt.time, payload)
    return value


def _decode_with_zone(cls: Any, payload: Any) -> Any:
    if isinstance(payload, str):
        return cls.fromisoformat(payload)
    text, fold, zone = payload
    value = cls.fromisoformat(text).replace(fold=fold)
    return value if zone is None else value.replace(tzinfo=_decode_zone(zone))


def _encode_zone(zone: dt.tzinfo | None) -> Any:
    # None is "the ISO text says it all".
    if zone is None:
        return None
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is dt.timezone:
        offset_and_name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return list(offset_and_name) if len(offset_and_name) == 2 else None
    raise Refused(
        f"its time zone is a {type_name(type(zone))}. Use zoneinfo.ZoneInfo or datetime.timezone."
    )


def _decode_zone(zone: Any) -> dt.tzinfo:
    if isinstance(zone, list):
        return dt.timezone(*zone)
    try:
        return zoneinfo.ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise exceptions.UnknownTypeInHistory(
            f"Time zone {zone!r} was recorded, but isn't known here. Install the tzdata package."
        ) from error


def _plain_datetime(payload: Any) -> str:
    try:
        return decode_datetime(payload).isoformat()
    except exceptions.UnknownTypeInHistory:
        return str(payload[0])


def _plain_time(payload: Any) -> str:
    return str(payload if isinstance(payload, str) else payload[0])


def _encode_timedelta(value: dt.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _decode_timedelta(payload: list[int]) -> dt.timedelta:
    return dt.timedelta(*payload)


def _same(payload: Any) -> Any:
    return payload


VALUE_CODECS: Mapping[type, ValueCodec] = {
    dt.datetime: ValueCodec(
        tag="datetime", encode=encode_datetime, decode=decode_datetime, plain=_plain_datetime
    ),
    dt.date: ValueCodec(
        tag="date", encode=dt.date.isoformat, decode=dt.date.fromisoformat, plain=_same
    ),
    dt.time: ValueCodec(tag="time", encode=encode_datetime, decode=decode_time, plain=_plain_time),
    dt.timedelta: ValueCodec(
        tag="timedelta",
        encode=_encode_timedelta,
        decode=_decode_timedelta,
        plain=lambda payload: _decode_timedelta(payload).total_seconds(),
    ),
    Decimal: ValueCodec(tag="decimal", encode=str, decode=Decimal, plain=_same),
    uuid.UUID: ValueCodec(tag="uuid", encode=str, decode=uuid.UUID, plain=_same),
    bytes: ValueCodec(
        tag="bytes",
        encode=lambda value: base64.b64encode(value).decode("ascii"),
        decode=lambda payload: base64.b64decode(payload, validate=True),
        plain=_same,
    ),
    tuple: ValueCodec(tag="tuple", encode=list, decode=tuple, plain=_same),
    set: ValueCodec(tag="set", encode=list, decode=set, plain=_same),
    frozenset: ValueCodec(tag="frozenset", encode=list, decode=frozenset, plain=_same),
}


# Enums


def _encode_enum(member: Any) -> list[Any]:
    value = member._value_
    known = type(value) in (str, int, float, bool, type(None))
    name = member._name_
    if type(member).__members__.get(name) is member:
        # By name: the value is only for those who show it without knowing the class.
        return [name, value] if known else [name]
    if isinstance(member, enum.Flag):
        # A combination of flags has no member of its own.
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
            "Keep members for as long as histories hold them."
        ) from None


# Named tuples and dataclasses: an object with fields


def _is_namedtuple(cls: type) -> bool:
    return issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def _encode_namedtuple(value: Any) -> dict[str, Any]:
    if state_of(value):
        raise Refused("it has attributes beside its fields.")
    return dict(zip(type(value)._fields, value, strict=True))


def _decode_namedtuple(cls: Any, payload: dict[str, Any]) -> Any:
    values = current_fields(cls, payload, cls._fields, cls._field_defaults)
    return tuple.__new__(cls, [values[name] for name in cls._fields])


def _is_dataclass(cls: type) -> bool:
    # A subclass that isn't a dataclass itself is a class of its own, with state that nobody
    # declared.
    return "__dataclass_fields__" in vars(cls)


def _encode_dataclass(value: Any) -> dict[str, Any]:
    cls = type(value)
    blank(cls)
    state = state_of(value)
    result = {}
    for field in dataclasses.fields(cls):
        if field.name in state:
            result[field.name] = state.pop(field.name)
        elif field.default is dataclasses.MISSING:
            raise Refused(f"its field {field.name!r} has no value.")

    undeclared = [name for name in state if not is_dispensable(cls, name)]
    if undeclared:
        raise Refused(
            f"its attribute {undeclared[0]!r} is no field of the dataclass, so it would be lost."
        )
    return result


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

    instance = blank(cls)
    values = current_fields(cls, payload, [field.name for field in fields], defaults)
    for name, value in values.items():
        object.__setattr__(instance, name, value)
    return instance


def blank(cls: type) -> Any:
    try:
        return object.__new__(cls)
    except TypeError as error:
        raise Refused(f"its class derives from a built-in type ({error}).") from None


def is_dispensable(cls: type, name: str) -> bool:
    # functools' and Django's cached_property compute again what they keep on the instance. typing
    # notes on it what a generic class was called as.
    attribute = inspect.getattr_static(cls, name, None)
    return type(attribute).__name__ == "cached_property" or name == "__orig_class__"


def current_fields(
    cls: type, recorded: dict[str, Any], names: Any, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a value for every field that the class has now; fields added since need a default."""
    values = {**defaults, **recorded}
    if values.keys() == set(names):
        return values
    changed = ", ".join(repr(name) for name in sorted(values.keys() ^ set(names)))
    raise exceptions.UnknownTypeInHistory(
        f"The fields of {type_name(cls)} have changed since it was recorded ({changed}). "
        "Give new fields a default, and keep old ones for as long as histories hold them."
    )


def _plain_enum(path: str, payload: list[Any]) -> JSONValue:
    return payload[-1]


def plain_fields(path: str, payload: dict[str, Any]) -> JSONValue:
    return payload


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


def state_of(value: object) -> dict[str, Any]:
    """Return what an object keeps in its ``__dict__`` and its slots."""
    state: Any = object.__getstate__(value)
    if state is None:
        return {}
    if isinstance(state, tuple):
        attributes, slots = state
        return {**(attributes or {}), **slots}
    return dict(state)


def type_name(cls: type) -> str:
    """Return the dotted path of a class, as errors show it."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"
