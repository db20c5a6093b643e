"""Exceptions to text and back: a replay catches what the first run caught.

An error is recorded with its class, ``args``, attributes, notes, message and traceback. It is
rebuilt in one of two ways, of which each is tried when the error is recorded:

* restored, as copying would: made without its ``__init__``, then given its attributes. One that
  can't be recorded is left out, and a note says so;
* called: ``cls(*args)``, where restoring would leave something out, or doesn't give the same error.

What comes back with other ``args`` or another message either way is recorded as text, and raised as
a RecordedError.
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
from django_dbos.core.values import codecs

_MAX_TRACEBACK = 20_000
_MAX_TEXT = 4_000

# Python and this module keep these on an exception; they are recorded apart from its own
# attributes.
_NOT_STATE = frozenset({"__notes__", "recorded_traceback"})


class RecordedTraceback(Exception):
    """The cause of a rebuilt exception: shows where it was raised at the time."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class ClassSerializer(Protocol):
    """Writes values and names their classes: the serializer, which stands above this module."""

    def dumps(self, value: Any) -> str:
        """Return `value` as text; raise SerializationError."""

    def loads(self, text: str) -> Any:
        """Return the value that dumps() made the text of."""

    def to_plain(self, text: str) -> codecs.JSONValue:
        """Return what the text holds as plain JSON values."""

    def class_path(self, cls: type) -> str | None:
        """Return "module:qualified.name" if that leads back to the class."""

    def rebuildable_class(self, path: str, codec: codecs.ClassCodec) -> type:
        """Return the class at `path`; raise UnknownTypeInHistory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """What can be said about a recorded error without rebuilding it."""

    class_path: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an exception is rebuilt from. Without ``state`` its class is called."""

    args: list[Any]
    state: dict[str, Any] | None
    notes: list[str]
    # The attributes that were left out, with their types.
    lost: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Parts:
        return cls(**{field.name: record[field.name] for field in dataclasses.fields(cls)})


def dump_error(serializer: ClassSerializer, error: BaseException) -> str:
    """Return ``error`` as text. Never raises: what can't be rebuilt is recorded as it looks."""
    try:
        path = serializer.class_path(type(error))
        if path is not None:
            with _taking_apart(error):
                parts = _working_parts(serializer, error)
                return serializer.dumps(_describe(error) | parts.as_dict())
    except Exception:
        # A foreign __init__, __str__ or attribute may raise anything. Such an error can't be
        # rebuilt.
        pass
    return dump_stand_in(serializer, error)


def dump_stand_in(serializer: ClassSerializer, error: BaseException) -> str:
    """Return text that load_error() makes a RecordedError of, whatever ``error`` is."""
    description = _describe(error)
    return serializer.dumps(description | {"args": None, "args_text": _args_text(error)})


def load_error(serializer: ClassSerializer, text: str) -> BaseException:
    """Return the exception that ``text`` was made of, with its ``recorded_traceback``.

    Raises UnknownTypeInHistory if its class, or a type in its ``args``, isn't known here.
    """
    record = _load_record(serializer, text)
    path, recorded_traceback = record["error"], record["traceback"]
    if record["args"] is None:
        return exceptions.RecordedError(path, record["args_text"], recorded_traceback)

    cls = serializer.rebuildable_class(path, codec_for(serializer))
    error = _rebuild_recorded(cls, record)
    vars(error)["recorded_traceback"] = recorded_traceback
    # Past what a frozen class makes of assignments.
    object.__setattr__(error, "__cause__", RecordedTraceback(recorded_traceback))
    return error


def load_error_or_stand_in(serializer: ClassSerializer, text: str) -> BaseException:
    """Return what load_error() does; where that raises, a RecordedError: for mere reports."""
    try:
        return load_error(serializer, text)
    except exceptions.SerializationError:
        return stand_in_for(serializer, text)


def stand_in_for(serializer: ClassSerializer, text: str) -> exceptions.RecordedError:
    """Return a RecordedError that says what was recorded."""
    summary = summarize_error(serializer, text)
    return exceptions.RecordedError(summary.class_path, f"({summary.message!r})", summary.traceback)


def round_trip_error(serializer: ClassSerializer, error: BaseException, text: str) -> BaseException:
    """Return what the first run must raise for ``error``: what a replay of ``text`` will raise.

    That is ``error`` itself if it comes back whole; it keeps its traceback and causes, which a
    replay has as text only.
    """
    record = _load_record(serializer, text)
    if record["args"] is not None and record["state"] is not None and not record["lost"]:
        vars(error)["recorded_traceback"] = record["traceback"]
        return error

    rebuilt = load_error(serializer, text)
    object.__setattr__(rebuilt, "__cause__", error)
    return rebuilt.with_traceback(error.__traceback__)


def summarize_error(serializer: ClassSerializer, text: str) -> ErrorSummary:
    """Return what ``text`` says about an error, whether or not its class is known here."""
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
    """Return the codec for exceptions that are values: returned or sent rather than raised."""

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


# An exception may hold others, and itself: Django's ValidationError does. Each is tried on its own,
# inside the trial of the one that holds it, so that few levels are many trials.
_being_taken_apart: ContextVar[tuple[BaseException, ...]] = ContextVar(
    "being_taken_apart", default=()
)
_MAX_NESTED = 4


@contextmanager
def _taking_apart(error: BaseException) -> Iterator[None]:
    outer = _being_taken_apart.get()
    if any(one is error for one in outer):
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
    attributes = {**_reduced(error)[1], **codecs.state_of(error)}
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
    # The built-in class's own __reduce__ knows what it keeps in C, such as an OSError's file name.
    # One that a subclass defines could name any function to call.
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
        # Whatever the class's own code raises.
        return False


def _rebuild_recorded(cls: type, record: dict[str, Any]) -> BaseException:
    try:
        return _rebuild(cls, Parts.from_dict(record))
    except Exception as error:
        raise exceptions.UnknownTypeInHistory(
            f"A {codecs.type_name(cls)} was recorded, but can't be rebuilt any more "
            f"({type(error).__name__}: {error}). Let its class accept what it did."
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

    lost = [f"Attribute {name!r} ({of}) wasn't recorded." for name, of in parts.lost.items()]
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
    # No database takes lone surrogates, and what describes an error must always be recorded.
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
        f"The recorded text {text[:80]!r} doesn't hold an error. Was it changed by hand, or by "
        "another program?"
    )
