"""The object that @step makes of a function, and the ways to call it."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import replace
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

from django_dbos.operations import context, raised, runner, steps
from django_dbos.operations._sync import steps as sync_steps
from django_dbos.operations.context import Scope
from django_dbos.operations.decorator_options import Decorated
from django_dbos.operations.entry import refuse_on_loop
from django_dbos.operations.run import Run
from django_dbos.operations.step_definitions import StepDefinition
from django_dbos.workflow_functions import OTHER_NAMES_OF_START, WorkflowFunction

P = ParamSpec("P")
Q = ParamSpec("Q")
C = TypeVar("C")
R = TypeVar("R")


class StepFunction(Decorated, Generic[P, C, R]):
    """A function whose outcome is recorded when a workflow calls it, so that it never runs again.

    Outside a workflow it is a plain call, inside another step a part of that step.
    """

    def __init__(self, definition: StepDefinition) -> None:
        self._definition = definition
        functools.update_wrapper(self, definition.function)

    @property
    def name(self) -> str:
        """The name that is stored with its checkpoints."""
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
        """Return the step's value, of this run or an earlier one, or raise its error."""
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
        """Call the step from async code, even if it is sync; then it runs on a thread."""
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


def _warn_of_stray_thread(name: str) -> None:
    """Warn if a step on a foreign thread, such as a pool's, would silently not be recorded."""
    thread = threading.current_thread()
    if runner.is_working() and thread is not threading.main_thread():
        warnings.warn(
            f"Step {name!r} was called on thread {thread.name!r}, which belongs to no workflow: "
            "it isn't recorded. Call it from the workflow, or pass the context on with "
            "contextvars.copy_context().",
            RuntimeWarning,
            stacklevel=4,
        )
