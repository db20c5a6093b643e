"""Serialization of exceptions, so that a replay catches the same exceptions as the first run.

An error is recorded with its class, ``args``, attributes, notes, message and traceback. There are
two ways to rebuild it, and both are tried when it is recorded:

* restoring, as copy() does: create it without ``__init__``, then set its attributes. An attribute
  that can't be recorded is left out and mentioned in a note;
* calling ``cls(*args)``, if restoring would leave an attribute out or gives another error.

An error that comes back with other ``args`` or another message in both ways is recorded as text,
and raised as a RecordedError.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from django_dbos import exceptions
from django_dbos.core.values import class_codecs, codecs

_MAX_TRACEBACK = 20_000
_MAX_TEXT = 4_000

# Attributes that Python and this module set on an exception. They aren't part of its own state.
_NOT_STATE = frozenset({"__notes__", "recorded_traceback"})


class RecordedTraceback(Exception):
    """The cause of a rebuilt exception, which shows the original traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class ClassSerializer(Protocol):
    """The interface of JSONSerializer, which is defined in a higher layer."""

    def dumps(self, value: Any) -> str:
        """Return ``value`` as text; raise SerializationError."""

    def loads(self, text: str) -> Any:
        """Return the value that dumps() has serialized."""

    def to_plain(self, text: str) -> codecs.JSONValue:
        """Return the value in ``text`` as plain JSON values."""

    def class_path(self, cls: type) -> str | None:
        """Return "module:qualified.name" if it leads back to the class, else None."""

    def rebuildable_class(self, path: str, codec: codecs.ClassCodec) -> type:
        """Return the class at ``path``; raise UnknownTypeInHistory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """The parts of a recorded error that can be read without rebuilding it."""

    class_path: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The recorded parts of an exception.

    Attributes:
        args: Its ``args``.
        state: Its attributes if it is restored, or None if its class is called.
        notes: Its notes.
        lost: The type names, by attribute, of the attributes that were left out.
    """

    args: list[Any]
    state: dict[str, Any] | None
    notes: list[str]
    lost: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the parts by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Parts:
        """Return the parts in a record, which may have other keys."""
        return cls(**{field.name: record[field.name] for field in dataclasses.fields(cls)})


def dump_error(serializer: ClassSerializer, error: BaseException) -> str:
    """Return ``error`` as text, or its description if it can't be rebuilt. Never raises."""
    try:
        path = serializer.class_path(type(error))
        if path is not None:
            with _taking_apart(error):
                parts = _working_parts(serializer, error)
                return serializer.dumps(_describe(error) | parts.as_dict())
    except Exception:
        # The class's own __init__, __str__ or attributes may raise anything.
        pass
    return dump_stand_in(serializer, error)


def dump_stand_in(serializer: ClassSerializer, error: BaseException) -> str:
    """Return the description of any error, as text that load_error() reads as a RecordedError."""
    description = _describe(error)
    return serializer.dumps(description | {"args": None, "args_text": _args_text(error)})


def load_error(serializer: ClassSerializer, text: str) -> BaseException:
    """Return the recorded exception, with its ``recorded_traceback``.

    Raises:
        UnknownTypeInHistory: Its class, or a type in its ``args``, can't be found.
    """
    record = _load_record(serializer, text)
    path, recorded_traceback = record["error"], record["traceback"]
    if record["args"] is None:
        return exceptions.RecordedError(path, record["args_text"], recorded_traceback)

    cls = serializer.rebuildable_class(path, codec_for(serializer))
    error = _rebuild_recorded(cls, record)
    vars(error)["recorded_traceback"] = recorded_traceback
    # A frozen class refuses assignments.
    object.__setattr__(error, "__cause__", RecordedTraceback(recorded_traceback))
    return error


def load_error_or_stand_in(serializer: ClassSerializer, text: str) -> BaseException:
    """Return the recorded exception, or a RecordedError if load_error() would raise."""
    try:
        return load_error(serializer, text)
    except exceptions.SerializationError:
        return stand_in_for(serializer, text)


def stand_in_for(serializer: ClassSerializer, text: str) -> exceptions.RecordedError:
    """Return a RecordedError with the recorded message and traceback."""
    summary = summarize_error(serializer, text)
    return exceptions.RecordedError(summary.class_path, f"({summary.message!r})", summary.traceback)


def round_trip_error(serializer: ClassSerializer, error: BaseException, text: str) -> BaseException:
    """Return the exception that a replay of ``text`` will raise for ``error``.

    The first run raises it too. It is ``error`` itself if nothing of it is lost: its traceback and
    causes, which a replay has only as text, stay intact.
    """
    record = _load_record(serializer, text)
    if record["args"] is not None and record["state"] is not None and not record["lost"]:
        vars(error)["recorded_traceback"] = record["traceback"]
        return error

    rebuilt = load_error(serializer, text)
    object.__setattr__(rebuilt, "__cause__", error)
    return rebuilt.with_traceback(error.__traceback__)


def summarize_error(serializer: ClassSerializer, text: str) -> ErrorSummary:
    """Return the summary of a recorded error, whether or not its class can be found."""
    record = serializer.to_plain(text)
    try:
        return ErrorSummary(
            class_path=record["error"].replace(":", "."),
            message=record["message"],
            traceback=record["traceback"],
        )
    except (TypeError, LookupError, AttributeError) as error:
        raise _not_an_error(text) from error


def codec_for(serializer: ClassSerializer) -> codecs.ClassCodec:
    """Return the codec for exceptions as values: returned or sent instead of raised."""

    def encode(error: BaseException) -> dict[str, Any]:
        with _taking_apart(error):
            parts = _working_parts(serializer, error)
        if parts.lost:
            raise codecs.Refused(f"its attribute {next(iter(parts.lost))!r} can't be recorded.")
        return parts.as_dict()

    return codecs.ClassCodec(
        tag="exception",
        accepts=lambda cls: issubclass(cls, BaseException),
        encode=encode,
        decode=_rebuild_recorded,
        plain=lambda path, payload: {"error": path.replace(":", "."), "args": payload["args"]},
    )


# An exception may contain others and even itself, as Django's ValidationError does. Each one is
# tried inside the trial of its container, so the number of trials grows exponentially with depth.
_being_taken_apart: ContextVar[tuple[BaseException, ...]] = ContextVar(
    "being_taken_apart", default=()
)
_MAX_NESTED = 4


@contextmanager
def _taking_apart(error: BaseException) -> Iterator[None]:
    outer = _being_taken_apart.get()
    if any(container is error for container in outer):
        raise codecs.Refused("it contains itself.")
    if len(outer) == _MAX_NESTED:
        raise codecs.Refused(f"exceptions are nested more than {_MAX_NESTED} deep.")

    token = _being_taken_apart.set((*outer, error))
    try:
        yield
    finally:
        _being_taken_apart.reset(token)


def _working_parts(serializer: ClassSerializer, error: BaseException) -> Parts:
    restored = _restorable_parts(serializer, error)
    called = dataclasses.replace(restored, state=None, lost={})
    for parts in [called, restored] if restored.lost else [restored, called]:
        if _comes_back(serializer, error, parts):
            return parts
    raise codecs.Refused("it comes back with other args or another message.")


def _restorable_parts(serializer: ClassSerializer, error: BaseException) -> Parts:
    attributes = {**_reduced(error)[1], **class_codecs.state_of(error)}
    state = {}
    lost = {}
    for name, value in attributes.items():
        if name in _NOT_STATE:
            continue
        try:
            serializer.dumps(value)
            state[name] = value
        except exceptions.SerializationError:
            lost[name] = codecs.type_name(type(value))
    return Parts(args=_reduced(error)[0], state=state, notes=_notes(error), lost=lost)


def _reduced(error: BaseException) -> tuple[list[Any], dict[str, Any]]:
    # The __reduce__ of the built-in class includes state that is kept in C, such as an OSError's
    # file name. The __reduce__ of a subclass isn't used: it could return any function to call.
    _, args, *state = _builtin_base(type(error)).__reduce__(error)
    return list(args), state[0] if state and state[0] else {}


def _builtin_base(cls: type) -> Any:
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def _comes_back(serializer: ClassSerializer, error: BaseException, parts: Parts) -> bool:
    recorded = serializer.loads(serializer.dumps(parts.as_dict()))
    try:
        rebuilt = _rebuild(type(error), Parts.from_dict(recorded))
        same_args = serializer.dumps(_reduced(rebuilt)[0]) == serializer.dumps(parts.args)
        return same_args and str(rebuilt) == str(error)
    except Exception:
        # The class's own code may raise anything.
        return False


def _rebuild_recorded(cls: type, record: dict[str, Any]) -> BaseException:
    try:
        return _rebuild(cls, Parts.from_dict(record))
    except Exception as error:
        raise exceptions.UnknownTypeInHistory(
            f"A {codecs.type_name(cls)} was recorded, but can no longer be rebuilt "
            f"({type(error).__name__}: {error}). Make its class accept the same args as before."
        ) from error


def _rebuild(cls: type, parts: Parts) -> BaseException:
    error: BaseException
    if parts.state is None:
        error = cls(*parts.args)
    else:
        base = _builtin_base(cls)
        error = base.__new__(cls, *parts.args)
        base.__init__(error, *parts.args)
        for name, value in parts.state.items():
            object.__setattr__(error, name, value)

    lost = [f"Attribute {name!r} ({kind}) wasn't recorded." for name, kind in parts.lost.items()]
    if parts.notes or lost:
        vars(error)["__notes__"] = [*parts.notes, *lost]
    return error


def _describe(error: BaseException) -> dict[str, Any]:
    cls = type(error)
    return {
        "error": f"{cls.__module__}:{cls.__qualname__}",
        "message": _cut(_safely(str, error), _MAX_TEXT),
        "traceback": _cut(_safely(_format, error), _MAX_TRACEBACK),
    }


def _format(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _args_text(error: BaseException) -> str:
    return _cut(f"({', '.join(_safely(repr, arg) for arg in error.args)})", _MAX_TEXT)


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    return [note for note in notes if type(note) is str] if isinstance(notes, list) else []


def _safely(describe: Any, value: object) -> str:
    try:
        text: str = describe(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose description raised {type(error).__name__}>"
    # A description must always be storable, and no database stores lone surrogates.
    return text.encode(errors="backslashreplace").decode()


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _load_record(serializer: ClassSerializer, text: str) -> dict[str, Any]:
    record = serializer.loads(text)
    if not isinstance(record, dict) or not {"error", "traceback", "args"} <= record.keys():
        raise _not_an_error(text)
    return record


def _not_an_error(text: str) -> exceptions.SerializationError:
    return exceptions.SerializationError(
        f"The recorded text {text[:80]!r} doesn't contain an error. Check whether it was changed "
        "by hand or by another program."
    )
