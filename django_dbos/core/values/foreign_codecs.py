"""Codecs for pydantic's models and URLs and for attrs classes.

The libraries are optional and never imported here: a value of theirs exists only once the project
has imported them.
"""

from __future__ import annotations

import sys
from typing import Any

from django_dbos import exceptions
from django_dbos.core.values.class_codecs import (
    blank,
    current_fields,
    decode_fields,
    encode_fields,
    plain_fields,
)
from django_dbos.core.values.codecs import ClassCodec, JSONValue, Refused, type_name


def _loaded(module: str, name: str) -> Any:
    """Return a class of a library, or (), which has no subclasses, if it isn't imported."""
    found = sys.modules.get(module)
    return () if found is None else vars(found).get(name, ())


# pydantic


def _is_model(cls: type) -> bool:
    return issubclass(cls, _loaded("pydantic.main", "BaseModel"))


def _is_url(cls: type) -> bool:
    bases = ("_BaseUrl", "_BaseMultiHostUrl")
    return any(issubclass(cls, _loaded("pydantic.networks", base)) for base in bases)


def _encode_model(value: Any) -> list[Any]:
    """Return [values by field, names of unset fields]; refuse a model that decodes differently."""
    cls, attributes = type(value), vars(value)
    values = {name: attributes[name] for name in cls.model_fields if name in attributes}
    values |= value.__pydantic_extra__ or {}
    unset = sorted(values.keys() - value.model_fields_set)
    payload = [values, unset] if unset else [values]
    try:
        is_same = _decode_model(cls, payload) == value
    except exceptions.UnknownTypeInHistory as error:
        raise Refused(f"it couldn't be read back: {error}") from error
    if not is_same:
        raise Refused(
            "it would come back as another one: a validator changes its values, or a private "
            "attribute differs from its default. Pass its fields instead."
        )
    return payload


def _decode_model(cls: Any, payload: list[Any]) -> Any:
    values, *others = payload
    unknown = sorted(values.keys() - cls.model_fields.keys())
    if unknown and cls.model_config.get("extra") != "allow":
        current_fields(cls, values, [name for name in values if name not in unknown], {})
    # Fields are recorded by their names in the class, not by their aliases. The options need
    # pydantic 2.11.
    has_alias = any(field.validation_alias is not None for field in cls.model_fields.values())
    options = {"by_name": True, "by_alias": False} if has_alias else {}
    try:
        instance = cls.model_validate(values, **options)
    except ValueError as error:
        raise exceptions.UnknownTypeInHistory(
            f"A recorded {type_name(cls)} isn't valid for its class: {error}"
        ) from error
    for names in others:
        object.__setattr__(instance, "__pydantic_fields_set__", values.keys() - set(names))
    return instance


def _plain_model(path: str, payload: list[Any]) -> JSONValue:
    return payload[0]


def _decode_url(cls: Any, payload: str) -> Any:
    return cls(payload)


def _plain_url(path: str, payload: str) -> JSONValue:
    return payload


# attrs


def _is_attrs(cls: type) -> bool:
    # As with dataclasses, a subclass that isn't decorated itself may have undeclared state.
    return "__attrs_attrs__" in vars(cls)


def _encode_attrs(value: Any) -> dict[str, Any]:
    return encode_fields(value, [field.name for field in type(value).__attrs_attrs__])


def _decode_attrs(cls: Any, payload: dict[str, Any]) -> Any:
    library = sys.modules["attr"]
    instance = blank(cls)
    fields = cls.__attrs_attrs__
    defaults = {
        field.name: _default(field.default, instance)
        for field in fields
        if field.name not in payload and field.default is not library.NOTHING
    }
    decode_fields(instance, payload, [field.name for field in fields], defaults)
    try:
        library.validate(instance)
    except Exception as error:
        raise exceptions.UnknownTypeInHistory(
            f"A recorded {type_name(cls)} isn't valid for its class: {error}"
        ) from error
    return instance


def _default(default: Any, instance: Any) -> Any:
    if not isinstance(default, sys.modules["attr"].Factory):
        return default
    return default.factory(instance) if default.takes_self else default.factory()


CLASS_CODECS = (
    ClassCodec(
        tag="pydantic",
        accepts=_is_model,
        encode=_encode_model,
        decode=_decode_model,
        plain=_plain_model,
    ),
    ClassCodec(tag="url", accepts=_is_url, encode=str, decode=_decode_url, plain=_plain_url),
    ClassCodec(
        tag="attrs",
        accepts=_is_attrs,
        encode=_encode_attrs,
        decode=_decode_attrs,
        plain=plain_fields,
    ),
)
