"""RetryAfter: a step says when it is tried again, and the attempt isn't counted."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.utils import timezone
from django.utils.http import http_date

import django_dbos as dbos
from django_dbos.core.values import errors
from django_dbos.core.values.json import JSONSerializer
from django_dbos.models import Checkpoint
from django_dbos.testing import advance, run_until_idle
from tests.crashing import Crash, crash_after, recover

HOUR = 3_600
attempts: list[int] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    attempts.clear()


def answer(refusals: int, delay: float) -> int:
    """Refuse the first calls as a service does that has too many requests."""
    current = dbos.current_workflow()
    assert current is not None
    attempts.append(current.attempt)
    if len(attempts) <= refusals:
        raise dbos.RetryAfter(delay)
    return len(attempts)


@dbos.step
def asks(refusals: int, delay: float) -> int:
    return answer(refusals, delay)


@dbos.step
async def aasks(refusals: int, delay: float) -> int:
    return answer(refusals, delay)


@dbos.step(atomic=True)
def asks_in_transaction(refusals: int, delay: float) -> int:
    Group.objects.create(name=f"attempt {len(attempts)}")
    return answer(refusals, delay)


@dbos.step(atomic=True, using="other")
def asks_in_another(refusals: int, delay: float) -> int:
    Group.objects.using("other").create(name=f"attempt {len(attempts)}")
    return answer(refusals, delay)


@dbos.workflow
def sync_one(refusals: int, delay: float = HOUR) -> int:
    return asks(refusals, delay)


@dbos.workflow
def atomic_one(refusals: int, delay: float = HOUR) -> int:
    return asks_in_transaction(refusals, delay)


@dbos.workflow
def atomic_elsewhere(refusals: int, delay: float = HOUR) -> int:
    return asks_in_another(refusals, delay)


@dbos.workflow
async def async_one(refusals: int, delay: float = HOUR) -> int:
    return await aasks(refusals, delay)


@dbos.workflow
async def async_of_sync(refusals: int, delay: float = HOUR) -> int:
    return await asks.acall(refusals, delay)


@dbos.workflow
async def async_of_atomic(refusals: int, delay: float = HOUR) -> int:
    return await asks_in_transaction.acall(refusals, delay)


@dbos.workflow
def by_run_step(refusals: int, delay: float = HOUR) -> int:
    return dbos.run_step(answer, refusals, delay)


KINDS = [
    sync_one, atomic_one, atomic_elsewhere, async_one, async_of_sync, async_of_atomic, by_run_step,
]  # fmt: skip
database = pytest.mark.django_db(databases=["default", "other"])


@database
@pytest.mark.rule(65)
@pytest.mark.parametrize("workflow", KINDS)
def test_a_step_is_tried_again_then_without_counting_an_attempt(workflow: Any) -> None:
    handle = workflow.start(2)

    for refused in (1, 2):
        run_until_idle()
        assert handle.get_status() == "WAITING"
        assert handle.describe().waits_for == "a step, which was told to try again in 3600 s"
        (step,) = handle.steps()
        assert (step.attempts, step.state) == (0, Checkpoint.State.WAITING)
        assert attempts == [1] * refused
        advance(HOUR - 60)
        run_until_idle()
        assert attempts == [1] * refused
        advance(61)
    run_until_idle()

    assert handle.get_result() == 3
    assert attempts == [1, 1, 1]
    (step,) = handle.steps()
    assert (step.attempts, step.output) == (1, 3)
    kept = [{**failed, "at": "", "seconds": 0} for failed in step.attempt_errors]
    told = {"attempt": 1, "error": "told to try again in 3600 s", "retry_after": 3600.0}
    assert kept == [{**told, "at": "", "seconds": 0}] * 2


@database
@pytest.mark.rule(65)
@pytest.mark.parametrize("workflow", KINDS)
def test_a_crash_neither_counts_nor_shortens_the_delay(workflow: Any) -> None:
    handle = workflow.start(1)

    # The time is recorded, the suspension isn't.
    with crash_after(1), pytest.raises(Crash):
        run_until_idle()
    recover()
    run_until_idle()

    assert attempts == [1]
    assert handle.get_status() == "WAITING"
    assert handle.describe().waits_for == "a step, which was told to try again in 3600 s"
    advance(HOUR + 1)
    run_until_idle()
    assert handle.get_result() == 2
    assert attempts == [1, 1]


@pytest.mark.django_db
def test_it_is_beside_the_attempts_that_count() -> None:
    """Also when they are used up, and for a step that isn't retried after any error."""

    @dbos.step(max_attempts=2, interval=HOUR, retry_on=ConnectionError)
    def both() -> None:
        current = dbos.current_workflow()
        assert current is not None
        attempts.append(current.attempt)
        if len(attempts) in (1, 3):
            raise dbos.RetryAfter(HOUR)
        raise ConnectionError("down")

    @dbos.workflow
    def asks_both() -> None:
        both()

    handle = asks_both.start()
    for _ in range(4):
        run_until_idle()
        advance(HOUR + 1)

    with pytest.raises(ConnectionError, match="down") as caught:
        handle.get_result()
    assert attempts == [1, 1, 2, 2]
    (step,) = handle.steps()
    assert step.attempts == 2
    assert [(error["attempt"], error["error"]) for error in step.attempt_errors] == [
        (1, "told to try again in 3600 s"),
        (1, "ConnectionError: down"),
        (2, "told to try again in 3600 s"),
        (2, "ConnectionError: down"),
    ]
    assert "failed in each of 2 attempts" in caught.value.__notes__[0]


@pytest.mark.django_db
@pytest.mark.parametrize("workflow", [sync_one, async_one, async_of_sync])
def test_a_short_delay_keeps_the_slot(workflow: Any) -> None:
    assert workflow.acall is not None
    handle = workflow.start(3, 0.001)

    run_until_idle()

    assert handle.get_result() == 4


@pytest.mark.django_db
def test_a_called_workflow_waits_on_its_thread() -> None:
    assert sync_one(2, 0.001) == 3


@pytest.mark.django_db
def test_the_deadline_ends_an_endless_one() -> None:
    handle = sync_one.using(timeout=3 * HOUR).start(1_000_000)

    for _ in range(5):
        run_until_idle()
        advance(HOUR + 1)
    run_until_idle()

    assert handle.get_status() == "CANCELLED"
    assert len(attempts) == 3


@pytest.mark.django_db
def test_only_the_last_hundred_refusals_are_kept() -> None:
    handle = sync_one.start(120, 0)
    run_until_idle()

    (step,) = handle.steps()
    assert len(step.attempt_errors) == 100
    assert handle.get_result() == 121


@pytest.mark.django_db
@pytest.mark.rule(21)
def test_concurrent_branches_wait_in_the_run() -> None:
    refused: set[str] = set()

    @dbos.step
    async def once(name: str) -> str:
        if name not in refused:
            refused.add(name)
            raise dbos.RetryAfter(0.01)
        return name

    @dbos.workflow
    async def branches() -> list[str]:
        return list(await asyncio.gather(once("a"), once("b"), once("c")))

    handle = branches.start()
    with crash_after(1), pytest.raises(Crash):
        run_until_idle()
    recover()
    run_until_idle()

    assert handle.get_result() == ["a", "b", "c"]
    assert [(step.attempts, len(step.attempt_errors)) for step in handle.steps()] == [(1, 1)] * 3


@pytest.mark.django_db
def test_a_retried_step_is_replayed() -> None:
    @dbos.workflow
    def goes_on() -> int:
        number = asks(1, HOUR)
        dbos.sleep(HOUR)
        return number

    handle = goes_on.start()
    for _ in range(3):
        run_until_idle()
        advance(HOUR + 1)

    assert handle.get_result() == 2
    assert attempts == [1, 1]


@pytest.mark.django_db
@pytest.mark.parametrize("fails", [False, True])
def test_a_group_of_them_counts_as_the_longest(fails: bool) -> None:
    """As of a TaskGroup whose tasks ask several services."""

    @dbos.step
    async def asks_many() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            others = [ValueError("no")] if fails else []
            told = [dbos.RetryAfter(60), ExceptionGroup("", [dbos.RetryAfter(HOUR)])]
            raise ExceptionGroup("refused", [*told, *others])
        return len(attempts)

    @dbos.workflow
    async def many() -> int:
        return await asks_many()

    handle = many.start()
    run_until_idle()

    if fails:
        with pytest.raises(ExceptionGroup, match="refused"):
            handle.get_result()
        return
    assert handle.describe().waits_for == "a step, which was told to try again in 3600 s"
    advance(HOUR + 1)
    run_until_idle()
    assert handle.get_result() == 2


@pytest.mark.django_db
def test_a_step_within_a_step_passes_it_on() -> None:
    @dbos.step
    def outer() -> int:
        return asks(1, HOUR)

    @dbos.workflow
    def nested() -> int:
        return outer()

    handle = nested.start()
    run_until_idle()
    advance(HOUR + 1)
    run_until_idle()

    assert handle.get_result() == 2
    assert len(handle.steps()) == 1


@pytest.mark.django_db
def test_outside_of_steps_it_is_an_error_like_any_other() -> None:
    @dbos.workflow
    def wrong() -> None:
        raise dbos.RetryAfter(5)

    handle = wrong.start()
    run_until_idle()

    assert handle.get_status() == "ERROR"
    with pytest.raises(dbos.RetryAfter, match="in 5 s"):
        handle.get_result()
    with pytest.raises(dbos.RetryAfter):
        raise dbos.RetryAfter(1)


@pytest.mark.django_db
def test_a_wrong_delay_fails_the_step() -> None:
    handle = sync_one.start(1, -5)
    run_until_idle()

    with pytest.raises(ValueError, match="RetryAfter can't be negative, but is -5"):
        handle.get_result()
    assert attempts == [1]


@pytest.mark.django_db
def test_it_is_logged_and_told_to_subscribers(caplog: pytest.LogCaptureFixture) -> None:
    from django_dbos import telemetry

    seen: list[Any] = []

    class Seen(telemetry.Subscriber):
        def step_put_off(self, step: Any, seconds: float) -> None:
            seen.append((step.step_name, seconds))

    subscriber = Seen()
    telemetry.subscribe(subscriber)
    try:
        with caplog.at_level(logging.WARNING, "django_dbos.executor"):
            sync_one.start(1)
            run_until_idle()
    finally:
        telemetry.unsubscribe(subscriber)

    assert seen == [("asks", 3600.0)]
    (record,) = [one for one in caplog.records if "was told to try again in" in one.message]
    assert record.workflow_name == sync_one.name  # type: ignore[attr-defined]


# Delays


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [(30, 30.0), (0, 0.0), (2.5, 2.5), (timedelta(minutes=2), 120.0)],
)
def test_a_delay_is_seconds_or_a_timedelta(delay: Any, seconds: float) -> None:
    error = dbos.RetryAfter(delay)

    assert error.seconds == seconds
    assert error.args == (seconds,)
    assert str(error) == f"told to try again in {seconds:g} s"


@pytest.mark.parametrize(("ahead", "seconds"), [(90, 90.0), (-90, 0.0)])
def test_a_delay_may_be_an_instant(ahead: float, seconds: float) -> None:
    error = dbos.RetryAfter(timezone.now() + timedelta(seconds=ahead))

    assert seconds - 30 < error.seconds <= seconds


@pytest.mark.parametrize(
    ("delay", "message"),
    [
        (None, "needs seconds, a timedelta or an instant, not None"),
        ("30", "RetryAfter must be an instant, seconds or a timedelta, not str '30'"),
        (True, "not bool True"),
        (-1, "can't be negative"),
        (float("nan"), "must be a finite number"),
        (float("inf"), "must be a finite number"),
        (1e12, "can't be more than 1,000 years"),
        (timedelta.max, "can't be more than 1,000 years"),
        (datetime.max.replace(tzinfo=UTC), "can't be more than 1,000 years"),
    ],
)
def test_wrong_delays_are_refused(delay: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        dbos.RetryAfter(delay)


@pytest.mark.skipif(not settings.USE_TZ, reason="Naive times are local then.")
def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="aware of its time zone"):
        dbos.RetryAfter(datetime(2030, 1, 1))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("Sun Nov  6 08:49:37 1994", 0.0),
    ],
)
def test_a_header_is_read(value: str, seconds: float) -> None:
    assert dbos.RetryAfter.from_header(value).seconds == seconds


def test_a_date_in_a_header_is_read() -> None:
    later = http_date((timezone.now() + timedelta(seconds=300)).timestamp())

    assert 270 < dbos.RetryAfter.from_header(later).seconds <= 300


@pytest.mark.parametrize(
    "value", [None, "", "soon", "-5", "nan", "inf", "1e12", "Wed, 99 Oct 2015"]
)
def test_a_header_that_cant_be_read_needs_a_default(value: str | None) -> None:
    assert dbos.RetryAfter.from_header(value, default=60).seconds == 60
    with pytest.raises(ValueError, match="Give a default") as caught:
        dbos.RetryAfter.from_header(value)
    assert repr(value) in str(caught.value)


def test_it_survives_pickling_copying_and_being_recorded() -> None:
    error, serializer = dbos.RetryAfter(30), JSONSerializer()

    recorded = errors.load_error(serializer, errors.dump_error(serializer, error))

    for other in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), recorded):
        assert type(other) is dbos.RetryAfter
        assert (other.args, other.seconds, str(other)) == (error.args, 30.0, str(error))
