"""The exceptions that django_dbos raises, in one tree.

::

    Exception
    └── DbosError
        ├── WorkflowDoesNotExist
        ├── WorkflowIdConflict
        │   └── UserConflict
        ├── DuplicateWorkflow
        ├── ChangeRefused
        ├── UnknownWorkflow
        ├── NotPermitted                   also Django's PermissionDenied
        ├── QueueDoesNotExist
        ├── ScheduleDoesNotExist
        ├── ScheduleExists
        ├── ScheduleIsDeclared
        ├── FormDoesNotExist
        ├── FormNotPending
        ├── WaitTimeout                    also a TimeoutError
        ├── StepTimeout                    also a TimeoutError
        ├── WaitInTest
        ├── WorkflowCancelled
        ├── MaxRecoveryAttemptsExceeded
        ├── MapFailed
        ├── NondeterminismError
        ├── LimitReached
        ├── StreamClosed
        ├── NotInWorkflow
        ├── NotAllowedInStep
        ├── NotAllowedInAtomic             also Django's TransactionManagementError
        ├── ImportRefused
        ├── OffloadFailed
        ├── PayloadTooLarge
        ├── RecordedError                  stands in for an exception that can't be rebuilt
        └── SerializationError
            ├── EncryptionKeyMissing
            ├── OffloadedValueMissing
            ├── UnknownTypeInHistory
            └── ModelInstanceGone

Each error keeps its constructor's arguments, in ``args`` and as attributes, so that it survives
pickling, copying and being recorded in a history. ``str()`` formats its message from them.
"""

from __future__ import annotations

import re
from typing import ClassVar

from django.core.exceptions import PermissionDenied
from django.db.transaction import TransactionManagementError

# The marker that patched() records.
PATCH = re.compile(r"dbos\.patch\((?P<name>.*)\)")


class DbosError(Exception):
    """The base class of all errors that django_dbos raises."""

    # A template, formatted with the error's attributes. The finished text can't be in ``args``:
    # pickle and copy call the class with its ``args`` again.
    message: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.message.format_map(vars(self)) if self.message else super().__str__()


class WorkflowDoesNotExist(DbosError):
    """No workflow has this id.

    Raised by handles, ``retrieve_workflow()``, ``send()`` and reads of events and streams.

    Attributes:
        workflow_id: The unknown id.
    """

    message = (
        "Workflow {workflow_id!r} doesn't exist. Check the id; "
        "a workflow started in a transaction exists once that transaction is committed."
    )

    def __init__(self, workflow_id: str) -> None:
        super().__init__(workflow_id)
        self.workflow_id = workflow_id


class WorkflowIdConflict(DbosError):
    """The id belongs to a workflow of another function. Raised by starts.

    Attributes:
        workflow_id: The id that is taken.
        existing_name: The function of the existing workflow.
        name: The function that was to be started.
    """

    message = (
        "Workflow id {workflow_id!r} is taken by a workflow of function {existing_name!r}, so it "
        "can't be used for {name!r}. Start {name!r} under another id."
    )

    def __init__(self, workflow_id: str, existing_name: str, name: str) -> None:
        super().__init__(workflow_id, existing_name, name)
        self.workflow_id = workflow_id
        self.existing_name = existing_name
        self.name = name


class UserConflict(WorkflowIdConflict):
    """The workflow id, deduplication id or debounce key belongs to another user's workflow.

    Raised by starts; the result of the other workflow is withheld.

    Attributes:
        id_kind: "Workflow id", "Deduplication id" or "Debounce key".
        taken_id: The id that is taken.
        user_id: The user for whom the workflow was to be started.
    """

    message = (
        "{id_kind} {taken_id!r} is taken by a workflow that doesn't belong to user {user_id!r}, "
        "who therefore can't get its result. All users share one set of ids: make the user's or "
        "tenant's key part of them."
    )

    def __init__(self, id_kind: str, taken_id: str, user_id: str) -> None:
        DbosError.__init__(self, id_kind, taken_id, user_id)
        self.id_kind = id_kind
        self.taken_id = taken_id
        self.user_id = user_id


class DuplicateWorkflow(DbosError):
    """The workflow already exists, and the start was to be rejected in that case.

    Raised by starts with ``on_existing="reject"`` or ``on_duplicate="reject"``, and by forks.

    Attributes:
        workflow_id: The id of the existing workflow.
        deduplication_id: The deduplication id that it holds, or None if the workflow id is taken.
    """

    def __init__(self, workflow_id: str, deduplication_id: str | None = None) -> None:
        super().__init__(workflow_id, deduplication_id)
        self.workflow_id = workflow_id
        self.deduplication_id = deduplication_id

    def __str__(self) -> str:
        if self.deduplication_id is None:
            return (
                f"Workflow {self.workflow_id!r} already exists. Choose another id; a start with "
                'on_existing="return" gets a handle to it instead.'
            )
        return (
            f"Deduplication id {self.deduplication_id!r} is taken by workflow "
            f"{self.workflow_id!r}, which is active, or was started with unique_for. "
            'Use on_duplicate="return" to get a handle to it instead.'
        )


class ChangeRefused(DbosError):
    """A workflow can't be forked, rewound, retried or deleted now, or not there.

    Nothing has changed.

    Attributes:
        workflow_id: The workflow.
        operation: "fork", "rewind", "retry" or "delete".
        reason: Why not, and what helps.
    """

    def __init__(self, workflow_id: str, operation: str, reason: str) -> None:
        super().__init__(workflow_id, operation, reason)
        self.workflow_id = workflow_id
        self.operation = operation
        self.reason = reason

    def __str__(self) -> str:
        noun = "deletion" if self.operation == "delete" else self.operation
        return f"The {noun} of workflow {self.workflow_id!r} is refused: {self.reason}"


class UnknownWorkflow(DbosError):
    """No workflow function is registered under this name, or version, in this process.

    Attributes:
        name: The name.
        suggestion: The registered name that is spelled most like it, or "".
        version: The version that isn't registered; None if the name isn't.
    """

    def __init__(self, name: str, suggestion: str = "", version: str | None = None) -> None:
        super().__init__(name, suggestion, version)
        self.name = name
        self.suggestion = suggestion
        self.version = version

    def __str__(self) -> str:
        if self.version is not None:
            return (
                f"Version {self.version!r} of workflow {self.name!r} isn't registered. Keep its "
                "function beside the current one, decorated with .version(…)."
            )
        remedy = (
            f"Did you mean {self.suggestion!r}?"
            if self.suggestion
            else "Is the module that defines it imported, for example by its app's workflows.py?"
        )
        return f"Workflow {self.name!r} isn't registered. {remedy}"


class NotPermitted(DbosError, PermissionDenied):
    """The user of a start lacks the permission that the workflow function asks for.

    Attributes:
        name: The name of the workflow function.
        permission: The permission.
        user_id: The user's pk, as text; None without a user.
    """

    def __init__(self, name: str, permission: str, user_id: str | None) -> None:
        super().__init__(name, permission, user_id)
        self.name = name
        self.permission = permission
        self.user_id = user_id

    def __str__(self) -> str:
        if self.user_id is None:
            return (
                f"Workflow {self.name!r} needs a user with permission {self.permission!r}, and was "
                "started without one. Start it with using(user=…), or --user of dbos_start."
            )
        return (
            f"User {self.user_id!r} can't start workflow {self.name!r}: it needs permission "
            f"{self.permission!r}, and an active user with this pk."
        )


class QueueDoesNotExist(DbosError):
    """Nothing names this queue, and it has no active workflow: likely a typo.

    Raised by functions of ``django_dbos.queues``.

    Attributes:
        name: The unknown name.
        suggestion: The known queue that is spelled most like it, or "".
    """

    def __init__(self, name: str, suggestion: str = "") -> None:
        super().__init__(name, suggestion)
        self.name = name
        self.suggestion = suggestion

    def __str__(self) -> str:
        hint = f" Did you mean {self.suggestion!r}?" if self.suggestion else ""
        return f"Nothing names queue {self.name!r}, and it has no active workflow.{hint}"


class ScheduleDoesNotExist(DbosError):
    """No schedule has this name. Raised by the functions of ``dbos.schedules``.

    Attributes:
        name: The unknown name.
        suggestion: The name of a schedule that is spelled most like it, or "".
    """

    def __init__(self, name: str, suggestion: str = "") -> None:
        super().__init__(name, suggestion)
        self.name = name
        self.suggestion = suggestion

    def __str__(self) -> str:
        hint = f" Did you mean {self.suggestion!r}?" if self.suggestion else ""
        return (
            f"Schedule {self.name!r} doesn't exist.{hint} A declared one exists once a worker has "
            "started."
        )


class ScheduleExists(DbosError):
    """The name belongs to a schedule already. Raised by ``dbos.schedules.create()``.

    Attributes:
        name: The name that is taken.
    """

    message = (
        "Schedule {name!r} exists already. Edit it, or create it with on_existing='replace' or "
        "'return'."
    )

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class ScheduleIsDeclared(DbosError):
    """The schedule is declared in code or in the settings, and can't be replaced or deleted.

    Attributes:
        name: The name of the schedule.
    """

    message = (
        "Schedule {name!r} is declared in code or in DBOS['SCHEDULES']. Edit or pause it, or "
        "remove its declaration first."
    )

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class FormDoesNotExist(DbosError):
    """No workflow has asked for a form with this number. Raised by answer_form().

    Attributes:
        form_id: The unknown number.
    """

    message = (
        "Form {form_id!r} doesn't exist. Check the number, the primary key of an Inquiry; a form "
        "is deleted along with its workflow."
    )

    def __init__(self, form_id: object) -> None:
        super().__init__(form_id)
        self.form_id = form_id


class FormNotPending(DbosError):
    """The form can't be answered any more. Raised by answer_form().

    Attributes:
        form_id: The number of the form.
        state: "answered", "expired", or "ended" if its workflow doesn't ask any more.
    """

    message = (
        "Form {form_id!r} can't be answered: its state is {state!r}. The workflow gets one answer, "
        "in time, while it waits."
    )

    def __init__(self, form_id: int, state: str) -> None:
        super().__init__(form_id, state)
        self.form_id = form_id
        self.state = state


class WaitTimeout(DbosError, TimeoutError):
    """The wait for a result, message, event or stream value has timed out.

    Attributes:
        awaited: A description of the awaited value.
        timeout: The timeout of the wait, in seconds.
    """

    message = (
        "Waited {timeout:g} s for {awaited}, which didn't come. Use a longer timeout, "
        "or timeout=None to wait indefinitely."
    )

    def __init__(self, awaited: str, timeout: float) -> None:
        # Not super().__init__(): OSError would read two arguments as errno and strerror.
        BaseException.__init__(self, awaited, timeout)
        self.awaited = awaited
        self.timeout = timeout


class StepTimeout(DbosError, TimeoutError):
    """An attempt at an async step took longer than the step's ``timeout``.

    Attributes:
        step_name: The name of the step.
        timeout: The timeout of an attempt, in seconds.
    """

    message = "Step {step_name!r} took longer than its timeout of {timeout:g} s."

    def __init__(self, step_name: str, timeout: float) -> None:
        # See WaitTimeout.
        BaseException.__init__(self, step_name, timeout)
        self.step_name = step_name
        self.timeout = timeout


class WaitInTest(DbosError):
    """An operation waits inside a test's transaction, where nothing can end the wait.

    Attributes:
        operation: The call that waits.
    """

    message = (
        "{operation} waits for another process, but other processes don't see the rows of a "
        "test's transaction. Start the workflow with start(), give it what it waits for, such as a "
        "message or advance(), and run it with django_dbos.testing.run_until_idle(); or use "
        "TransactionTestCase and a worker."
    )

    def __init__(self, operation: str) -> None:
        super().__init__(operation)
        self.operation = operation


class WorkflowCancelled(DbosError):
    """The workflow was cancelled. Raised by calls that return its result.

    Attributes:
        workflow_id: The id of the workflow.
    """

    message = (
        "Workflow {workflow_id!r} was cancelled, so it has no result. "
        "Call resume() on its handle to continue it after its last recorded step."
    )

    def __init__(self, workflow_id: str) -> None:
        super().__init__(workflow_id)
        self.workflow_id = workflow_id


class MaxRecoveryAttemptsExceeded(DbosError):
    """Too many executors in a row died while running the workflow, with nothing new recorded.

    The limit is DBOS["MAX_RECOVERY_ATTEMPTS"], or the option of the workflow. Raised by calls that
    return the result.

    Attributes:
        workflow_id: The id of the workflow.
        attempts: The number of executors that died.
    """

    message = (
        "Workflow {workflow_id!r} was given up: {attempts} workers in a row died while running "
        "it. Find the cause (memory, signals, native crashes), then call resume() on its handle."
    )

    def __init__(self, workflow_id: str, attempts: int) -> None:
        super().__init__(workflow_id, attempts)
        self.workflow_id = workflow_id
        self.attempts = attempts


class MapFailed(DbosError):
    """More children of a ``map()`` have failed than are tolerated, and the others were cancelled.

    Attributes:
        name: The function of the children.
        failed: The number of children that had failed.
        total: The number of items.
        tolerated: The number of failures that ``tolerate`` allows.
        workflow_id: The child that failed first.
        reason: The class and message of its error.
    """

    message = (
        "{failed} of {total} runs of {name!r} failed, where {tolerated} may fail, so the others "
        "were cancelled. The first to fail was workflow {workflow_id!r}: {reason}"
    )

    def __init__(
        self, name: str, failed: int, total: int, tolerated: int, workflow_id: str, reason: str
    ) -> None:
        super().__init__(name, failed, total, tolerated, workflow_id, reason)
        self.name = name
        self.failed = failed
        self.total = total
        self.tolerated = tolerated
        self.workflow_id = workflow_id
        self.reason = reason


class NondeterminismError(DbosError):
    """A replayed workflow diverged from its recorded history, and is quarantined.

    Attributes:
        workflow_id: The id of the workflow.
        step_number: The position at which it diverged.
        recorded: The recorded operation.
        called: The operation that the code calls there, or "its end".
    """

    message = (
        "Workflow {workflow_id!r} recorded {recorded} as step {step_number}, but its code now "
        "reaches {called} there. {remedy}, then resume() it."
    )

    def __init__(self, workflow_id: str, step_number: int, recorded: str, called: str) -> None:
        super().__init__(workflow_id, step_number, recorded, called)
        self.workflow_id = workflow_id
        self.step_number = step_number
        self.recorded = recorded
        self.called = called

    def __str__(self) -> str:
        return self.message.format_map({**vars(self), "remedy": self._remedy})

    @property
    def _remedy(self) -> str:
        patch = PATCH.search(self.recorded)
        if patch is not None:
            return (
                "It has taken the new path of that patch: call patched() or deprecate_patch() with "
                f"{patch['name']!r} there"
            )
        return (
            "Restore the code that recorded the history, make the workflow take the same steps in "
            "the same order, or let it take the old path where patched() returns False"
        )


class LimitReached(DbosError):
    """The workflow has exceeded a limit on its steps, messages or events, and is quarantined.

    Attributes:
        workflow_id: The id of the workflow.
        counted: The kind of records, for example "steps".
        limit: The number of records that is allowed.
        setting: The setting with the limit, for example "STEP_LIMITS".
    """

    message = (
        "Workflow {workflow_id!r} has reached the limit of {limit} {counted}. Have it "
        "continue_as_new() in time, or process batches in child workflows; to continue this one, "
        "raise DBOS[{setting!r}] and resume() it."
    )

    def __init__(self, workflow_id: str, counted: str, limit: int, setting: str) -> None:
        super().__init__(workflow_id, counted, limit, setting)
        self.workflow_id = workflow_id
        self.counted = counted
        self.limit = limit
        self.setting = setting


class StreamClosed(DbosError):
    """The stream accepts no more values, as it was closed or its workflow has ended.

    Attributes:
        workflow_id: The id of the stream's workflow.
        key: The key of the stream.
    """

    message = (
        "Stream {key!r} of workflow {workflow_id!r} is closed, so nothing can be written to it. "
        "Write before close_stream(), or use another key."
    )

    def __init__(self, workflow_id: str, key: str) -> None:
        super().__init__(workflow_id, key)
        self.workflow_id = workflow_id
        self.key = key


class NotInWorkflow(DbosError):
    """The operation was called outside a workflow.

    Attributes:
        operation: The name of the operation.
        alternative: What to call instead outside of workflows; "" if there is nothing.
    """

    message = (
        "{operation}() can only be called inside a workflow: a function decorated with @workflow."
        "{advice}"
    )

    def __init__(self, operation: str) -> None:
        super().__init__(operation)
        self.operation = operation
        name = operation.rpartition(".")[2]
        self.alternative = _OUTSIDE.get(name) or _OUTSIDE.get(name.removeprefix("a"), "")
        self.advice = f" Elsewhere, call {self.alternative}." if self.alternative else ""


# What to call outside of workflows, by the operation that can't be called there.
_OUTSIDE = {
    "map": "start_many() and then get_results()",
    "wait_any": "get_result() of one handle after the other, or get_event()",
}


class NotAllowedInStep(DbosError):
    """The operation was called inside a step.

    Attributes:
        operation: The name of the operation.
        step_name: The name of the step.
    """

    message = (
        "{operation}() can't be called inside a step, here {step_name!r}. "
        "Call it from the workflow, before or after the step."
    )

    def __init__(self, operation: str, step_name: str) -> None:
        super().__init__(operation, step_name)
        self.operation = operation
        self.step_name = step_name


class NotAllowedInAtomic(DbosError, TransactionManagementError):
    """The operation was called inside an open transaction in which it can't work.

    Without ``workflow_database``, the operation waits for other processes or records such a wait,
    and the open block is on the same database. With it, the open block is on another database than
    the workflows', so the operation would take effect even if the block were rolled back.

    Attributes:
        operation: The name of the operation.
        using: The alias of the database with the open block.
        workflow_database: The alias of the workflow database, if the block is on another one.
    """

    def __init__(
        self, operation: str, using: str = "default", workflow_database: str | None = None
    ) -> None:
        super().__init__(operation, using, workflow_database)
        self.operation = operation
        self.using = using
        self.workflow_database = workflow_database

    def __str__(self) -> str:
        if self.workflow_database is None:
            return (
                f"{self.operation}() can't be called inside an open transaction of database "
                f"{self.using!r}. Call it outside atomic(), and with autocommit; in a view under "
                "ATOMIC_REQUESTS, decorate the view with @transaction.non_atomic_requests."
            )
        return (
            f"{self.operation}() was called inside an open transaction of database "
            f"{self.using!r}, but workflows are kept in {self.workflow_database!r}: it would take "
            "effect even if that transaction were rolled back. Call it from "
            f"transaction.on_commit(..., using={self.using!r})."
        )


class ImportRefused(DbosError):
    """A document of workflows can't be imported, and nothing of it was. The message says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OffloadFailed(DbosError):
    """The storage of DBOS["OFFLOAD"] has failed, outside of workflows: these wait for it.

    Attributes:
        reason: What the storage has raised.
    """

    message = "The storage of DBOS['OFFLOAD'] has failed: {reason}"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PayloadTooLarge(DbosError):
    """The serialized value is larger than DBOS["MAX_PAYLOAD_BYTES"].

    Attributes:
        label: A description of the value.
        size: Its size in bytes, as UTF-8.
        limit: The largest allowed size in bytes.
    """

    message = (
        "{label} can't be stored: {size} bytes exceed the limit of {limit}, "
        "DBOS['MAX_PAYLOAD_BYTES']. "
        "Store it elsewhere (a file, a model) and pass its key, or raise the setting."
    )

    def __init__(self, label: str, size: int, limit: int) -> None:
        super().__init__(label, size, limit)
        self.label = label
        self.size = size
        self.limit = limit


class RecordedError(DbosError):
    """A stand-in for a recorded exception that can't be rebuilt.

    Attributes:
        class_path: The original class, as "module:qualified.name".
        args_text: The ``repr()`` of the original ``args``.
        traceback_text: The original traceback.
    """

    def __init__(self, class_path: str, args_text: str, traceback_text: str = "") -> None:
        super().__init__(class_path, args_text, traceback_text)
        self.class_path = class_path
        self.args_text = args_text
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        # No advice: the error is the project's, and its own message is the useful part.
        return f"{self.class_path.replace(':', '.')}{self.args_text}"


class SerializationError(DbosError):
    """A value can't be serialized, or a recorded text can't be deserialized."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class EncryptionKeyMissing(SerializationError):
    """A value is encrypted with a key that this process doesn't have.

    Raised where the value is read outside of workflows. A workflow that meets such a value waits
    until a worker with the key runs it.

    Attributes:
        key_id: The id of the key.
    """

    message = (
        "A value is encrypted with key {key_id!r}, which this process doesn't have. Add it to "
        "DBOS['ENCRYPTION']['KEYS'] here, under this id and with the bytes by which it was written."
    )

    def __init__(self, key_id: str) -> None:
        DbosError.__init__(self, key_id)
        self.key_id = key_id


class OffloadedValueMissing(SerializationError):
    """A large value isn't in the storage of DBOS["OFFLOAD"] any more, or that is another one here.

    A workflow that meets it is quarantined, and can be resumed once the object is back.

    Attributes:
        name: The name of the object.
    """

    message = (
        "The object {name!r} with an offloaded value isn't in the storage of DBOS['OFFLOAD']. "
        "Check that all processes use the same storage; if it was deleted there, restore it."
    )

    def __init__(self, name: str) -> None:
        DbosError.__init__(self, name)
        self.name = name


class UnknownTypeInHistory(SerializationError):
    """The type of a recorded value can't be found, or has changed since."""


class ModelInstanceGone(SerializationError):
    """A recorded model instance has since been deleted.

    Attributes:
        label: The model, as "app_label.Model".
        pk: The primary key.
        using: The alias of the database from which the instance came.
    """

    message = (
        "{label} with primary key {pk!r} was recorded, but is no longer in database {using!r}. "
        "Pass primary keys instead of instances, and fetch the objects in a step."
    )

    def __init__(self, label: str, pk: object, using: str) -> None:
        DbosError.__init__(self, label, pk, using)
        self.label = label
        self.pk = pk
        self.using = using
