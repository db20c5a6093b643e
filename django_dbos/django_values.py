"""The JSON serializer in use, with codecs for Django's types and a finder for recorded classes.

A model instance is recorded by its primary key and read from its database when it is deserialized.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from django.utils.connection import ConnectionDoesNotExist
from django.utils.functional import LazyObject, Promise, empty
from django.utils.safestring import SafeString

from django_dbos import conf, exceptions
from django_dbos.core.values.codecs import Refused
from django_dbos.core.values.json import JSONSerializer, find_loaded_class


def _encode_instance(instance: models.Model) -> list[Any]:
    options = instance._meta
    if instance.pk is None or instance._state.adding:
        raise Refused("it isn't saved. Save it first, or pass its fields instead.")
    if _find_model(options.label) is not type(instance):
        raise Refused(
            f"the app registry has another model as {options.label!r}. Pass its fields instead."
        )
    return [options.label, instance.pk, instance._state.db]


def _decode_instance(payload: list[Any]) -> models.Model:
    label, pk, using = payload
    model = _find_model(label)
    if model is None:
        raise exceptions.UnknownTypeInHistory(
            f"An instance of model {label!r} was recorded, but no such model exists now. Restore "
            "the model, or cancel the workflow."
        )
    try:
        return model._base_manager.using(using).get(pk=pk)
    except ObjectDoesNotExist:
        raise exceptions.ModelInstanceGone(label, pk, using) from None
    except ConnectionDoesNotExist as error:
        raise exceptions.UnknownTypeInHistory(
            f"An instance of {label!r} was recorded in database {using!r}, which isn't in "
            "DATABASES now. Restore the alias, or cancel the workflow."
        ) from error


def _plain_instance(payload: list[Any]) -> str:
    label, pk, _ = payload
    return f"{label}:{pk}"


def _find_model(label: str) -> type[models.Model] | None:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


def _unwrap(lazy: Any) -> Any:
    if lazy._wrapped is empty:
        lazy._setup()
    return lazy._wrapped


def _find_class(path: str) -> type | None:
    found = find_loaded_class(path)
    if found is not None:
        return found

    # The module of an error's class may have been imported by the code that raised it, as Django's
    # mail backend does with smtplib, and a replay doesn't run that code. Only modules that a
    # setting lists are imported: importing runs code, which stored text must not choose.
    module_name = path.partition(":")[0]
    if module_name in sys.modules or not _may_be_imported(module_name):
        return None
    try:
        importlib.import_module(module_name)
    except Exception as error:
        raise exceptions.UnknownTypeInHistory(
            f"Class {path!r} was recorded, but its module can't be imported "
            f"({type(error).__name__}: {error}). Install the missing module."
        ) from error
    return find_loaded_class(path)


def _may_be_imported(module_name: str) -> bool:
    allowed = conf.get_settings().import_modules
    return any(f"{module_name}.".startswith(f"{prefix}.") for prefix in allowed)


json_serializer = JSONSerializer(find_class=_find_class)
json_serializer.register(
    models.Model,
    "model",
    _encode_instance,
    _decode_instance,
    plain=_plain_instance,
    subclasses=True,
)
# Not str(), which returns a SafeString for a SafeString.
json_serializer.register(SafeString, "safe", str.__str__, SafeString)
json_serializer.register_replacement(LazyObject, _unwrap)
json_serializer.register_replacement(Promise, str)
