"""Run a step: replay what was recorded, or attempt it, try again, and record how it ended.

An atomic step commits its checkpoint in its own transaction. On the workflow database the fence is
that transaction's last statement; on another one it is the primary key of the checkpoint there,
of which a copy goes to the workflow database (CORRECTNESS rules 12 and 27).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError

from django_dbos import serializers
from django_dbos.core import context
from django_dbos.core.backoff import delay_before_attempt
from django_dbos.core.context import StepScope
from django_dbos.core.records import Checkpoint, RecordStep, Write, run_key
from django_dbos.exceptions import DbosError, HistoryUnusable
from django_dbos.operations.run import Call, Run
from django_dbos.store import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds before an atomic step is repeated that failed through no fault of its own.
FIRST_REPEAT, LAST_REPEAT = 0.01, 2.0
# Serialization failures and deadlocks: the database asks for the transaction to be repeated.
REPEATABLE = frozenset({"40001", "40P01"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDefinition:
    """A step function, and what its decorator said of it. Durations are seconds."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    max_attempts: int = 1
    interval: float = 1.0
    backoff: float = 2.0
    max_interval: float = 3600.0
    jitter: float = 0.0
    retry_on: tuple[type[Exception], ...] = (Exception,)
    timeout: float | None = None
    is_atomic: bool = False
    using: str | None = None

    def delay_before(self, attempt: int) -> float:
        """Seconds to wait before an attempt; the first is 1."""
        return delay_before_attempt(
            attempt,
            interval=self.interval,
            backoff=self.backoff,
            max_interval=self.max_interval,
            jitter=self.jitter,
        )

    def is_last(self, attempt: int, error: BaseException) -> bool:
        """Whether an attempt that raised this error isn't followed by another."""
        return attempt >= self.max_attempts or not isinstance(error, self.retry_on)


class Recorder:
    """What a step came to: its value or error as it will be recorded, and how it got there."""

    def __init__(self, call: Call, step: StepDefinition) -> None:
        self.call = call
        self.step = step
        self.attempt = 1
        self._began = time.perf_counter()

    @property
    def duration(self) -> float:
        """Seconds since the first attempt began."""
        return time.perf_counter() - self._began

    def scope(self) -> StepScope:
        """Where the code of this attempt is."""
        return StepScope(
            step_number=self.call.step_number, step_name=self.step.name, attempt=self.attempt
        )

    def returned(self, value: Any) -> Checkpoint:
        """The checkpoint of a value; raises what says why it can't be stored."""
        output = serializers.dumps(value, what=f"The result of {self.call.what}")
        return self.call.checkpoint(output=output, attempts=self.attempt, duration=self.duration)

    def raised(self, error: BaseException) -> tuple[Checkpoint, BaseException]:
        """The checkpoint of an error, and the error as a replay will raise it."""
        if self.attempt > 1 and isinstance(error, Exception):
            error.add_note(f"Step {self.step.name!r} failed in each of {self.attempt} attempts.")
        text = serializers.dump_error(error)
        checkpoint = self.call.checkpoint(error=text, attempts=self.attempt, duration=self.duration)
        return checkpoint, serializers.round_trip_error(error, text)


def run_step(run: Run, step: StepDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what the step returned, now or in an earlier run; raise what it raised."""
    call = run.begin(step.name, step.name)
    if call.found is not None:
        return run.outcome(call.found)
    recorder = Recorder(call, step)
    if step.is_atomic:
        return _run_atomic(recorder, args, kwargs)
    while True:
        try:
            value = _attempt(recorder, args, kwargs)
            checkpoint = recorder.returned(value)
        except (Exception, SystemExit) as error:
            if not step.is_last(recorder.attempt, error):
                _pause(recorder)
                continue
            return _record_error(recorder, error)
        return _record(recorder, checkpoint, value)


async def arun_step(
    run: Run, step: StepDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """See run_step(). A sync step runs on a thread."""
    call = run.begin(step.name, step.name, _fingerprint(run, args, kwargs))
    if call.found is not None:
        await run.turn(call.found)
        return await run.aoutcome(call.found)
    recorder = Recorder(call, step)
    if step.is_atomic:
        return await _arun_atomic(recorder, args, kwargs)
    while True:
        try:
            value = await _aattempt(recorder, args, kwargs)
            checkpoint = recorder.returned(value)
        except (Exception, SystemExit) as error:
            if not step.is_last(recorder.attempt, error):
                await _apause(recorder)
                continue
            return await _arecord_error(recorder, error)
        return await _arecord(recorder, checkpoint, value)


def _fingerprint(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """What tells the calls of concurrent branches apart, if their arguments can be written."""
    assert run.branches is not None
    if not run.branches.is_concurrent:
        return None
    try:
        return serializers.fingerprint(serializers.dumps([args, kwargs], what="arguments"))
    except DbosError:
        return None


def _attempt(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with context.entered(recorder.call.run, recorder.scope()), _no_transaction_left(recorder.step):
        return recorder.step.function(*args, **kwargs)


async def _aattempt(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    step = recorder.step
    if not step.is_async:
        return await sync_to_async(_attempt)(recorder, args, kwargs)
    with context.entered(recorder.call.run, recorder.scope()):
        try:
            async with asyncio.timeout(step.timeout) as limit:
                return await step.function(*args, **kwargs)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(
                f"Step {step.name!r} took longer than its timeout of {step.timeout:g} s."
            ) from None


@contextmanager
def _no_transaction_left(step: StepDefinition) -> Iterator[None]:
    """A transaction that a step leaves open would swallow whatever runs next on this thread."""
    before = {one.alias: len(one.atomic_blocks) for one in connections.all(initialized_only=True)}
    yield
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        blocks = before.get(connection.alias, 0)
        has_block = len(connection.atomic_blocks) > blocks
        if has_block or (not connection.in_atomic_block and not connection.get_autocommit()):
            connection.close()
            if not blocks:
                # Which forgets the block: as it is, the connection can't be used again.
                connection.connect()
            raise TransactionManagementError(
                f"Step {step.name!r} left a transaction open on database {connection.alias!r}. "
                "It was rolled back. Use `with transaction.atomic():` or @step(atomic=True)."
            )


def _record(recorder: Recorder, checkpoint: Checkpoint, value: Any) -> Any:
    run, size = recorder.call.run, len(checkpoint.output or "")
    answer = run.submit(RecordStep, recorder.call, checkpoint=checkpoint, size=size)
    # A checkpoint that is there already was recorded by whoever had the claim: it is adopted.
    return value if answer.checkpoint is None else run.outcome(answer.checkpoint)


async def _arecord(recorder: Recorder, checkpoint: Checkpoint, value: Any) -> Any:
    run, size = recorder.call.run, len(checkpoint.output or "")
    answer = await run.asubmit(RecordStep, recorder.call, checkpoint=checkpoint, size=size)
    return value if answer.checkpoint is None else await run.aoutcome(answer.checkpoint)


def _record_error(recorder: Recorder, error: BaseException) -> Any:
    checkpoint, error = recorder.raised(error)
    run = recorder.call.run
    answer = run.submit(RecordStep, recorder.call, checkpoint=checkpoint)
    if answer.checkpoint is not None:
        return run.outcome(answer.checkpoint)
    raise error


async def _arecord_error(recorder: Recorder, error: BaseException) -> Any:
    checkpoint, error = recorder.raised(error)
    run = recorder.call.run
    answer = await run.asubmit(RecordStep, recorder.call, checkpoint=checkpoint)
    if answer.checkpoint is not None:
        return await run.aoutcome(answer.checkpoint)
    raise error


def _pause(recorder: Recorder) -> None:
    """Between two attempts: the delay, then a look at the claim."""
    run = recorder.call.run
    recorder.attempt += 1
    until = time.monotonic() + recorder.step.delay_before(recorder.attempt)
    with run.host.store.wakeups.watch(run_key(run.workflow_id)) as watch:
        while (left := until - time.monotonic()) > 0:
            run.check()
            watch.wait(left)
    run.check()
    run.submit(Write, None)


async def _apause(recorder: Recorder) -> None:
    run = recorder.call.run
    recorder.attempt += 1
    until = time.monotonic() + recorder.step.delay_before(recorder.attempt)
    with run.host.store.wakeups.watch(run_key(run.workflow_id)) as watch:
        while (left := until - time.monotonic()) > 0:
            run.check()
            await watch.await_(left)
    run.check()
    await run.asubmit(Write, None)


# Atomic steps


class _NotRecorded(Exception):
    """Rolls an atomic step back whose checkpoint is there already, or whose claim is gone."""


def _run_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    run = recorder.call.run
    run.flush()
    found = _recorded_elsewhere(recorder)
    if found is not None:
        _record(recorder, found, None)
        return run.outcome(found)
    while True:
        try:
            value, checkpoint = _commit(recorder, args, kwargs)
        except (Exception, SystemExit) as error:
            if not recorder.step.is_last(recorder.attempt, error):
                _pause(recorder)
                continue
            return _record_error(recorder, error)
        if checkpoint is not None and _alias(recorder) != run.host.store.alias:
            _record(recorder, checkpoint, value)
        return value


async def _arun_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """In an async run: the whole of it on one thread, with its own connection."""
    branches = recorder.call.run.branches
    assert branches is not None
    try:
        return await sync_to_async(_run_atomic)(recorder, args, kwargs)
    finally:
        # It was recorded from another thread: outcomes recorded later wait for this one.
        await branches.turn(branches.expected(recorder.call.step_number))


def _commit(
    recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Checkpoint | None]:
    """Run the step in its transaction; return its value, and its checkpoint if it is new.

    What isn't the step's fault is repeated until it is decided, and is no attempt.
    """
    run, delay = recorder.call.run, FIRST_REPEAT
    while True:
        checkpoint = None
        try:
            with transaction.atomic(using=_alias(recorder)):
                value = _attempt_atomic(recorder, args, kwargs)
                checkpoint = recorder.returned(value)
                if run.branches is not None:
                    run.branches.expect(checkpoint.step_number, checkpoint.record_order)
                _record_in_transaction(recorder, checkpoint)
            return value, checkpoint
        except _NotRecorded:
            run.submit(Write, None)
            return run.outcome(_adopted(recorder)), None
        except (OperationalError, InterfaceError) as error:
            if run.host.store.is_in_transaction() or not _is_repeatable(error, recorder):
                raise
            # Perhaps only the answer to COMMIT was lost: the checkpoint decides.
            connections[_alias(recorder)].close()
            found = checkpoint and _find_patiently(recorder)
            if found:
                return run.outcome(found), checkpoint
        time.sleep(delay)
        delay = min(delay * 2, LAST_REPEAT)
        run.check()
        run.submit(Write, None)


def _attempt_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    scope = replace(recorder.scope(), atomic_alias=_alias(recorder))
    with context.entered(recorder.call.run, scope):
        return recorder.step.function(*args, **kwargs)


def _alias(recorder: Recorder) -> str:
    return recorder.step.using or recorder.call.run.host.store.alias


def _record_in_transaction(recorder: Recorder, checkpoint: Checkpoint) -> None:
    """The fence: the last statement before COMMIT."""
    run, alias = recorder.call.run, _alias(recorder)
    store, claim = run.host.store, run.claim
    if alias == store.alias:
        is_new = store.record_atomic_step(run.host.executor_id, claim.claim_number, checkpoint)
    else:
        is_new = store.record_step_elsewhere(alias, claim.token, checkpoint)
    if not is_new:
        raise _NotRecorded


def _adopted(recorder: Recorder) -> Checkpoint:
    """What an earlier holder of the claim recorded here, once this run's own was refused."""
    run = recorder.call.run
    found = _find(recorder)
    if found is None:
        run.stop(HistoryUnusable(DbosError(f"{recorder.call.what} could not be recorded.")))
    return found


def _find(recorder: Recorder) -> Checkpoint | None:
    run, call = recorder.call.run, recorder.call
    if _alias(recorder) != run.host.store.alias:
        return _find_elsewhere(recorder)
    found = run.host.store.reader.read_checkpoint(run.workflow_id, call.step_number)
    if found is not None:
        run.history.check(found, call.step_name)
    return found


def _find_patiently(recorder: Recorder) -> Checkpoint | None:
    """Look until the database answers."""
    delay = FIRST_REPEAT
    while True:
        try:
            return _find(recorder)
        except (OperationalError, InterfaceError):
            connections[_alias(recorder)].close()
            recorder.call.run.check()
            time.sleep(delay)
            delay = min(delay * 2, LAST_REPEAT)


def _recorded_elsewhere(recorder: Recorder) -> Checkpoint | None:
    """What an earlier claim committed on another database, and died before copying."""
    run = recorder.call.run
    if _alias(recorder) == run.host.store.alias or not run.claim.has_history:
        return None
    return _find_elsewhere(recorder)


def _find_elsewhere(recorder: Recorder) -> Checkpoint | None:
    run, call = recorder.call.run, recorder.call
    found = run.host.store.read_step_elsewhere(_alias(recorder), run.claim.token, call.step_number)
    if found is None:
        return None
    checkpoint = replace(call.checkpoint(), step_name=found[0], output=found[1])
    run.history.check(checkpoint, call.step_name)
    return checkpoint


def _is_repeatable(error: Exception, recorder: Recorder) -> bool:
    if isinstance(error, errors.StoreError):
        return not isinstance(error, errors.BadStatement)
    connection = connections[_alias(recorder)]
    if connection.vendor == "sqlite":
        return "locked" in str(error) or "busy" in str(error)
    sqlstate = getattr(error.__cause__, "sqlstate", "")
    return sqlstate is None or sqlstate in REPEATABLE or sqlstate[:2] in ("08", "57")
