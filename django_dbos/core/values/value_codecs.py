"""Codecs for dates, times, decimals, UUIDs, bytes, tuples and sets."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
import zoneinfo
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django_dbos import exceptions
from django_dbos.core.values.codecs import Refused, ValueCodec, type_name


def encode_datetime(value: dt.datetime | dt.time) -> Any:
    """Return ISO 8601 text, or [text without zone, fold, zone] if the text alone is lossy."""
    zone = _encode_zone(value.tzinfo)
    if zone is None and not value.fold:
        return value.isoformat()
    if value.tzinfo is None or zone is not None:
        return [value.replace(tzinfo=None).isoformat(), value.fold, zone]
    return [value.isoformat(), value.fold, None]


def decode_datetime(payload: Any) -> dt.datetime:
    """Return the datetime of a payload of encode_datetime()."""
    value: dt.datetime = _decode_with_zone(dt.datetime, payload)
    return value


def decode_time(payload: Any) -> dt.time:
    """Return the time of a payload of encode_datetime()."""
    value: dt.time = _decode_with_zone(dt.time, payload)
    return value


def _decode_with_zone(cls: Any, payload: Any) -> Any:
    if isinstance(payload, str):
        return cls.fromisoformat(payload)
    text, fold, zone = payload
    value = cls.fromisoformat(text).replace(fold=fold)
    return value if zone is None else value.replace(tzinfo=_decode_zone(zone))


def _encode_zone(zone: dt.tzinfo | None) -> Any:
    # None means that the ISO text is complete.
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


def _unchanged(payload: Any) -> Any:
    return payload


VALUE_CODECS: Mapping[type, ValueCodec] = {
    dt.datetime: ValueCodec(
        tag="datetime", encode=encode_datetime, decode=decode_datetime, plain=_plain_datetime
    ),
    dt.date: ValueCodec(
        tag="date", encode=dt.date.isoformat, decode=dt.date.fromisoformat, plain=_unchanged
    ),
    dt.time: ValueCodec(tag="time", encode=encode_datetime, decode=decode_time, plain=_plain_time),
    dt.timedelta: ValueCodec(
        tag="timedelta",
        encode=_encode_timedelta,
        decode=_decode_timedelta,
        plain=lambda payload: _decode_timedelta(payload).total_seconds(),
    ),
    Decimal: ValueCodec(tag="decimal", encode=str, decode=Decimal, plain=_unchanged),
    uuid.UUID: ValueCodec(tag="uuid", encode=str, decode=uuid.UUID, plain=_unchanged),
    bytes: ValueCodec(
        tag="bytes",
        encode=lambda value: base64.b64encode(value).decode("ascii"),
        decode=lambda payload: base64.b64decode(payload, validate=True),
        plain=_unchanged,
    ),
    tuple: ValueCodec(tag="tuple", encode=list, decode=tuple, plain=_unchanged),
    set: ValueCodec(tag="set", encode=list, decode=set, plain=_unchanged),
    frozenset: ValueCodec(tag="frozenset", encode=list, decode=frozenset, plain=_unchanged),
}
