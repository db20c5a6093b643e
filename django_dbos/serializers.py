"""Serialization of stored values: the serializer in use, the size limit, and recorded errors.

JSON text is stored unchanged. The text of any other serializer is stored with the prefix "!name:",
so that the text itself names the serializer which reads it, and values that were written as JSON
stay readable after a change of SERIALIZER.

With DBOS["ENCRYPTION"], that text is encrypted, and stored as "!encrypted:key:…". Plain texts stay
readable beside encrypted ones. With DBOS["OFFLOAD"], large texts are in a storage, and rows have a
reference, "!offloaded:…": see offloading.py.

Deserializing a model instance queries its database, so loads() may need a thread on which the ORM
can be used; see needs_thread().
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import pickle
import re
from collections.abc import Callable
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_dbos import conf, encryption, exceptions, offloading
from django_dbos.core.texts import is_encodable
from django_dbos.core.values import errors, plain_json
from django_dbos.core.values.errors import ErrorSummary
from django_dbos.core.values.json import JSONSerializer
from django_dbos.django_values import json_serializer

Label = str | Callable[[], str]


class Serializer(Protocol):
    """The interface of a serializer.

    DBOS["SERIALIZER"] is the dotted path to an instance, or to a class that is called without
    arguments.

    Attributes:
        name: Letters, digits, dots and dashes; stored with every value. "json" and "pickle" are
            taken, and so are "encrypted" and "offloaded".
    """

    name: str

    def dumps(self, value: Any) -> str:
        """Return ``value`` as text without NUL characters and lone surrogates."""

    def loads(self, text: str) -> Any:
        """Return the value that dumps() has serialized."""


def dumps(value: Any, *, label: Label) -> str:
    """Return ``value`` as text for the database, encrypted if DBOS["ENCRYPTION"] says so.

    Args:
        value: The value to serialize.
        label: The name of the value in error messages, for example "The result of step 'charge'",
            or a function that returns it: of most values it is never needed.

    Raises:
        SerializationError: The serializer refuses the value.
        PayloadTooLarge: The text is larger than DBOS["MAX_PAYLOAD_BYTES"].
    """
    return encryption.protect(_dumps_plain(value, label))


def _dumps_plain(value: Any, label: Label) -> str:
    serializer = get_serializer()
    if serializer is json_serializer:
        text = _dumps_json(value, label)
    else:
        text = _dumps_other(serializer, value, label)

    check_size(text, label)
    return text


def opened(text: str) -> str:
    """Return a stored text without its encryption; raise EncryptionKeyMissing.

    All functions here that read take encrypted texts, too.
    """
    return encryption.decrypt(text) if text.startswith(encryption.PREFIX) else text


def whole(text: str) -> str:
    """Return a stored text as its serializer wrote it: fetched if it is offloaded, and decrypted.

    Raises:
        EncryptionKeyMissing: It is encrypted with a key that isn't here.
        OffloadedValueMissing: It isn't in the storage.
        OffloadFailed: The storage has failed.
    """
    return opened(offloading.fetch(text)) if text.startswith("!") else text


def dump_attempts(errors: list[dict[str, Any]]) -> str | None:
    """Return the errors of a step's attempts as text for the database; None if there are none."""
    return encryption.protect(json.dumps(errors)) if errors else None


def load_attempts(text: str | None) -> list[dict[str, Any]]:
    """Return the errors that dump_attempts() has written; raise EncryptionKeyMissing."""
    errors: list[dict[str, Any]] = json.loads(opened(text)) if text else []
    return errors


def check_size(text: str, label: Label) -> None:
    """Raise PayloadTooLarge if the text has more than DBOS["MAX_PAYLOAD_BYTES"] as UTF-8."""
    limit = conf.get_settings().max_payload_bytes
    # A character takes up to 4 bytes, so most texts needn't be encoded to know that they fit.
    if len(text) * 4 > limit:
        size = len(text) if text.isascii() else len(text.encode())
        if size > limit:
            raise exceptions.PayloadTooLarge(_text_of(label), size, limit)


def loads(text: str) -> Any:
    """Return the value that dumps() has serialized to ``text``.

    Raises:
        EncryptionKeyMissing: It is encrypted with a key that isn't here.
        UnknownTypeInHistory: A type in the text can't be found, or has changed.
        ModelInstanceGone: The text refers to a model instance that has been deleted.
        SerializationError: The text can't be read for another reason; the base class of them all.
    """
    text = whole(text)
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
            f"{error}). Check that the serializer can still read its own older output."
        ) from error


def needs_thread(text: str) -> bool:
    """Return whether loads() of ``text`` may query a database or a storage, or run other code.

    Of an encrypted text only opened() can tell.
    """
    return '{"$model"' in text or text.startswith("!")


def to_plain(text: str) -> Any:
    """Return the value in ``text`` as plain JSON values, for browsers and the admin.

    A value that this process can't read is a text that says so.
    """
    try:
        text = whole(text)
    except exceptions.EncryptionKeyMissing as error:
        return f"<encrypted with key {error.key_id}, which is missing here>"
    except exceptions.OffloadedValueMissing as error:
        return f"<offloaded to {error.name}, which is missing>"
    if not text.startswith("!"):
        return json_serializer.to_plain(text)
    try:
        return json_serializer.to_plain(json_serializer.dumps(loads(text)))
    except exceptions.SerializationError:
        # Only a process that has the value's class can read it.
        return f"<{text[1:].partition(':')[0]}: {len(text)} characters>"


def to_plain_text(text: str) -> str:
    """Return the value in ``text`` as JSON text for browsers: unchanged where it is plain."""
    if text.startswith((encryption.PREFIX, offloading.PREFIX)):
        try:
            text = whole(text)
        except (exceptions.EncryptionKeyMissing, exceptions.OffloadedValueMissing):
            return plain_json.to_text(to_plain(text))
    if not text.startswith("!") and json_serializer.is_plain_text(text):
        return text
    return plain_json.to_text(to_plain(text))


def dump_error(error: BaseException) -> str:
    """Return ``error`` as JSON text, or its description if it can't be rebuilt or is too large."""
    text = errors.dump_error(json_serializer, error)
    if len(text.encode()) > conf.get_settings().max_payload_bytes:
        text = errors.dump_stand_in(json_serializer, error)
    return encryption.protect(text)


def load_error(text: str) -> BaseException:
    """Return the recorded exception, or the RecordedError that was recorded in its place.

    Raises:
        EncryptionKeyMissing: It is encrypted with a key that isn't here.
        SerializationError: The class or the args can't be rebuilt here; usually
            UnknownTypeInHistory.
    """
    return errors.load_error(json_serializer, whole(text))


def load_error_or_stand_in(text: str) -> BaseException:
    """Return the recorded exception, or a RecordedError if it can't be rebuilt.

    Raises:
        EncryptionKeyMissing: It is encrypted with a key that isn't here.
    """
    return errors.load_error_or_stand_in(json_serializer, whole(text))


def load_error_to_raise(text: str) -> Exception:
    """Return the exception to raise outside of a replay, for example where a result is read.

    A recorded exception that isn't an Exception is replaced by a RecordedError: a SystemExit would
    end the process that reads the result.
    """
    error = load_error_or_stand_in(text)
    if isinstance(error, Exception):
        return error
    return errors.stand_in_for(json_serializer, whole(text))


def round_trip_error(error: BaseException, text: str | None = None) -> BaseException:
    """Return the exception that a replay will raise for ``error``, for the first run to raise.

    Args:
        error: The exception as it was raised.
        text: The result of dump_error() for it, if there is one already.
    """
    return errors.round_trip_error(json_serializer, error, opened(text or dump_error(error)))


def summarize_error(text: str) -> ErrorSummary:
    """Return the class, message and traceback of a recorded error without rebuilding it."""
    return errors.summarize_error(json_serializer, whole(text))


def to_plain_parts(field: str, text: str) -> Any:
    """Return a value as DBOS["REDACT"] takes it: of an error its class, message and traceback."""
    if field == "error":
        summary = summarize_error(text)
        return {
            "class": summary.class_path.removeprefix("builtins."),
            "message": summary.message,
            "traceback": summary.traceback,
        }
    return load_attempts(text) if field == "attempt_errors" else to_plain(text)


def from_plain_parts(field: str, text: str, parts: Any) -> str:
    """Return the plain text of a value whose parts were redacted; the original's is `text`.

    An error becomes one that is read as a RecordedError.
    """
    if field != "error":
        return plain_json.to_text(parts)
    found = parts if isinstance(parts, dict) else {"message": parts, "traceback": parts}
    return plain_json.to_text(
        {
            "error": json.loads(whole(text))["error"],
            "message": str(found.get("message")),
            "traceback": str(found.get("traceback")),
            "args": None,
            "args_text": f"({str(found.get('message'))!r})",
        }
    )


def are_alike(text: str, other: str) -> bool:
    """Return whether two stored texts have the same value, as far as that can be known here."""
    try:
        return text == other or whole(text) == whole(other)
    except exceptions.EncryptionKeyMissing:
        return True


def fingerprint_of(value: Any) -> str:
    """Return the fingerprint of a value; raise SerializationError or PayloadTooLarge."""
    return fingerprint(_dumps_plain(value, "The arguments"))


def fingerprint(args_text: str) -> str:
    """Return a 16-character hash of serialized arguments that ignores the order of keys.

    While values are encrypted, it doesn't let anyone guess the arguments who lacks the key.
    """
    if args_text.count("{") != args_text.count("{}") and not args_text.startswith("!"):
        args_text = json.dumps(json.loads(args_text), sort_keys=True)
    keyring = encryption.get_keyring()
    if keyring is not None and keyring.primary is not None:
        return keyring.digest(args_text)
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
    """Register a type with the JSON serializer. Call this in the ready() of an AppConfig.

    Args:
        cls: The type of the values.
        tag: An identifier that is stored with each value.
        encode: Returns a serializable payload for a value.
        decode: Returns the value for a payload, with the same type.
        plain: Returns the payload as plain JSON values for browsers and the admin; by default, the
            payload itself.
        subclasses: Register the subclasses of ``cls`` as well.

    Raises:
        ValueError: The tag is taken or isn't an identifier, or ``cls`` is a plain JSON type.
    """
    json_serializer.register(cls, tag, encode, decode, plain=plain, subclasses=subclasses)


def get_serializer() -> Serializer:
    """Return the serializer for new values; raise ImproperlyConfigured."""
    return _load_serializer(conf.get_settings().serializer)


class PickleSerializer:
    """Serializes with pickle, so that write access to the database suffices to run code here."""

    name = "pickle"

    def dumps(self, value: Any) -> str:
        """Return the pickled value in base64."""
        return base64.b64encode(pickle.dumps(value, protocol=5)).decode("ascii")

    def loads(self, text: str) -> Any:
        """Return the unpickled value."""
        return pickle.loads(base64.b64decode(text))


def _dumps_json(value: Any, label: Label) -> str:
    try:
        return json_serializer.dumps(value)
    except exceptions.SerializationError as error:
        message = f"{_text_of(label)} can't be stored: {error}"
        raise exceptions.SerializationError(message) from error


def _dumps_other(serializer: Serializer, value: Any, label: Label) -> str:
    try:
        text: object = serializer.dumps(value)
    except Exception as error:
        raise exceptions.SerializationError(
            f"{_text_of(label)} can't be stored: serializer {serializer.name!r} refuses this "
            f"{type(value).__name__} ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(text, str) or "\0" in text or not is_encodable(text):
        raise exceptions.SerializationError(
            f"{_text_of(label)} can't be stored: serializer {serializer.name!r} must return a str "
            "without NUL characters and lone surrogates."
        )
    return f"!{serializer.name}:{text}"


def _text_of(label: Label) -> str:
    """Return the label, which is made only now."""
    return label if isinstance(label, str) else label()


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
        raise ImproperlyConfigured(f"DBOS['SERIALIZER'] is {setting!r}: {error}") from error
    serializer = found() if isinstance(found, type) else found

    name = getattr(serializer, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name in _TAKEN:
        raise ImproperlyConfigured(
            f"DBOS['SERIALIZER'] is {setting!r}, whose name is {name!r}. Give it a name of "
            "letters, digits, dots and dashes other than 'json' and 'pickle': the name is stored "
            "with every value."
        )
    for method in ("dumps", "loads"):
        if not callable(getattr(serializer, method, None)):
            raise ImproperlyConfigured(
                f"DBOS['SERIALIZER'] is {setting!r}, which has no {method}(). See "
                "django_dbos.serializers.Serializer."
            )
    return serializer  # type: ignore[no-any-return]


_TAKEN = frozenset({"json", "pickle", "encrypted", "offloaded"})
