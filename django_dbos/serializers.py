"""What the engine stores values with: the serializer in force, the size limit, Django's own types.

JSON text is stored as it is; text of any other serializer carries its name, "!name:", in front.
Which one reads a text back follows from the text, so that switching SERIALIZER leaves what was
written as JSON readable.

A recorded model instance is loaded from its database when it is read: loads() of one needs a thread
on which the ORM may be used, which needs_thread() tells.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib
import json
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any, Protocol

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db import models
from django.utils.connection import ConnectionDoesNotExist
from django.utils.functional import LazyObject, Promise, empty
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString

from django_dbos import conf, exceptions
from django_dbos.core.values import errors
from django_dbos.core.values.codecs import Refused
from django_dbos.core.values.errors import ErrorSummary
from django_dbos.core.values.json import JSONSerializer, find_loaded_class


class Serializer(Protocol):
    """What DBOS["SERIALIZER"] may name: an instance, or a class that needs no arguments."""

    name: str

    def dumps(self, value: Any) -> str: ...

    def loads(self, text: str) -> Any: ...


def dumps(value: Any, *, what: str) -> str:
    """Return ``value`` as text for the database.

    Raises SerializationError or PayloadTooLarge, both naming ``what``, so before anything is
    stored.
    """
    serializer = get_serializer()
    if serializer is json_serializer:
        text = _dumps_json(value, what)
    else:
        text = _dumps_other(serializer, value, what)

    check_size(text, what)
    return text


def check_size(text: str, what: str) -> None:
    """Raise PayloadTooLarge, naming ``what``, for more than DBOS["MAX_PAYLOAD_BYTES"]."""
    limit = conf.get_settings().max_payload_bytes
    # A character takes up to 4 bytes: most texts need not be counted.
    if len(text) * 4 > limit:
        size = len(text) if text.isascii() else len(text.encode())
        if size > limit:
            raise exceptions.PayloadTooLarge(what, size, limit)


def loads(text: str) -> Any:
    """Return the value that dumps() made ``text`` of.

    Raises SerializationError if it can't be read, with UnknownTypeInHistory and ModelInstanceGone
    below it.
    """
    if not text.startswith("!"):
        return json_serializer.loads(text)
    name, _, rest = text[1:].partition(":")
    serializer = _serializer_named(name)
    try:
        return serializer.loads(rest)
    except exceptions.DbosError:
        raise
    except Exception as error:
        raise exceptions.SerializationError(
            f"A value recorded by serializer {name!r} can't be read ({type(error).__name__}: "
            f"{error}). "
            "Does it still know what it wrote?"
        ) from error


def needs_thread(text: str) -> bool:
    """Whether loads() of a text may ask the database, or take a serializer's own time."""
    return '{"$model"' in text or text.startswith("!")


def to_plain(text: str) -> Any:
    """Return what ``text`` holds as plain JSON values, for browsers and the admin."""
    if not text.startswith("!"):
        return json_serializer.to_plain(text)
    try:
        return json_serializer.to_plain(json_serializer.dumps(loads(text)))
    except exceptions.SerializationError:
        # Only code that knows the type can make something of it.
        return f"<{text[1:].partition(':')[0]}: {len(text)} characters>"


def dump_error(error: BaseException) -> str:
    """Return ``error`` as JSON text. None is refused: what can't be rebuilt is described."""
    text = errors.dump_error(json_serializer, error)
    if len(text.encode()) > conf.get_settings().max_payload_bytes:
        return errors.dump_stand_in(json_serializer, error)
    return text


def load_error(text: str) -> BaseException:
    """Return the exception that ``text`` was made of, or the RecordedError that stands in for it.

    Raises SerializationError, mostly UnknownTypeInHistory, if its class or its args aren't known
    here.
    """
    return errors.load_error(json_serializer, text)


def load_error_or_stand_in(text: str) -> BaseException:
    """Return what load_error() does; where that raises, a RecordedError: for mere reports."""
    return errors.load_error_or_stand_in(json_serializer, text)


def load_error_to_raise(text: str) -> Exception:
    """Return what may be raised for a recorded error where it isn't a replay's to raise.

    A stand-in for what isn't an Exception, too: a SystemExit would end the process that asks.
    """
    error = load_error_or_stand_in(text)
    if isinstance(error, Exception):
        return error
    return errors.stand_in_for(json_serializer, text)


def round_trip_error(error: BaseException, text: str | None = None) -> BaseException:
    """Return what the first run must raise for ``error``: what a replay of ``text`` will raise.

    ``text`` is what dump_error() made of it.
    """
    return errors.round_trip_error(json_serializer, error, text or dump_error(error))


def summarize_error(text: str) -> ErrorSummary:
    """Return the class, message and traceback of a recorded error without rebuilding it."""
    return errors.summarize_error(json_serializer, text)


def fingerprint(args_text: str) -> str:
    """Return 16 characters that differ where the arguments do, whatever the order of their keys."""
    if args_text.count("{") != args_text.count("{}") and not args_text.startswith("!"):
        args_text = json.dumps(json.loads(args_text), sort_keys=True)
    return hashlib.blake2b(args_text.encode(), digest_size=8).hexdigest()


def register(
    cls: type,
    tag: str,
    encode: Callable[[Any], Any],
    decode: Callable[[Any], Any],
    *,
    plain: Callable[[Any], Any] | None = None,
    subclasses: bool = False,
) -> None:
    """Let values of type ``cls`` be recorded as JSON. Call it in the ready() of an AppConfig.

    ``encode`` returns something that can be serialized, and ``decode`` makes the value of it again,
    with the same type; ``plain`` turns it into what a browser is shown. With ``subclasses``, all of
    them go the same way.
    """
    json_serializer.register(cls, tag, encode, decode, plain=plain, subclasses=subclasses)


def get_serializer() -> Serializer:
    """Return what values are written with; raises ImproperlyConfigured if the setting is wrong."""
    return _load_serializer(conf.get_settings().serializer)


class PickleSerializer:
    """Records whatever can be pickled. Whoever writes to the database can then run code here."""

    name = "pickle"

    def dumps(self, value: Any) -> str:
        return base64.b64encode(pickle.dumps(value, protocol=5)).decode("ascii")

    def loads(self, text: str) -> Any:
        return pickle.loads(base64.b64decode(text))


def _dumps_json(value: Any, what: str) -> str:
    try:
        return json_serializer.dumps(value)
    except exceptions.SerializationError as error:
        raise exceptions.SerializationError(f"{what} can't be stored: {error}") from error


def _dumps_other(serializer: Serializer, value: Any, what: str) -> str:
    try:
        text = serializer.dumps(value)
    except Exception as error:
        raise exceptions.SerializationError(
            f"{what} can't be stored: serializer {serializer.name!r} refuses this "
            f"{type(value).__name__} "
            f"({type(error).__name__}: {error})."
        ) from error
    if not _is_storable(text):
        raise exceptions.SerializationError(
            f"{what} can't be stored: serializer {serializer.name!r} must return a str without NUL "
            "characters and lone surrogates."
        )
    return f"!{serializer.name}:{text}"


def _is_storable(text: object) -> bool:
    if not isinstance(text, str) or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _serializer_named(name: str) -> Serializer:
    active = get_serializer()
    if active.name == name and active is not json_serializer:
        return active
    remedy = (
        'Pickled values are only read while DBOS["SERIALIZER"] is "pickle".'
        if name == PickleSerializer.name
        else 'Name the serializer that wrote it in DBOS["SERIALIZER"].'
    )
    raise exceptions.SerializationError(
        f"A value was recorded by serializer {name!r}, but the one in use is {active.name!r}. "
        f"{remedy}"
    )


@functools.cache
def _load_serializer(setting: str) -> Serializer:
    if setting == JSONSerializer.name:
        return json_serializer
    if setting == PickleSerializer.name:
        return PickleSerializer()
    try:
        found = import_string(setting)
    except ImportError as error:
        raise ImproperlyConfigured(f"DBOS['SERIALIZER'] names {setting!r}: {error}") from error
    serializer = found() if isinstance(found, type) else found

    name = getattr(serializer, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name in _TAKEN:
        raise ImproperlyConfigured(
            f"DBOS['SERIALIZER'] names {setting!r}, whose name is {name!r}. Give it a name of "
            "letters, digits, dots and dashes other than 'json' and 'pickle': it is stored with "
            "every value."
        )
    for method in ("dumps", "loads"):
        if not callable(getattr(serializer, method, None)):
            raise ImproperlyConfigured(
                f"DBOS['SERIALIZER'] names {setting!r}, which has no {method}(). See Serializer."
            )
    return serializer  # type: ignore[no-any-return]


_TAKEN = frozenset({"json", "pickle"})


# Django's own types


def _encode_instance(instance: models.Model) -> list[Any]:
    options = instance._meta
    if instance.pk is None or instance._state.adding:
        raise Refused("it isn't saved. Save it first, or pass its fields.")
    if _find_model(options.label) is not type(instance):
        raise Refused(
            f"the app registry holds another model as {options.label!r}. Pass its fields."
        )
    return [options.label, instance.pk, instance._state.db]


def _decode_instance(payload: list[Any]) -> models.Model:
    label, pk, using = payload
    model = _find_model(label)
    if model is None:
        raise exceptions.UnknownTypeInHistory(
            f"An instance of model {label!r} was recorded, but there is no such model. Bring it "
            "back, or cancel the workflow."
        )
    try:
        return model._base_manager.using(using).get(pk=pk)
    except ObjectDoesNotExist:
        raise exceptions.ModelInstanceGone(label, pk, using) from None
    except ConnectionDoesNotExist as error:
        raise exceptions.UnknownTypeInHistory(
            f"An instance of {label!r} was recorded in database {using!r}, which isn't in "
            "DATABASES. Bring it back, or cancel the workflow."
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

    # The code that raised an error may have imported its module only then (Django's mail backend
    # and smtplib), and a replay doesn't run that code. But a stored text must not be able to import
    # what it likes: a module may do anything when it is imported.
    module_name = path.partition(":")[0]
    if module_name in sys.modules or not _may_be_imported(module_name):
        return None
    try:
        importlib.import_module(module_name)
    except Exception as error:
        raise exceptions.UnknownTypeInHistory(
            f"Class {path!r} was recorded, but its module can't be imported "
            f"({type(error).__name__}: {error}). Install what is missing."
        ) from error
    return find_loaded_class(path)


def _may_be_imported(module_name: str) -> bool:
    allowed = conf.get_settings().import_modules
    return any(f"{module_name}.".startswith(f"{one}.") for one in allowed)


json_serializer = JSONSerializer(find_class=_find_class)
json_serializer.register(
    models.Model,
    "model",
    _encode_instance,
    _decode_instance,
    plain=_plain_instance,
    subclasses=True,
)
# str.__str__ because str() of a SafeString is a SafeString.
json_serializer.register(SafeString, "safe", str.__str__, SafeString)
json_serializer.register_replacement(LazyObject, _unwrap)
json_serializer.register_replacement(Promise, str)
