"""The object that @workflow makes of a function: the ways to call it and to start it."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from asgiref.sync import iscoroutinefunction

from django_dbos import serializers
from django_dbos.core import names, registry
from django_dbos.core.ids import new_uuid
from django_dbos.core.records import NewWorkflow
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.django_values import json_serializer
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import context, mapping, outside, results
from django_dbos.operations._sync import mapping as sync_mapping
from django_dbos.operations._sync import outside as sync_outside
from django_dbos.operations._sync import results as sync_results
from django_dbos.operations.decorator_options import Decorated, check_workflow_function
from django_dbos.operations.entry import (
    aenter,
    aenter_anywhere,
    aenter_workflow,
    enter,
    enter_anywhere,
    enter_workflow,
    id_for,
    refuse_on_loop,
)
from django_dbos.operations.inputs import InputWriter
from django_dbos.operations.options import Options, StartOptions

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")
P2 = ParamSpec("P2")
R2 = TypeVar("R2")

# Types whose values can't change.
CONSTANTS = frozenset({str, int, float, bool, type(None)})

# Names that task queues give to `start`, with options or without.
OTHER_NAMES_OF_START = frozenset({"apply_async", "defer", "delay", "enqueue", "s", "si"})

# Part of the qualified name of anything that is defined inside a function.
LOCAL = "<locals>"

logger = logging.getLogger("django_dbos")

_warned: set[str] = set()

Arguments = tuple[Any, ...] | dict[str, Any]


class WorkflowFunction(Decorated, Generic[P, C, R]):
    """A durable function. A call runs it here and now; `start` enqueues it for a worker."""

    def __init__(self, definition: WorkflowDefinition) -> None:
        self._definition = definition
        self._options = Options()
        self._input = InputWriter(definition).write
        functools.update_wrapper(self, definition.function)

    @property
    def name(self) -> str:
        """The name that is stored with its executions."""
        return self._definition.name

    def version(self, version: str | None, /) -> _VersionDecorator:
        """Declare older code of this workflow, which the workflows that began with it continue by.

        It stays beside the current code until none of its workflows is left: see
        `manage.py dbos_versions`. The options are those of the current function. Starts of what
        the decorator returns begin with the older code.

        Args:
            version: The version that the code had; None for workflows that were started when the
                function had no versions. Without such a declaration the current code runs those.

        Returns:
            A decorator that returns a WorkflowFunction.

        Raises:
            TypeError: The current function has no version, or the version is of another type.
            ValueError: It is the current version, or another function is declared as it.

        Example:
            @dbos.workflow(version="2")
            def checkout(order_id: int, express: bool) -> str: ...


            @checkout.version("1")
            def checkout_1(order_id: int) -> str: ...
        """
        current = self._definition
        if registry.workflows.get(self.name, current).version != current.version:
            raise TypeError(
                f"{self!r} is an older version itself. Call version() of the current function."
            )
        if current.version is None:
            raise TypeError(
                f"Workflow {self.name!r} has no versions. Give its current code one first: "
                "@workflow(version=…)."
            )
        checked = None if version is None else names.check_version(version)
        if checked == current.version:
            raise ValueError(
                f"{checked!r} is the current version of workflow {self.name!r}. Give the changed "
                "code a new one, @workflow(version=…)."
            )
        return _VersionDecorator(current, checked)

    def __repr__(self) -> str:
        version = self._definition.version
        return f"<workflow {self.name}{'' if version is None else f', version {version!r}'}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            remedy = ""
            if name in OTHER_NAMES_OF_START:
                remedy = " Use start(…), or with options using(…).start(…)."
            function = vars(self).get("__name__")
            raise AttributeError(f"Workflow {function!r} has no {name!r}.{remedy}")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Run the workflow durably and return its result; inside a workflow, as a child workflow.

        A workflow whose id exists already isn't run again: the call waits for its result.

        Raises:
            NotAllowedInAtomic: The call is made inside `atomic()`.
            NotAllowedInStep: The call is made inside a step.
            Exception: What the function raises.
        """
        if self._definition.is_async:
            self._refuse_in_sync_workflow()
            return cast(C, self._acall(args, kwargs))
        refuse_on_loop(self.name, f"{self._definition.function.__name__}.acall")
        new = self._new(args, kwargs)
        return cast(C, enter(new.name, sync_results.call, results.acall, sync_outside.call, new))

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the workflow from async code, even if it is sync."""
        return await self._acall(args, kwargs)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> WorkflowHandle[R]:
        """Enqueue the workflow for a worker, in the caller's transaction.

        Inside a workflow it starts a child workflow, exactly once. The start of a workflow that is
        defined inside a function logs a warning, since a worker may not find it.

        Args:
            args: The arguments of the function. The serializer must be able to store them.
            kwargs: Its keyword arguments.

        Returns:
            The handle of the new workflow; of the existing one, if the id, deduplication id or
            debounce key that was given to `using` is taken.

        Raises:
            DuplicateWorkflow: The id or deduplication id is taken, and the option is "reject".
            WorkflowIdConflict: A workflow of another function has the id.
            UserConflict: A workflow of another user has the id, deduplication id or debounce key.
            ValueError: The options contradict each other, or the queue needs a partition key.
            SerializationError: An argument can't be stored; PayloadTooLarge if they are too large.
            NotAllowedInAtomic: Only another database has an open transaction.

        Example:
            handle = checkout.using(workflow_id="order-1").start(1)
        """
        refuse_on_loop("start")
        new = [self._for_worker(args, kwargs)]
        (workflow_id,) = enter_anywhere(
            "start", sync_results.start, results.astart, sync_outside.start, new
        )
        return WorkflowHandle(workflow_id)

    async def astart(self, *args: P.args, **kwargs: P.kwargs) -> WorkflowHandle[R]:
        """See start()."""
        new = [self._for_worker(args, kwargs)]
        (workflow_id,) = await aenter_anywhere("astart", results.astart, outside.astart, new)
        return WorkflowHandle(workflow_id)

    def start_many(self, arguments: Iterable[Arguments]) -> list[WorkflowHandle[R]]:
        """Start one workflow for each item: all of them, or none. See start().

        Args:
            arguments: For each workflow a tuple of arguments or a dict of keyword arguments.
        """
        refuse_on_loop("start_many")
        ids = enter_anywhere(
            "start_many",
            sync_results.start_many,
            results.astart_many,
            sync_outside.start_many,
            *self._many(arguments),
        )
        return [WorkflowHandle(workflow_id) for workflow_id in ids]

    async def astart_many(self, arguments: Iterable[Arguments]) -> list[WorkflowHandle[R]]:
        """See start_many()."""
        many = self._many(arguments)
        ids = await aenter_anywhere("astart_many", results.astart_many, outside.astart_many, *many)
        return [WorkflowHandle(workflow_id) for workflow_id in ids]

    def map(
        self, items: Iterable[Any], *, concurrency: int | None = None, tolerate: float = 0
    ) -> list[R]:
        """Run a child workflow for each item, and return their results in the order of the items.

        All children are stored at once. Beyond `concurrency` each waits in its row for the end of
        another one. The calling workflow is suspended meanwhile, and keeps one checkpoint per
        thousand items.

        Args:
            items: For each child its argument; a tuple or a dict stands for several arguments, as
                in start_many(). Put a tuple that is one argument into a tuple.
            concurrency: The most children that run at once. Default: no limit, except the queue's.
            tolerate: How many children may fail: an int, or as a float a share of the items, from
                0 to 1. Errors that are tolerated are in the places of the results. Default: none.

        Raises:
            MapFailed: More children have failed. The others were cancelled, with their children.
            ValueError: `concurrency` or `tolerate` is out of range, or the options of using() have
                an id, which can't be that of all children.
            NotInWorkflow: The call is made outside a workflow; there, use start_many() and
                get_results(), or start a workflow that calls map().
            NotAllowedInStep: The call is made inside a step.

        Example:
            thumbnails = resize.map(photos, concurrency=10, tolerate=0.01)
        """
        plan = self._map_plan(items, concurrency, tolerate)
        return enter_workflow("map", sync_mapping.run_map, mapping.arun_map, plan)

    async def amap(
        self, items: Iterable[Any], *, concurrency: int | None = None, tolerate: float = 0
    ) -> list[R]:
        """See map()."""
        plan = self._map_plan(items, concurrency, tolerate)
        return await aenter_workflow("amap", mapping.arun_map, plan)

    def using(self, **options: Unpack[StartOptions]) -> Self:
        """Return the same workflow with options for its starts; repeated calls merge them.

        Args:
            options: See StartOptions.

        Raises:
            TypeError: There is no such option, or its value has another type.
            ValueError: An option's value is out of range.
        """
        other = copy.copy(self)
        other._options = self._options.merged(options)
        return other

    async def _acall(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        new = self._new(args, kwargs)
        return cast(R, await aenter(f"{new.name}.acall", results.acall, outside.acall, new))

    @property
    def _given_id(self) -> str:
        return self._options.get("workflow_id", None) or ""

    def _new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewWorkflow:
        values = self._options.values(self._definition)
        text = self._input(args, kwargs)
        token = new_uuid()
        workflow_id = self._given_id or id_for(token)
        return NewWorkflow(workflow_id=workflow_id, input=text, token=token, **values)

    def _for_worker(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewWorkflow:
        self._warn_if_nested()
        return self._new(args, kwargs)

    def _warn_if_nested(self) -> None:
        """Log a warning, once, about a workflow that a worker may not find."""
        if LOCAL not in self.name or self.name in _warned:
            return
        _warned.add(self.name)
        logger.warning(
            "Workflow %r is defined inside a function: a worker finds it only if importing its "
            "module calls that function, too. Move it to the top level of its module.",
            self.name,
        )

    def _many(self, arguments: Iterable[Arguments]) -> tuple[NewWorkflow, list[str]]:
        """Return the values that the workflows have in common, and the input of each."""
        like, inputs = self._alike(arguments)
        if len(inputs) > 1:
            _refuse_one_for_all(like, f"start_many() can't give {len(inputs)} workflows")
        return like, inputs

    def _alike(self, arguments: Iterable[Arguments]) -> tuple[NewWorkflow, list[str]]:
        like = NewWorkflow(
            workflow_id=self._given_id, input="", **self._options.values(self._definition)
        )
        self._warn_if_nested()
        return like, self._inputs(arguments)

    def _map_plan(
        self, items: Iterable[Any], concurrency: int | None, tolerate: float
    ) -> mapping.Plan:
        if isinstance(items, str) or not isinstance(items, Iterable):
            raise TypeError(f"map() takes a list of items, not {type(items).__name__} {items!r}.")
        arguments = [item if isinstance(item, tuple | dict) else (item,) for item in items]
        limit = mapping.check_concurrency(concurrency)
        tolerated = mapping.check_tolerated(tolerate, len(arguments))
        like, inputs = self._alike(arguments)
        _refuse_one_for_all(like, "map() can't give its children")
        return mapping.Plan(like=like, inputs=inputs, concurrency=limit, tolerated=tolerated)

    def _inputs(self, arguments: Iterable[Arguments]) -> list[str]:
        inputs: list[str] = []
        before: Arguments | None = None
        # Other serializers may write the same value differently each time.
        may_repeat = serializers.get_serializer() is json_serializer
        for item in arguments:
            if not isinstance(item, tuple | dict):
                raise TypeError(
                    "start_many() takes a tuple of arguments or a dict of keyword arguments for "
                    f"each workflow, not {type(item).__name__} {item!r}."
                )
            if item is before and may_repeat and _is_constant(item):
                inputs.append(inputs[-1])
            elif isinstance(item, tuple):
                inputs.append(self._input(item, {}))
            else:
                inputs.append(self._input((), item))
            before = item
        return inputs

    def _refuse_in_sync_workflow(self) -> None:
        scope = context.current()
        if scope is not None and scope.run.loop is None:
            raise TypeError(
                f"Workflow {self.name!r} is async, and {scope.run.definition.name!r} isn't. "
                f"Start it: {self._definition.function.__name__}.start(...).get_result()."
            )


class _VersionDecorator:
    """Registers a function as an older version of a workflow."""

    def __init__(self, current: WorkflowDefinition, version: str | None) -> None:
        self._current = current
        self._version = version

    @overload
    def __call__(
        self, function: Callable[P2, Coroutine[Any, Any, R2]], /
    ) -> WorkflowFunction[P2, Coroutine[Any, Any, R2], R2]: ...
    @overload
    def __call__(self, function: Callable[P2, R2], /) -> WorkflowFunction[P2, R2, R2]: ...

    def __call__(self, function: Any, /) -> Any:
        check_workflow_function(function)
        definition = replace(
            self._current,
            function=function,
            is_async=iscoroutinefunction(function),
            version=self._version,
        )
        registry.register_version(definition)
        return WorkflowFunction(definition)


def start_by_name(
    name: str, /, *args: Any, using: StartOptions | None = None, **kwargs: Any
) -> WorkflowHandle[Any]:
    """Start the workflow that is registered under a name, such as "shop.workflows.checkout".

    Use it in processes without the workflow's code. There the arguments aren't checked against its
    signature, and the options of its decorator don't apply. Nor is the name checked: where no
    worker knows it, the workflow stays in its queue, and its worker's log, its page in the admin
    and `handle.describe().why_not_running` say so. See WorkflowFunction.start().

    Args:
        name: The name.
        args: The arguments of the function.
        using: Options of the start, as a dict: see StartOptions.
        kwargs: Its keyword arguments.
    """
    refuse_on_loop("start_by_name")
    return _named(name).using(**(using or {})).start(*args, **kwargs)


async def astart_by_name(
    name: str, /, *args: Any, using: StartOptions | None = None, **kwargs: Any
) -> WorkflowHandle[Any]:
    """See start_by_name()."""
    return await _named(name).using(**(using or {})).astart(*args, **kwargs)


def _named(name: str) -> WorkflowFunction[..., Any, Any]:
    definition = registry.workflows.get(name) or WorkflowDefinition(
        name=names.check_name(name), function=_elsewhere, is_async=False, version=registry.NEWEST
    )
    return WorkflowFunction(definition)


def _elsewhere(*args: Any, **kwargs: Any) -> None:
    """Stand in for a function whose code this process doesn't have."""


def _is_constant(item: Arguments) -> bool:
    return type(item) is tuple and CONSTANTS.issuperset(map(type, item))


def _refuse_one_for_all(like: NewWorkflow, refusal: str) -> None:
    shared = {
        "id": like.workflow_id,
        "deduplication id": like.deduplication_id,
        "debounce key": like.debounce_key,
    }
    for name, value in shared.items():
        if value:
            raise ValueError(
                f"{refusal} the same {name} {value!r}: only the first would be started. Start each "
                "with its own, by using(...).start(...)."
            )
