"""Serialization of errors: a replay raises the same errors as the first run."""

from __future__ import annotations

import dataclasses
import json
import threading
import traceback
from typing import Any

import pytest

from django_dbos import exceptions
from django_dbos.core.values import errors
from django_dbos.core.values.json import JSONSerializer

serializer = JSONSerializer()


class Declined(Exception):
    """Takes other arguments than it passes to its base class, and counts its calls."""

    calls = 0

    def __init__(self, code: int, *, card: str) -> None:
        super().__init__(f"card {card} was declined with {code}")
        self.code = code
        self.card = card
        Declined.calls += 1


class Silent(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclasses.dataclass
class DataError(Exception):
    code: int
    reason: str = "unknown"


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int


class MissingFile(FileNotFoundError):
    pass


class HttpError(Exception):
    """Can be called with its args, but then lacks its response, like errors of HTTP clients."""

    def __init__(self, message: str, response: object = None) -> None:
        super().__init__(message)
        self.response = response


class ApiError(Exception):
    """Can't be called with its args, and has an attribute that can't be recorded."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"status {response.status}")
        self.response = response
        self.status = response.status


class SelfContained(Exception):
    """Contains itself, as Django's ValidationError does, and needs it for its message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.all_of_them = [self]

    def __str__(self) -> str:
        return f"{len(self.all_of_them)}: {self.args[0]}"


class Evil(Exception):
    ran = False

    def __reduce__(self) -> Any:
        Evil.ran = True
        return exec, ("raise SystemExit",)


class BadStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no description")

    __repr__ = __str__


class Changing(Exception):
    """Has another message each time."""

    asked = 0

    def __str__(self) -> str:
        Changing.asked += 1
        return str(Changing.asked)


class Outer:
    class Inner(Exception):
        pass


class Response:
    status = 500


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def dump(error: BaseException) -> str:
    text = errors.dump_error(serializer, error)
    json.loads(text)
    text.encode()
    return text


def load(text: str) -> BaseException:
    return errors.load_error(serializer, text)


def first_run(error: BaseException) -> BaseException:
    return errors.round_trip_error(serializer, error, dump(error))


WHOLE = [
    Exception(),
    ValueError("bad", 5, ("a", {1: 2})),
    KeyError("key"),
    OSError("odd"),
    FileNotFoundError(2, "No such file", "data.csv"),
    FileExistsError(17, "File exists", "a", None, "b"),
    MissingFile(2, "No such file", "data.csv"),
    ConnectionResetError(104, "reset"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    SyntaxError("bad", ("x.py", 1, 2, "x y", 1, 3)),
    ImportError("no module", name="shop", path="/shop"),
    StopIteration(5),
    SystemExit(3),
    KeyboardInterrupt(),
    AssertionError(),
    ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [KeyError("z")])]),
    BaseExceptionGroup("several", [KeyboardInterrupt()]),
    Declined(51, card="4711"),
    Silent(5),
    Slotted(5),
    DataError(5),
    DataError(code=5, reason="x"),
    FrozenError(5),
    Outer.Inner("nested"),
    exceptions.WaitTimeout("a message", 1.5),
    exceptions.RecordedError("gone.Error", "(1)", "Traceback"),
]


@pytest.mark.parametrize("error", WHOLE, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_with_its_type_args_attributes_and_message(error: Any) -> None:
    loaded = load(dump(error))

    assert type(loaded) is type(error)
    assert repr(loaded.args) == repr(error.args)
    assert str(loaded) == str(error)
    assert attributes(loaded) == attributes(error)


@pytest.mark.parametrize("error", WHOLE, ids=lambda error: type(error).__name__)
def test_the_first_run_keeps_an_error_that_loses_nothing(error: BaseException) -> None:
    assert first_run(error) is error


def test_state_that_is_kept_in_c_comes_back() -> None:
    missing: Any = load(dump(FileNotFoundError(2, "No such file", "data.csv")))
    wrong: Any = load(dump(ImportError("no module", name="shop")))
    bad: Any = load(dump(SyntaxError("bad", ("x.py", 1, 2, "x y", 1, 3))))

    assert (missing.errno, missing.filename) == (2, "data.csv")
    assert wrong.name == "shop"
    assert (bad.filename, bad.lineno) == ("x.py", 1)


def test_restoring_an_error_does_not_call_it() -> None:
    text = dump(Declined(51, card="4711"))
    calls = Declined.calls

    load(text)

    assert Declined.calls == calls


def test_a_custom_reduce_is_never_called() -> None:
    loaded = load(dump(Evil("x")))

    assert type(loaded) is Evil
    assert not Evil.ran


def test_the_members_of_a_group_come_back() -> None:
    loaded: Any = load(dump(ExceptionGroup("several", [ValueError(1), Declined(5, card="a")])))

    assert [type(error) for error in loaded.exceptions] == [ValueError, Declined]
    assert loaded.exceptions[1].code == 5


def test_notes_come_back() -> None:
    error = ValueError("bad")
    error.add_note("attempt 1 of 3")

    loaded = load(dump(error))

    assert loaded.__notes__ == ["attempt 1 of 3"]


# The traceback


def test_the_traceback_is_recorded_with_its_causes() -> None:
    loaded: Any = load(dump(raised(ValueError("outer"), KeyError("inner"))))

    assert "raise error from cause" in loaded.recorded_traceback
    assert "KeyError: 'inner'" in loaded.recorded_traceback
    assert "The above exception was the direct cause" in loaded.recorded_traceback


def test_a_printed_replayed_error_shows_the_original_traceback() -> None:
    printed = "".join(traceback.format_exception(load(dump(raised(ValueError("bad"))))))

    assert "raise error from cause" in printed


def test_the_first_run_has_the_recorded_traceback_too() -> None:
    error: Any = first_run(raised(ValueError("bad")))

    assert "raise error from cause" in error.recorded_traceback
    assert error.__traceback__ is not None


def test_recording_an_error_again_changes_nothing() -> None:
    """A step's error becomes its workflow's, and that the parent workflow's."""
    loaded: Any = load(dump(raised(Declined(51, card="4711"))))

    again: Any = load(dump(raised(loaded)))

    assert vars(again).keys() == vars(loaded).keys()
    assert (again.code, again.args) == (51, loaded.args)
    assert loaded.recorded_traceback in again.recorded_traceback


def test_a_very_long_traceback_is_shortened() -> None:
    error = ValueError("x" * 100_000)

    text = dump(recorded_twice := raised(error))

    assert str(load(text)) == str(recorded_twice)
    assert len(text) < 130_000
    assert "characters left out" in text


# Errors that can't be restored completely


def test_an_error_that_can_be_called_with_its_args_is_called() -> None:
    error = raised(HttpError("404", Response()))

    loaded: Any = load(dump(error))

    assert (type(loaded), loaded.args, loaded.response) == (HttpError, ("404",), None)


def test_an_error_that_contains_itself_is_called() -> None:
    error = SelfContained("bad")

    loaded: Any = load(dump(error))

    assert str(loaded) == "1: bad"
    assert loaded.all_of_them == [loaded]


def test_an_attribute_that_cannot_be_recorded_is_mentioned_in_a_note() -> None:
    loaded: Any = load(dump(raised(ApiError(Response()))))

    assert (type(loaded), loaded.args, loaded.status) == (ApiError, ("status 500",), 500)
    assert not hasattr(loaded, "response")
    assert loaded.__notes__ == [f"Attribute 'response' ({__name__}.Response) wasn't recorded."]


def test_the_first_run_lacks_the_same_attributes_as_a_replay() -> None:
    error = raised(ApiError(Response()))

    seen = first_run(error)

    assert type(seen) is ApiError
    assert not hasattr(seen, "response")
    assert seen.__traceback__ is error.__traceback__
    assert seen.__cause__ is error


def local_error() -> BaseException:
    class Local(Exception):
        pass

    return Local("bad", 5)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (local_error(), "tests.core.test_recorded_errors.local_error.<locals>.Local('bad', 5)"),
        (ValueError("bad", 1j), "builtins.ValueError('bad', 1j)"),
        (ValueError("a\ud800"), r"builtins.ValueError('a\ud800')"),
        (ValueError(float("nan")), "builtins.ValueError(nan)"),
        (ExceptionGroup("g", [local_error()]), "builtins.ExceptionGroup('g', [Local('bad', 5)])"),  # type: ignore[type-var]
        (Changing("x"), "tests.core.test_recorded_errors.Changing('x')"),
        (BadStr("x"), "tests.core.test_recorded_errors.BadStr('x')"),
        (ValueError(BadStr("x")), "builtins.ValueError(<BadStr, whose description raised Runtime"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_first_run_raises_a_stand_in_for_an_error_that_cannot_be_rebuilt(
    error: BaseException, message: str
) -> None:
    error = raised(error)
    text = dump(error)

    seen, replayed = errors.round_trip_error(serializer, error, text), load(text)

    for stand_in in (seen, replayed):
        assert type(stand_in) is exceptions.RecordedError
        assert message in str(stand_in)
        assert "raise error from cause" in stand_in.traceback_text
    assert seen.args == replayed.args
    assert seen.__cause__ is error


def test_recording_a_stand_in_again_changes_nothing() -> None:
    stand_in = load(dump(local_error()))

    again = load(dump(raised(stand_in)))

    assert type(again) is exceptions.RecordedError
    assert again.args == stand_in.args


def test_errors_that_contain_each_other_are_recorded() -> None:
    one, other = Silent(1), Silent(2)
    one.other, other.other = other, one  # type: ignore[attr-defined]

    loaded: Any = load(dump(one))

    assert (type(loaded), loaded.code) == (Silent, 1)


def test_deeply_nested_groups_are_recorded_quickly() -> None:
    error: Exception = ValueError("core")
    for _ in range(50):
        error = ExceptionGroup("g", [error])

    assert type(load(dump(error))) is exceptions.RecordedError


def test_errors_are_recorded_in_several_threads_at_once() -> None:
    error = SelfContained("bad")
    results: list[str] = []

    def work() -> None:
        results.extend(str(load(dump(error))) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == ["1: bad"] * 200


# Reading in a process with another class or none


def renamed(text: str) -> str:
    return text.replace(":Declined", ":Renamed")


def test_a_missing_class_is_an_unknown_type() -> None:
    text = renamed(dump(Declined(51, card="4711")))

    with pytest.raises(exceptions.UnknownTypeInHistory, match="test_recorded_errors:Renamed"):
        load(text)


def test_reports_get_a_stand_in_for_an_unknown_class() -> None:
    text = renamed(dump(raised(Declined(51, card="4711"))))

    error = errors.load_error_or_stand_in(serializer, text)

    assert type(error) is exceptions.RecordedError
    assert str(error) == f"{__name__}.Renamed('card 4711 was declined with 51')"
    assert "raise error from cause" in error.traceback_text


def test_reports_get_the_error_itself_if_its_class_is_known() -> None:
    error = errors.load_error_or_stand_in(serializer, dump(Declined(51, card="4711")))

    assert type(error) is Declined


def test_a_class_that_no_longer_accepts_its_args_is_an_unknown_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = dump(HttpError("404", Response()))

    def refuse(self: object, message: str) -> None:
        raise RuntimeError("changed")

    monkeypatch.setattr(HttpError, "__init__", refuse)

    with pytest.raises(exceptions.UnknownTypeInHistory, match="changed"):
        load(text)


def test_only_exceptions_are_rebuilt() -> None:
    text = dump(Declined(51, card="4711")).replace(":Declined", ":Response")

    with pytest.raises(exceptions.UnknownTypeInHistory, match="isn't one"):
        load(text)


def test_a_summary_needs_no_class() -> None:
    summary = errors.summarize_error(serializer, renamed(dump(raised(ValueError("x")))))

    assert (summary.class_path, summary.message) == ("builtins.ValueError", "x")
    assert "raise error from cause" in summary.traceback


@pytest.mark.parametrize("text", ["5", "[]", "{}", '{"error":5}', '{"$decimal":"1"}', "null"])
def test_a_text_without_an_error_is_refused(text: str) -> None:
    with pytest.raises(exceptions.SerializationError, match="doesn't contain an error"):
        load(text)
    with pytest.raises(exceptions.SerializationError, match="doesn't contain an error"):
        errors.summarize_error(serializer, text)


# Exceptions as values


def test_an_exception_as_a_value_comes_back() -> None:
    loaded = serializer.loads(serializer.dumps({"errors": [Declined(51, card="a"), KeyError(1)]}))

    assert [type(error) for error in loaded["errors"]] == [Declined, KeyError]
    assert loaded["errors"][0].code == 51


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ApiError(Response()), "its attribute 'response' can't be recorded"),
        (local_error(), "can't be found again by its name"),
        (Changing("x"), "it comes back with other args or another message"),
        (ValueError(1j), "type complex isn't registered"),
    ],
)
def test_an_exception_as_a_value_is_refused_if_it_would_lose_something(
    error: BaseException, message: str
) -> None:
    with pytest.raises(exceptions.SerializationError, match=message):
        serializer.dumps([error])


def attributes(error: BaseException) -> dict[str, Any]:
    ours = {"recorded_traceback", "__notes__"}
    values = {name: value for name, value in vars(error).items() if name not in ours}
    return values | {"code": getattr(error, "code", None)}
