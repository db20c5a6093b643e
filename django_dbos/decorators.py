"""The decorators @workflow and @step, which make functions durable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import cache
from typing import Any, ParamSpec, TypeVar, cast, get_overloads, overload

from asgiref.sync import iscoroutinefunction

from django_dbos.core import names, registry
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.operations import context
from django_dbos.operations.decorator_options import (
    check_function,
    check_step_options,
    check_workflow_function,
    check_workflow_options,
)
from django_dbos.operations.entry import refuse_on_loop, run_of
from django_dbos.operations.step_definitions import StepDefinition
from django_dbos.step_functions import StepFunction
from django_dbos.workflow_functions import WorkflowFunction

P = ParamSpec("P")
R = TypeVar("R")

RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]


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
    version: str | None = None,
    queue_name: str | None = None,
    timeout: float | timedelta | None = None,
    max_recovery_attempts: int | None = None,
    permission: str | None = None,
) -> _WorkflowDecorator: ...


def workflow(function: Any = None, /, **options: Any) -> Any:  # noqa: D417 (see the overload)
    """Make a function, sync or async, a durable workflow.

    Of methods only static ones can be workflows. Workers find a function that is defined inside
    another one only if importing its module calls that function.

    Args:
        function: The function, if the decorator is used without parentheses.
        name: The name that is stored with every execution, at most 255 characters. Default: the
            function's dotted path.
        version: The version of this code, at most 100 characters without "@". New workflows begin
            with it, and continue only where it is known: see WorkflowFunction.version(). Default:
            the function has no versions, and any code of it continues its workflows.
        queue_name: The queue of starts that don't name one. Default: DBOS["DEFAULT_QUEUE"].
        timeout: The maximum duration, from the first run on, in seconds or as a timedelta; past it
            the workflow is cancelled. Default: no limit.
        max_recovery_attempts: The number of executors in a row that may die while running the
            workflow, without progress, before it is given up. Default:
            DBOS["MAX_RECOVERY_ATTEMPTS"].
        permission: The permission that the user of a start, `using(user=…)`, needs, such as
            "shop.refund"; else the start raises NotPermitted. Default: anyone may start it.

    Returns:
        A WorkflowFunction, or a decorator that returns one.

    Raises:
        TypeError: The function can't be a workflow, or there is no such option.
        ValueError: An option's value is out of range, or another workflow has the name.

    Example:
        @dbos.workflow(queue_name="mail")
        def welcome(email: str) -> None:
            send_mail(email)
            dbos.set_event("welcomed", True)
    """
    decorator = _WorkflowDecorator(_with_defaults(workflow, options))
    return decorator if function is None else decorator(function)


class _WorkflowDecorator:
    def __init__(self, options: dict[str, Any]) -> None:
        name = options["name"]
        self._name = None if name is None else names.check_name(name)
        self._options = check_workflow_options(options)

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> WorkflowFunction[P, Coroutine[Any, Any, R], R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> WorkflowFunction[P, R, R]: ...

    def __call__(self, function: Any, /) -> Any:
        check_workflow_function(function)
        definition = WorkflowDefinition(
            name=self._name or f"{function.__module__}.{function.__qualname__}",
            function=function,
            is_async=iscoroutinefunction(function),
            **self._options,
        )
        names.check_name(definition.name)
        registry.register(definition)
        return WorkflowFunction(definition)


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


def step(function: Any = None, /, **options: Any) -> Any:  # noqa: D417 (see the overload)
    """Make a function or method, sync or async, a step: a call whose outcome is recorded once.

    Args:
        function: The function, if the decorator is used without parentheses.
        name: The name that is stored with each checkpoint. Default: the function's qualified name.
        max_attempts: The maximum number of attempts, from 1 to 32,767, if the step raises
            `retry_on`.
        interval: The pause between the first two attempts, in seconds or as a timedelta.
        backoff: The factor by which each further pause is longer, at least 1.
        max_interval: The maximum pause, in seconds or as a timedelta.
        jitter: The fraction of each pause, from 0 to 1, of which a random part is subtracted.
        retry_on: The errors after which the step is tried again: an exception class, a tuple of
            them, or a function that takes the error and returns whether to try again.
        timeout: The maximum duration of one attempt, in seconds or as a timedelta; then it fails
            with StepTimeout. Only for async steps.
        atomic: True runs a sync step in a transaction that commits its checkpoint, too: the step's
            writes happen exactly once.
        using: The alias of the database of that transaction. Default: the workflows' database.
        confirm: True checks before each attempt, with a query, that this run still owns the
            workflow, and that the workflow is neither cancelled nor past its deadline: for
            effects that must not follow a cancel.

    Returns:
        A StepFunction, or a decorator that returns one.

    Raises:
        TypeError: The function can't be a step with these options, or there is no such option.
        ValueError: An option's value is out of range.

    Example:
        @dbos.step(max_attempts=5, retry_on=ConnectionError)
        def charge(order_id: int) -> str:
            return payments.charge(order_id)
    """
    decorator = _StepDecorator(_with_defaults(step, options))
    return decorator if function is None else decorator(function)


class _StepDecorator:
    def __init__(self, options: dict[str, Any]) -> None:
        name = options["name"]
        self._name = None if name is None else names.check_name(name)
        self._options = check_step_options(options)

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> StepFunction[P, Coroutine[Any, Any, R], R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> StepFunction[P, R, R]: ...

    def __call__(self, function: Any, /) -> Any:
        check_function(function, "step")
        definition = StepDefinition(
            name=self._name or _name_of(function),
            function=function,
            is_async=iscoroutinefunction(function),
            **self._options,
        )
        _refuse_misfits(definition)
        if definition.using is not None:
            registry.step_aliases[definition.name] = definition.using
        return StepFunction(definition)


def run_step(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call any function as a step. To give it options, use `step(...)(function)`.

    Args:
        function: The function, sync or async; a step is called as it is.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        The value that the function returned, in this run or an earlier one.

    Raises:
        NotInWorkflow: The call is made outside a workflow.
        NotAllowedInStep: The call is made inside a step.
        TypeError: The function can't be a step.
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
    decorated: StepFunction[..., Any, Any] = step(function)
    return decorated


def _with_defaults(decorator: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return all options of a decorator; its last overload declares them, with their defaults."""
    defaults = _defaults_of(decorator)
    names.check_options(given, defaults, owner=f"@{decorator.__name__}")
    return defaults | given


@cache
def _defaults_of(decorator: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(get_overloads(decorator)[-1]).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return names.check_name(name.replace("<locals>.", ""))


def _refuse_misfits(definition: StepDefinition) -> None:
    if definition.is_atomic and definition.is_async:
        raise TypeError(
            f"Step {definition.name!r} is async and can't be atomic: Django's transactions are "
            "sync. Make it a sync function; in an async workflow call it with acall()."
        )
    if definition.timeout is not None and not definition.is_async:
        raise TypeError(
            f"Step {definition.name!r} is sync and can't have a timeout: Python can't stop a "
            "thread. Make it async, or set a timeout in the calls that it makes."
        )
