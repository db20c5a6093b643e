"""Steps: recorded once, retried, and replayed with the same outcome."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction

import django_dbos as dbos
from django_dbos.models import AtomicCheckpoint, Checkpoint, Workflow
from django_dbos.testing import run_until_idle
from tests.crashing import Crash, crash_after, recover

pytestmark = pytest.mark.django_db

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


@dbos.step
def note(value: Any) -> Any:
    calls.append(value)
    return value


@dbos.step
async def anote(value: Any) -> Any:
    calls.append(value)
    return value


class Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dbos.step(max_attempts=3, interval=0)
def refuse(code: int) -> None:
    calls.append(code)
    raise Refused(code)


@dbos.step(max_attempts=3, interval=0, retry_on=KeyError)
def refuse_at_once() -> None:
    calls.append("once")
    raise Refused(7)


@dbos.step(atomic=True)
def create_group(name: str) -> str:
    calls.append(name)
    return Group.objects.create(name=name).name


@dbos.step(atomic=True, using="other")
def create_group_elsewhere(name: str) -> str:
    calls.append(name)
    return Group.objects.using("other").create(name=name).name


@dbos.workflow
def two_steps(first: Any, second: Any) -> list[Any]:
    return [note(first), note(second)]


@dbos.workflow
async def two_async_steps(first: Any, second: Any) -> list[Any]:
    return [await anote(first), await note.acall(second)]


@dbos.workflow
def refused(code: int) -> str:
    try:
        refuse(code)
    except Refused as error:
        return f"{error.code} {error.__notes__}"
    return "not refused"


@pytest.mark.parametrize("workflow", [two_steps, two_async_steps])
def test_a_recorded_step_never_runs_again(workflow: Any) -> None:
    handle = workflow.start("a", "b")

    with crash_after(1), pytest.raises(Crash):
        run_until_idle()
    recover()
    run_until_idle()

    assert handle.get_result() == ["a", "b"]
    # The crash came before the checkpoint of the second step, so that step ran twice.
    assert calls == ["a", "b", "b"]
    assert Checkpoint.objects.filter(workflow_id=handle.workflow_id).count() == 2


def test_a_step_outside_a_workflow_is_a_plain_call() -> None:
    assert note("plain") == "plain"

    assert not Checkpoint.objects.exists()


def test_a_step_in_a_step_is_part_of_it() -> None:
    @dbos.step
    def outer() -> Any:
        return note("inner")

    @dbos.workflow
    def nested() -> Any:
        return outer()

    nested()

    assert [checkpoint.step_name for checkpoint in Checkpoint.objects.all()] == [outer.name]


def test_the_last_error_is_raised_after_all_attempts_with_a_note() -> None:
    handle = refused.start(4)

    run_until_idle()

    assert calls == [4, 4, 4]
    assert "3 attempts" in handle.get_result()
    assert Checkpoint.objects.get().attempts == 3


def test_a_replayed_error_is_the_same_exception() -> None:
    handle = refused.start(4)
    # Two checks of the claim between the attempts, then the checkpoint.
    with crash_after(3), pytest.raises(Crash):
        run_until_idle()
    recover()

    run_until_idle()

    assert calls == [4, 4, 4]
    assert handle.get_result().startswith("4 ")


def test_only_the_given_errors_are_retried() -> None:
    @dbos.workflow
    def once() -> None:
        refuse_at_once()

    with pytest.raises(Refused):
        once()

    assert calls == ["once"]


def test_a_method_can_be_a_step() -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        @dbos.step
        def open(self, hour: int) -> str:
            return f"{self.name} opens at {hour}"

    @dbos.workflow
    def opening(name: str) -> str:
        return Shop(name).open(9)

    assert opening("Corner") == "Corner opens at 9"
    assert Checkpoint.objects.get().step_name.endswith("Shop.open")


def test_any_function_can_be_run_as_a_step() -> None:
    @dbos.workflow
    def inline_steps() -> list[int]:
        retried = dbos.step(name="summed", max_attempts=2)(sum)
        return [dbos.run_step(len, "abc"), dbos.run_step(retried, [1, 2])]

    assert inline_steps() == [3, 3]
    assert [one.step_name for one in Checkpoint.objects.order_by("step_number")] == [
        "len",
        "summed",
    ]


def test_an_atomic_step_commits_with_its_checkpoint_or_not_at_all(
    run_through_crashes: Any,
) -> None:
    @dbos.workflow
    def create(name: str) -> str:
        note("before")
        create_group(name)
        return note(name)

    numbers = iter(range(100))

    def check(handle: Any) -> None:
        assert Group.objects.filter(name=handle.get_result()).count() == 1

    writes = run_through_crashes(lambda: create.start(f"group {next(numbers)}"), check)

    assert writes >= 3


def test_an_atomic_step_that_fails_leaves_nothing() -> None:
    @dbos.step(atomic=True)
    def create_and_fail() -> None:
        Group.objects.create(name="half")
        raise Refused(1)

    @dbos.workflow
    def failing() -> None:
        create_and_fail()

    with pytest.raises(Refused):
        failing()

    assert not Group.objects.exists()
    assert Checkpoint.objects.get().error is not None


def test_a_step_that_breaks_its_transaction_breaks_nothing_else() -> None:
    @dbos.step
    def breaks() -> None:
        with transaction.atomic():
            Group.objects.create(name="same")
            Group.objects.create(name="same")

    @dbos.workflow
    def survives() -> str:
        try:
            breaks()
        except IntegrityError:
            return note("went on")
        return "no error"

    assert survives() == "went on"


@pytest.mark.rule(27)
@pytest.mark.django_db(databases=["default", "other"])
def test_an_atomic_step_on_another_database_is_recorded_there_too() -> None:
    @dbos.workflow
    def create_elsewhere(name: str) -> str:
        return create_group_elsewhere(name)

    handle = create_elsewhere.start("far")
    # It dies after the commit on the other database and before the copy is written here.
    with crash_after(0), pytest.raises(Crash):
        run_until_idle()
    Group.objects.using("other").get(name="far")
    assert not Checkpoint.objects.exists()
    recover()
    run_until_idle()

    assert handle.get_result() == "far"
    assert calls == ["far"]
    assert AtomicCheckpoint.objects.using("other").count() == 1
    assert Checkpoint.objects.get().output == "far"


@pytest.mark.rule(22)
def test_the_first_run_gets_the_same_values_as_a_replay(run_through_crashes: Any) -> None:
    values = [(1, "a"), {1: {2.5}}, b"\x00", None, {"$dict": 1}]

    @dbos.workflow
    def passes_on() -> list[Any]:
        return [note(value) for value in values]

    run_through_crashes(passes_on.start, lambda handle: _assert_equal(handle, values))


def _assert_equal(handle: Any, values: list[Any]) -> None:
    assert handle.get_result() == values
    assert [type(one) for one in handle.get_result()] == [type(one) for one in values]


async def test_an_async_step_is_limited_in_time(async_db: None) -> None:
    @dbos.step(timeout=0.01)
    async def slow() -> None:
        await asyncio.sleep(10)

    @dbos.workflow
    async def impatient() -> str:
        try:
            await slow()
        except TimeoutError as error:
            return str(error)
        return "in time"

    assert "longer than its timeout of 0.01 s" in await impatient()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"jitter": 2}, "jitter"),
        ({"backoff": 0.5}, "backoff"),
        ({"interval": -1}, "interval"),
        ({"using": "other"}, "atomic"),
        ({"timeout": 5}, "can't have a timeout"),
    ],
)
def test_a_step_with_invalid_options_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        dbos.step(**options)(len)


@pytest.mark.rule(27)
def test_an_async_step_cannot_be_atomic() -> None:
    async def asynchronous() -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match="can't be atomic"):
        dbos.step(atomic=True)(asynchronous)


def test_only_functions_can_be_steps() -> None:
    with pytest.raises(TypeError, match="takes a function"):
        dbos.step(3)  # type: ignore[call-overload]


def test_a_value_that_cannot_be_stored_fails_its_step() -> None:
    @dbos.workflow
    def returns_object() -> None:
        note(object())

    with pytest.raises(dbos.SerializationError, match="step 1"):
        returns_object()

    assert Workflow.objects.get().status == "ERROR"


class Receipt:
    """Return a value that can't be stored."""


@dbos.step(max_attempts=4, interval=0)
def returns(value: Any) -> Any:
    calls.append(1)
    return value


@dbos.step(max_attempts=4, interval=0)
async def areturns(value: Any) -> Any:
    calls.append(1)
    return value


@dbos.step(max_attempts=4, interval=0, atomic=True)
def returns_atomically(value: Any) -> Any:
    calls.append(1)
    return value


@dbos.step(max_attempts=4, interval=0)
def tells(value: Any) -> None:
    calls.append(1)
    two_steps.start(value, value)


@dbos.step(max_attempts=4, interval=0)
def publishes(value: Any) -> None:
    calls.append(1)
    dbos.set_event("receipt", value)


@pytest.mark.parametrize("make", [Receipt, lambda: "x" * 5_000_000], ids=["type", "size"])
@pytest.mark.parametrize(
    "step",
    [returns, returns_atomically, tells, publishes],
    ids=lambda one: one.__name__,
)
def test_a_value_that_cannot_be_recorded_ends_its_step_at_once(step: Any, make: Any) -> None:
    @dbos.workflow
    def pays() -> None:
        step(make())

    with pytest.raises((dbos.SerializationError, dbos.PayloadTooLarge)):
        pays()

    assert calls == [1]
    assert Checkpoint.objects.get().attempts == 1


async def test_a_value_that_cannot_be_recorded_ends_an_async_step_at_once(async_db: None) -> None:
    @dbos.workflow
    async def pays() -> None:
        await areturns(Receipt())

    @dbos.workflow
    async def pays_on_a_thread() -> None:
        await returns.acall(Receipt())

    for workflow in (pays, pays_on_a_thread):
        with pytest.raises(dbos.SerializationError):
            await workflow()

    assert calls == [1, 1]
