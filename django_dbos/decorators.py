"""@workflow and @step: what makes a function durable, and what calling it does."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from asgiref.sync import iscoroutinefunction

from django_dbos.conf import LARGEST_INT
from django_dbos.core import durations, names, registry
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.operations import context, raised, runner, steps
from django_dbos.operations._sync import steps as sync_steps
from django_dbos.operations.context import Scope
from django_dbos.operations.entry import refuse_on_loop, run_of
from django_dbos.operations.run import Run
from django_dbos.operations.step_definitions import StepDefinition
from django_dbos.workflow_functions import OTHER_NAMES_OF_START, WorkflowFunction

P = ParamSpec("P")
Q = ParamSpec("Q")
C = TypeVar("C")
R = TypeVar("R")

# Attempts at a step: as many as their column can count.
MAX_ATTEMPTS = 32_767

RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]


class StepFunction(Generic[P, C, R]):
    """A function whose outcome is recorded when a workflow calls it, so that it never runs again.

    Outside a workflow it is a plain call, inside another step a part of that step.
    """

    def __init__(self, definition: StepDefinition) -> None:
        self._definition = definition
        functools.update_wrapper(self, definition.function)

    @property
    def name(self) -> str:
        """The name under which its checkpoints are stored."""
        return self._definition.name

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            remedy = ""
            if name in OTHER_NAMES_OF_START:
                remedy = " Only workflows are started: write one that calls the step."
            elif not name.startswith("_") and hasattr(WorkflowFunction, name):
                remedy = " Only workflows have: write one that calls the step."
            raise AttributeError(f"Step {vars(self).get('__name__')!r} has no {name!r}.{remedy}")

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: StepFunction[Concatenate[Any, Q], C, R], instance: object, owner: type | None = None
    ) -> StepFunction[Q, C, R]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        function = self._definition.function.__get__(instance, owner)
        return StepFunction(replace(self._definition, function=function))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Return what it returns, or has returned in an earlier run; raise what it raises."""
        scope = context.current()
        if scope is None or scope.step is not None:
            return cast(C, self._plain(scope, args, kwargs))
        if self._definition.is_async:
            return cast(C, self._in_async_run(scope.run)(args, kwargs))
        refuse_on_loop(self.name, f"{self._definition.function.__name__}.acall")
        if scope.run.loop is not None:
            operation = functools.partial(
                steps.arun_step, scope.run, self._definition, args, kwargs
            )
            return cast(C, scope.run.on_loop(operation))
        return cast(C, sync_steps.run_step(scope.run, self._definition, args, kwargs))

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it from async code, be it sync or async: a sync one runs on a thread."""
        scope = context.current()
        if scope is not None and scope.step is None:
            return cast(R, await self._in_async_run(scope.run)(args, kwargs))
        if self._definition.is_async:
            return cast(R, await self._plain(scope, args, kwargs))
        if scope is None:
            _warn_of_stray_thread(self.name)
        return cast(R, await raised.on_thread(self._definition.function, *args, **kwargs))

    def _plain(self, scope: Scope | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if scope is None:
            _warn_of_stray_thread(self.name)
        return self._definition.function(*args, **kwargs)

    def _in_async_run(self, current: Run) -> Callable[..., Coroutine[Any, Any, Any]]:
        if current.loop is None:
            raise TypeError(
                f"Step {self.name!r} is async, and workflow {current.definition.name!r} isn't. "
                "Make the workflow async too, or the step sync."
            )
        return functools.partial(steps.arun_step, current, self._definition)


@overload
def workflow(
    function: Callable[P, Coroutine[Any, Any, R]], /
) -> WorkflowFunction[P, Coroutine[Any, Any, R], R]: ...
@overload
def workflow(function: Callable[P, R], /) -> WorkflowFunction[P, R, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    queue_name: str | None = None,
    timeout: float | timedelta | None = None,
    max_recovery_attempts: int | None = None,
) -> _WorkflowDecorator: ...


def workflow(function: Any = None, /, **options: Any) -> Any:
    """Make a function, sync or async, a durable workflow.

    `name` (default: its dotted path) is stored with every execution; `queue_name` (default:
    DBOS["DEFAULT_QUEUE"]); `timeout` in seconds or as a timedelta, from the first run on;
    `max_recovery_attempts` (default: DBOS["MAX_RECOVERY_ATTEMPTS"]). Of methods only
    static ones can be workflows.
    """
    names.check_options(options, _WORKFLOW_OPTIONS, owner="@workflow")
    decorator = _WorkflowDecorator(**options)
    return decorator if function is None else decorator(function)


class _WorkflowDecorator:
    def __init__(
        self,
        *,
        name: str | None = None,
        queue_name: str | None = None,
        timeout: float | timedelta | None = None,
        max_recovery_attempts: int | None = None,
    ) -> None:
        self._name = None if name is None else names.check_name(name)
        self._queue_name = None if queue_name is None else names.check_queue_name(queue_name)
        self._timeout = durations.to_seconds(timeout, label="timeout")
        if self._timeout == 0:
            raise ValueError("timeout must be more than 0: the workflow could never run.")
        self._max_recovery_attempts = _check_count(max_recovery_attempts, "max_recovery_attempts")

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> WorkflowFunction[P, Coroutine[Any, Any, R], R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> WorkflowFunction[P, R, R]: ...

    def __call__(self, function: Any, /) -> Any:
        _check_function(function, "workflow")
        if _is_method(function):
            raise TypeError(
                f"@workflow can't be put on method {function.__qualname__!r}: another process "
                "can't know its instance. Make it a function, or a static method (@staticmethod "
                "above @workflow) that gets what it needs as arguments; its steps may be methods."
            )
        definition = WorkflowDefinition(
            name=self._name or f"{function.__module__}.{function.__qualname__}",
            function=function,
            is_async=iscoroutinefunction(function),
            queue_name=self._queue_name,
            timeout=self._timeout,
            max_recovery_attempts=self._max_recovery_attempts,
        )
        names.check_name(definition.name)
        registry.register(definition)
        return WorkflowFunction(definition)


_WORKFLOW_OPTIONS = tuple(inspect.signature(_WorkflowDecorator).parameters)


@overload
def step(
    function: Callable[P, Coroutine[Any, Any, R]], /
) -> StepFunction[P, Coroutine[Any, Any, R], R]: ...
@overload
def step(function: Callable[P, R], /) -> StepFunction[P, R, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    max_attempts: int = 1,
    interval: float | timedelta = 1.0,
    backoff: float = 2.0,
    max_interval: float | timedelta = 3600.0,
    jitter: float = 0.0,
    retry_on: RetryOn = Exception,
    timeout: float | timedelta | None = None,
    atomic: bool = False,
    using: str | None = None,
    confirm: bool = False,
) -> _StepDecorator: ...


def step(function: Any = None, /, **options: Any) -> Any:
    """Make a function or method, sync or async, a step: a call whose outcome is recorded once.

    A step that raises `retry_on` (an exception class, a tuple of them, or a function that takes the
    error and returns whether to try again; default: any Exception) is attempted up to
    `max_attempts` times (default 1, at most 32,767), `interval` seconds (default 1) after the first
    and `backoff` times (default 2) as long after each further one, `max_interval` (default 3,600 s)
    at most; `jitter` (0 to 1, default 0) is the share of that which is taken off at random.
    `timeout` (seconds or timedelta) limits each attempt of an async step, which then fails with
    StepTimeout. `atomic=True` runs a sync step in a transaction of the database `using` (default:
    the workflows') and commits its checkpoint in it: exactly once. `confirm=True` asks the database
    before each attempt begins whether the workflow is still this run's, not cancelled and within
    its deadline: for effects that must not follow a cancel. `name` (default: its qualified name) is
    stored with each checkpoint.
    """
    names.check_options(options, _STEP_OPTIONS, owner="@step")
    decorator = _StepDecorator(**options)
    return decorator if function is None else decorator(function)


class _StepDecorator:
    def __init__(
        self,
        *,
        name: str | None = None,
        max_attempts: int = 1,
        interval: float | timedelta = 1.0,
        backoff: float = 2.0,
        max_interval: float | timedelta = 3600.0,
        jitter: float = 0.0,
        retry_on: RetryOn = Exception,
        timeout: float | timedelta | None = None,
        atomic: bool = False,
        using: str | None = None,
        confirm: bool = False,
    ) -> None:
        if using is not None and not atomic:
            raise ValueError(f"using={using!r} needs atomic=True: else there is no transaction.")
        if backoff < 1:
            raise ValueError(f"backoff must be at least 1, but is {backoff!r}.")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter must be from 0 to 1, but is {jitter!r}.")
        self._definition = functools.partial(
            StepDefinition,
            max_attempts=_check_attempts(max_attempts),
            interval=durations.to_seconds(interval, label="interval"),
            backoff=float(backoff),
            max_interval=durations.to_seconds(max_interval, label="max_interval"),
            jitter=float(jitter),
            retry_on=_check_errors(retry_on),
            timeout=durations.to_seconds(timeout, label="timeout"),
            is_atomic=atomic,
            using=using,
            confirm=confirm,
        )
        self._name = None if name is None else names.check_name(name)

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> StepFunction[P, Coroutine[Any, Any, R], R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> StepFunction[P, R, R]: ...

    def __call__(self, function: Any, /) -> Any:
        _check_function(function, "step")
        definition = self._definition(
            name=self._name or _name_of(function),
            function=function,
            is_async=iscoroutinefunction(function),
        )
        _refuse_misfits(definition)
        if definition.using is not None:
            registry.step_aliases[definition.name] = definition.using
        return StepFunction(definition)


_STEP_OPTIONS = tuple(inspect.signature(_StepDecorator).parameters)


def run_step(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call any function as a step; give it options as `step(...)(function)`.

    Raises NotInWorkflow outside of a workflow, and TypeError for what can't be called.
    """
    refuse_on_loop("run_step")
    run_of(context.current(), "run_step")
    return cast(R, _as_step(function)(*args, **kwargs))


async def arun_step(
    function: Callable[P, Coroutine[Any, Any, R]] | Callable[P, R],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """See run_step(). A sync function runs on a thread."""
    run_of(context.current(), "arun_step")
    return cast(R, await _as_step(function).acall(*args, **kwargs))


def _as_step(function: Any) -> StepFunction[..., Any, Any]:
    if isinstance(function, StepFunction):
        return function
    if isinstance(function, WorkflowFunction):
        raise TypeError(f"{function.name!r} is a workflow. Call it: it becomes a child workflow.")
    decorated: StepFunction[..., Any, Any] = _StepDecorator()(function)
    return decorated


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return names.check_name(name.replace("<locals>.", ""))


def _check_function(function: Any, decorator: str) -> None:
    if isinstance(function, staticmethod | classmethod):
        raise TypeError(f"@{decorator} goes below @{type(function).__name__}, not above it.")
    if isinstance(function, WorkflowFunction | StepFunction):
        raise TypeError(f"{function!r} can't be made a {decorator}: it is decorated already.")
    if not callable(function):
        raise TypeError(
            f"@{decorator} takes a function, not {type(function).__name__} {function!r}."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"@{decorator} can't be put on generator {function.__qualname__!r}: what it yields "
            "can't be recorded. Return a value; use write_stream() for many."
        )


def _is_method(function: Any) -> bool:
    """Whether it belongs to a class and expects its instance; a static method doesn't."""
    scope = function.__qualname__.rpartition(".")[0]
    first = next(iter(inspect.signature(function).parameters), None)
    return bool(scope) and not scope.endswith("<locals>") and first in ("self", "cls")


def _refuse_misfits(definition: StepDefinition) -> None:
    if definition.is_atomic and definition.is_async:
        raise TypeError(
            f"Step {definition.name!r} is async and can't be atomic: Django's transactions are "
            "sync. Make it a sync function; in an async workflow call it with acall()."
        )
    if definition.timeout is not None and not definition.is_async:
        raise TypeError(
            f"Step {definition.name!r} is sync and can't have a timeout: Python can't stop a "
            "thread. Make it async, or give what it calls a timeout."
        )


def _check_count(value: Any, what: str) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(f"{what} must be an int of at least 1, but is {value!r}.")
    if value is not None and value > LARGEST_INT:
        raise ValueError(f"{what} must be at most {LARGEST_INT:,}, but is {value!r}.")
    return value


def _check_attempts(value: Any) -> int:
    count = _check_count(value, "max_attempts") or 1
    if count > MAX_ATTEMPTS:
        raise ValueError(
            f"max_attempts must be at most {MAX_ATTEMPTS:,}, but is {count:,}. To look again and "
            "again for as long as it takes, loop in the workflow with dbos.sleep()."
        )
    return count


def _check_errors(value: Any) -> tuple[type[Exception], ...] | Callable[[Exception], object]:
    if callable(value) and not isinstance(value, type):
        if iscoroutinefunction(value):
            raise TypeError(f"retry_on must be a sync function, and {value!r} is async.")
        return value  # type: ignore[no-any-return]
    errors = value if isinstance(value, tuple) else (value,)
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise TypeError(
                "retry_on must be exception classes, or a function that takes the error and says "
                f"whether to try again; it has {error!r}."
            )
    return errors


def _warn_of_stray_thread(name: str) -> None:
    """A step that a workflow calls through a pool of its own would silently not be recorded."""
    thread = threading.current_thread()
    if runner.is_working() and thread is not threading.main_thread():
        warnings.warn(
            f"Step {name!r} was called on thread {thread.name!r}, which belongs to no workflow: "
            "it isn't recorded. Call it from the workflow, or pass the context on with "
            "contextvars.copy_context().",
            RuntimeWarning,
            stacklevel=4,
        )
