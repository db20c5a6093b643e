"""WorkflowHandle, by which a caller follows and controls a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

from asgiref.sync import sync_to_async
from django.apps import apps

from django_dbos.core import engine, names
from django_dbos.core.fork_options import ForkOptions
from django_dbos.core.numbers import check_bool
from django_dbos.exceptions import ChangeRefused, DbosError, WorkflowDoesNotExist
from django_dbos.operations import (
    attributes,
    context,
    events,
    exporting,
    forking,
    messages,
    outside,
    queues,
    reading,
    results,
)
from django_dbos.operations._sync import events as sync_events
from django_dbos.operations._sync import forking as sync_forking
from django_dbos.operations._sync import messages as sync_messages
from django_dbos.operations._sync import outside as sync_outside
from django_dbos.operations._sync import results as sync_results
from django_dbos.operations._sync.stream_readers import StreamReader
from django_dbos.operations.describing import WorkflowDescription, describe
from django_dbos.operations.entry import (
    aenter,
    aenter_anywhere,
    aperform,
    enter,
    enter_anywhere,
    perform,
    workflow_run,
)
from django_dbos.operations.forking import check_step, request_of
from django_dbos.operations.messages import new_message
from django_dbos.operations.options import check_run_after
from django_dbos.operations.stream_readers import AsyncStreamReader
from django_dbos.operations.timeouts import NO_DEFAULT
from django_dbos.store import get_store

if TYPE_CHECKING:
    from django_dbos.models import Checkpoint, Workflow
    from django_dbos.models.handle import Handle

R = TypeVar("R")


class WorkflowHandle(Generic[R]):
    """A handle to one workflow, by its id.

    `start`, `retrieve_workflow` and `Workflow.handle` return one. Handles with the same id are
    equal. In workflow code every method but `steps` is an operation of its own, which is recorded
    and replayed.
    """

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id

    def __repr__(self) -> str:
        return f"WorkflowHandle({self.workflow_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkflowHandle) and other.workflow_id == self.workflow_id

    def __hash__(self) -> int:
        return hash(self.workflow_id)

    def get_result(self, timeout: float | timedelta | None = None) -> R:
        """Wait until the workflow has ended; return its result or raise its error.

        In workflow code the outcome is recorded, and a replay returns the same one.

        Args:
            timeout: The maximum wait, in seconds or as a timedelta; 0 doesn't wait. Default: no
                limit.

        Returns:
            The value that the workflow function returned.

        Raises:
            WaitTimeout: The workflow hasn't ended within the timeout.
            WorkflowCancelled: The workflow was cancelled, or its deadline passed.
            MaxRecoveryAttemptsExceeded: The workflow was given up, since its executors kept dying.
            WorkflowDoesNotExist: There is no such workflow.
            NotAllowedInStep: The call is made inside a step.
            NotAllowedInAtomic: The call is made inside `atomic()`.

        Example:
            receipt = checkout.start(2).get_result(timeout=30)
        """
        inside, ainside = sync_results.get_result, results.aget_result
        return enter(  # type: ignore[no-any-return]
            "get_result", inside, ainside, sync_outside.get_result, self.workflow_id, timeout
        )

    async def aget_result(self, timeout: float | timedelta | None = None) -> R:  # noqa: ASYNC109
        """See get_result()."""
        return await aenter(
            "aget_result", results.aget_result, outside.aget_result, self.workflow_id, timeout
        )

    def get_status(self) -> Workflow.Status:
        """Return the status.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
        """
        return _status(perform("get_status", self._read_status))

    async def aget_status(self) -> Workflow.Status:
        """See get_status()."""
        return _status(await aperform("get_status", self._read_status))

    def describe(self) -> WorkflowDescription:
        """Return status, name, queue, times, error and more; `str()` of it is a text for people.

        A few queries read the row, its last step, and the numbers of steps and children. Of an
        enqueued workflow, further queries read why it isn't running.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
        """
        return perform("describe", lambda: describe(get_store(), self.workflow_id))

    async def adescribe(self) -> WorkflowDescription:
        """See describe()."""
        return await aperform("describe", lambda: describe(get_store(), self.workflow_id))

    def cancel(self, children: bool = False) -> bool:
        """Cancel the workflow.

        Waiting workflows and a worker's async ones stop at once, others before their next step or
        durable operation. A step in progress may still end.

        Args:
            children: True cancels the workflows that this one has started, too, and theirs.

        Returns:
            True if the workflow was still active.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
        """
        return perform("cancel", self._cancellation(children))

    async def acancel(self, children: bool = False) -> bool:
        """See cancel()."""
        return await aperform("cancel", self._cancellation(children))

    def resume(self, *, queue_name: str | None = None) -> bool:
        """Put a cancelled, given-up, quarantined or waiting workflow back in its queue.

        It continues after its last recorded step, with attempts and deadline reset. A delayed
        workflow begins at once, as after run_now().

        Args:
            queue_name: The queue to put it in, from now on. Default: the one that it had.

        Returns:
            True if the workflow could be resumed.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            ValueError: The queue's name is empty or too long, or it needs a partition key that the
                workflow hasn't; TypeError if the name is no str.
        """
        return perform("resume", self._resumption(queue_name))

    async def aresume(self, *, queue_name: str | None = None) -> bool:
        """See resume()."""
        return await aperform("resume", self._resumption(queue_name))

    def fork(
        self,
        from_step: int | None = None,
        *,
        from_failure: bool = False,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Unpack[ForkOptions],
    ) -> WorkflowHandle[R]:
        """Start a new workflow with this one's history before a step, and run on from there.

        It gets the recorded outcomes of the steps before, with what these wrote to events and
        streams and the messages that they received; a replay returns them, and the step runs
        anew. The original stays as it is. Its children from before stay its own: their recorded
        ids and results are the fork's, too. Written in the caller's transaction.

        Args:
            from_step: The number of the first step that runs in the fork, as `steps()` shows it: 1
                repeats the workflow; the one after the last continues behind what is recorded.
            from_failure: True forks a failed workflow from the step that failed, any other that
                has ended without success behind its last step.
            args: Other positional arguments. Given `args` or `kwargs`, these are all arguments.
            kwargs: Other keyword arguments. Steps before `from_step` aren't run again, so other
                arguments must lead to the same ones, or the fork is quarantined.
            options: See ForkOptions.

        Returns:
            The handle of the fork; its row has the id of this workflow as `forked_from`.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            ChangeRefused: It can't be forked there, for the reason in the message.
            DuplicateWorkflow: The id or deduplication id of the fork is taken.
            NotPermitted: The user that is given may not start the function.
            TypeError, ValueError: An argument or option is of another type, or out of range.
            NotAllowedInAtomic: Only another database has an open transaction.

        Example:
            fixed = handle.fork(from_step=4, queue_name="repairs")
        """
        request = request_of(
            self.workflow_id,
            from_step,
            from_failure=from_failure,
            args=args,
            kwargs=kwargs,
            options=options,
        )
        fork_id = enter_anywhere(
            "fork", sync_forking.fork, forking.afork, forking.make_fork, request
        )
        return WorkflowHandle(fork_id)

    async def afork(
        self,
        from_step: int | None = None,
        *,
        from_failure: bool = False,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Unpack[ForkOptions],
    ) -> WorkflowHandle[R]:
        """See fork()."""
        request = request_of(
            self.workflow_id,
            from_step,
            from_failure=from_failure,
            args=args,
            kwargs=kwargs,
            options=options,
        )
        fork_id = await aenter_anywhere(
            "afork", forking.afork, sync_to_async(forking.make_fork), request
        )
        return WorkflowHandle(fork_id)

    def rewind(self, to_step: int, *, children: bool = False) -> None:
        """Run the workflow again from a step on, under the same id; what came later is gone.

        The outcomes of that step and of later ones are deleted, with what these wrote to events
        and streams, and the answers to what they asked. Messages that they received are pending
        again. The workflow returns to its queue, with attempts and deadline reset. What it did to
        others stays. Pages that follow it end, and must be loaded again.

        Args:
            to_step: The number of the first step that runs again, as `steps()` shows it.
            children: True deletes the workflows that these steps started, and theirs. Without it,
                a rewind past such a step is refused.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            ChangeRefused: It runs, or it can't be rewound there, for the reason in the message.
        """
        perform("rewind", self._rewinding(to_step, children))

    async def arewind(self, to_step: int, *, children: bool = False) -> None:
        """See rewind()."""
        await aperform("rewind", self._rewinding(to_step, children))

    def retry(self, *, children: bool = False) -> None:
        """Run a failed workflow again, from the step that failed: see rewind().

        That is the step whose error ended it, itself or as a cause. If its code raised an error of
        its own, nothing is deleted, and the code after its last step runs again. One that was
        given up or quarantined is resumed.

        Args:
            children: True deletes the workflows that later steps started, and theirs.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            ChangeRefused: It hasn't failed, or it can't be retried now, for the reason in the
                message.
        """
        perform("retry", self._retrying(children))

    async def aretry(self, *, children: bool = False) -> None:
        """See retry()."""
        await aperform("retry", self._retrying(children))

    def delete(self, *, children: bool = False) -> None:
        """Delete a finished workflow, with its history, messages, events and streams.

        Args:
            children: True deletes the workflows that it has started, too, and theirs: all, or none.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            ChangeRefused: It, or one that it has started, hasn't ended, or its function still runs.
        """
        perform("delete", self._deletion(children))

    async def adelete(self, *, children: bool = False) -> None:
        """See delete()."""
        await aperform("delete", self._deletion(children))

    def run_now(self) -> bool:
        """Put a delayed workflow in its queue at once, as if its time had come.

        Returns:
            True if the workflow was still delayed.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
        """
        return perform("run_now", self._run_now)

    async def arun_now(self) -> bool:
        """See run_now()."""
        return await aperform("run_now", self._run_now)

    def set_run_after(self, run_after: datetime | timedelta | float) -> bool:
        """Change when a delayed workflow may begin, to earlier or later.

        A call with its debounce key changes that again.

        Args:
            run_after: An instant, or seconds or a timedelta from now, as in `using()`.

        Returns:
            True if the workflow was still delayed.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            TypeError: `run_after` is None or of another type; ValueError if it is out of range.
        """
        return perform("set_run_after", self._delaying(run_after))

    async def aset_run_after(self, run_after: datetime | timedelta | float) -> bool:
        """See set_run_after()."""
        return await aperform("set_run_after", self._delaying(run_after))

    def set_attributes(self, attributes: dict[str, Any], *, merge: bool = False) -> None:
        """Give the workflow other attributes, also when it has ended.

        In workflow code it is done once, and a replay doesn't repeat it.

        Args:
            attributes: A dict of plain JSON values, by which workflows can be filtered.
            merge: True keeps the attributes whose keys aren't given; values that are dicts are
                replaced as a whole. By default these attributes replace all others.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            TypeError: A value isn't plain JSON; ValueError if it is nested too deep.
            PayloadTooLarge: They are too large together.

        Example:
            handle.set_attributes({"stage": "packed"}, merge=True)
        """
        perform("set_attributes", lambda: self._set_attributes(attributes, merge))

    async def aset_attributes(self, attributes: dict[str, Any], *, merge: bool = False) -> None:
        """See set_attributes()."""
        await aperform("set_attributes", lambda: self._set_attributes(attributes, merge))

    def send(
        self, message: Any, topic: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """See django_dbos.send()."""
        new = [new_message(self.workflow_id, message, topic, idempotency_key)]
        enter_anywhere("send", sync_messages.send, messages.asend, sync_outside.send, new)

    async def asend(
        self, message: Any, topic: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """See django_dbos.send()."""
        new = [new_message(self.workflow_id, message, topic, idempotency_key)]
        await aenter_anywhere("asend", messages.asend, outside.asend, new)

    def get_event(
        self, key: str, timeout: float | timedelta | None = 60, default: Any = NO_DEFAULT
    ) -> Any:
        """See django_dbos.get_event()."""
        arguments = (self.workflow_id, key, timeout, default)
        return enter(
            "get_event",
            sync_events.get_event,
            events.aget_event,
            sync_outside.get_event,
            *arguments,
        )

    async def aget_event(
        self,
        key: str,
        timeout: float | timedelta | None = 60,  # noqa: ASYNC109
        default: Any = NO_DEFAULT,
    ) -> Any:
        """See django_dbos.get_event()."""
        arguments = (self.workflow_id, key, timeout, default)
        return await aenter("aget_event", events.aget_event, outside.aget_event, *arguments)

    def read_stream(
        self,
        key: str,
        offset: int = 0,
        timeout: float | timedelta | None = None,
        wait: bool = True,
    ) -> StreamReader:
        """See django_dbos.read_stream()."""
        return reading.read_stream(self.workflow_id, key, offset, timeout, wait)

    def aread_stream(
        self,
        key: str,
        offset: int = 0,
        timeout: float | timedelta | None = None,
        wait: bool = True,
    ) -> AsyncStreamReader:
        """See django_dbos.read_stream()."""
        return reading.aread_stream(self.workflow_id, key, offset, timeout, wait)

    def events(self) -> dict[str, Any]:
        """See django_dbos.get_all_events()."""
        return perform("get_all_events", lambda: events.read_all(self.workflow_id))

    async def aevents(self) -> dict[str, Any]:
        """See django_dbos.get_all_events()."""
        return await aperform("get_all_events", lambda: events.read_all(self.workflow_id))

    def steps(self) -> list[Checkpoint]:
        """Return the workflow's checkpoints, in the order of their step numbers.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            DbosError: The call is made in workflow code.
        """
        if workflow_run(context.current()) is not None:
            raise DbosError("steps() can't be recorded. Call it in a step, and return what counts.")
        found = get_store().reader.read_checkpoints(self.workflow_id)
        if not found:
            self._read_status()
        return found

    async def asteps(self) -> list[Checkpoint]:
        """See steps()."""
        return await sync_to_async(self.steps)()

    def export(self, *, children: bool = False, decrypt: bool = False) -> dict[str, Any]:
        """Return the workflow with all its rows as JSON; see export_workflows().

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            EncryptionKeyMissing: The key of a value to be decrypted isn't here.
            DbosError: The call is made in workflow code.
        """
        if workflow_run(context.current()) is not None:
            raise DbosError("export() can't be recorded. Call it in a step.")
        ids = [self.workflow_id]
        return exporting.export(get_store(), ids, children=children, decrypt=decrypt)

    async def aexport(self, *, children: bool = False, decrypt: bool = False) -> dict[str, Any]:
        """See export()."""
        return await sync_to_async(self.export)(children=children, decrypt=decrypt)

    def _read_status(self) -> str:
        return str(get_store().reader.read_status(self.workflow_id))

    def _cancellation(self, children: bool) -> Callable[[], bool]:
        check_bool(children, "children")
        return lambda: self._cancel(children)

    def _cancel(self, children: bool) -> bool:
        answers = get_store().cancel_workflows([self.workflow_id], children=children)
        return self._known(answers[self.workflow_id])

    def _resumption(self, queue_name: str | None) -> Callable[[], bool]:
        queue_name = _checked_queue(queue_name)
        return lambda: self._known(_resumed([self.workflow_id], queue_name)[self.workflow_id])

    def _rewinding(self, to_step: int, children: bool) -> Callable[[], None]:
        number = check_step(to_step, "to_step")
        check_bool(children, "children")
        return lambda: get_store().rewind_workflow(self.workflow_id, number, children=children)

    def _retrying(self, children: bool) -> Callable[[], None]:
        check_bool(children, "children")
        return lambda: get_store().retry_workflow(self.workflow_id, children=children)

    def _deletion(self, children: bool) -> Callable[[], None]:
        check_bool(children, "children")
        return lambda: get_store().delete_workflow(self.workflow_id, children=children)

    def _delaying(self, run_after: datetime | timedelta | float) -> Callable[[], bool]:
        when = check_run_after(run_after)
        return lambda: self._known(get_store().set_run_after(self.workflow_id, when))

    def _set_attributes(self, given: dict[str, Any], merge: bool) -> None:
        attributes.set_attributes(self.workflow_id, given, merge=merge)

    def _run_now(self) -> bool:
        return self._known(get_store().run_now(self.workflow_id))

    def _known(self, answer: bool) -> bool:
        """Return the answer; if nothing was changed, make sure that the workflow exists."""
        if not answer:
            self._read_status()
        return answer


def _status(value: str) -> Workflow.Status:
    return apps.get_model("django_dbos", "Workflow").Status(value)


def _checked_queue(name: str | None) -> str | None:
    return None if name is None else names.check_queue_name(name)


def _resumed(workflow_ids: Sequence[str], queue_name: str | None) -> dict[str, bool]:
    store = get_store()
    if queue_name is not None:
        queues.check_move(store, queue_name, workflow_ids)
    return store.resume_workflows(workflow_ids, queue_name=queue_name)


def each(change: Callable[[str], Any], workflow_ids: Sequence[str]) -> dict[str, str | None]:
    """Change workflows one by one; return for each why it is left alone, or None."""
    answers: dict[str, str | None] = {}
    for workflow_id in dict.fromkeys(workflow_ids):
        try:
            change(workflow_id)
        except ChangeRefused as error:
            answers[workflow_id] = error.reason
        except WorkflowDoesNotExist as error:
            answers[workflow_id] = str(error)
        else:
            answers[workflow_id] = None
    return answers


def fork_each(
    workflow_ids: Sequence[str],
    from_step: int | None,
    *,
    from_failure: bool,
    options: Mapping[str, Any],
) -> dict[str, WorkflowHandle[Any] | None]:
    """Fork workflows one by one; return their forks, and None for those that can't be forked."""
    for name in ("workflow_id", "deduplication_id"):
        if options.get(name) is not None:
            raise ValueError(f"fork_many() can't give several forks the same {name}.")
    # Checked once, and also if there is no workflow.
    request = request_of(
        "", from_step, from_failure=from_failure, args=None, kwargs=None, options=options
    )
    forks: dict[str, WorkflowHandle[Any] | None] = {}
    for workflow_id in dict.fromkeys(workflow_ids):
        try:
            fork_id = forking.make_fork(replace(request, source_id=workflow_id))
        except (ChangeRefused, WorkflowDoesNotExist):
            forks[workflow_id] = None
        else:
            forks[workflow_id] = WorkflowHandle(fork_id)
    return forks


class _Engine:
    """The operations of model rows, which are defined in a lower layer."""

    def handle(self, workflow_id: str) -> Handle:
        return WorkflowHandle(workflow_id)

    def cancel(self, workflow_ids: Sequence[str], *, children: bool) -> dict[str, bool]:
        check_bool(children, "children")
        return get_store().cancel_workflows(workflow_ids, children=children)

    def resume(self, workflow_ids: Sequence[str], *, queue_name: str | None) -> dict[str, bool]:
        return _resumed(workflow_ids, _checked_queue(queue_name))

    def retry(self, workflow_ids: Sequence[str], *, children: bool) -> dict[str, bool]:
        check_bool(children, "children")
        retry = partial(get_store().retry_workflow, children=children)
        return {found: why is None for found, why in each(retry, workflow_ids).items()}

    def delete(self, workflow_ids: Sequence[str], *, children: bool) -> dict[str, bool]:
        check_bool(children, "children")
        delete = partial(get_store().delete_workflow, children=children)
        return {found: why is None for found, why in each(delete, workflow_ids).items()}

    def fork(
        self,
        workflow_ids: Sequence[str],
        *,
        from_step: int | None,
        from_failure: bool,
        options: Mapping[str, Any],
    ) -> dict[str, Handle | None]:
        forks = fork_each(workflow_ids, from_step, from_failure=from_failure, options=options)
        return {**forks}

    def drain(self, executor_ids: Sequence[str]) -> dict[str, bool]:
        return get_store().drain_executors(executor_ids)


engine.register(_Engine())
