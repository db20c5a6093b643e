"""Everything that can go wrong, as one tree.

::

    Exception
    └── DbosError
        ├── WorkflowDoesNotExist
        ├── WorkflowIdConflict
        │   └── UserConflict
        ├── DuplicateWorkflow
        ├── UnknownWorkflow
        ├── WaitTimeout                    also a TimeoutError
        ├── StepTimeout                    also a TimeoutError
        ├── WaitInTest
        ├── WorkflowCancelled
        ├── MaxRecoveryAttemptsExceeded
        ├── NondeterminismError
        ├── LimitReached
        ├── StreamClosed
        ├── NotInWorkflow
        ├── NotAllowedInStep
        ├── NotAllowedInAtomic             also Django's TransactionManagementError
        ├── PayloadTooLarge
        ├── RecordedError                  stands in for an exception that can't be rebuilt
        └── SerializationError
            ├── UnknownTypeInHistory
            └── ModelInstanceGone

    BaseException
    └── RunInterrupted                     internal: ``except Exception`` must not catch these
        ├── Suspended
        ├── ClaimLost
        ├── RunCancelled
        ├── HandedOver
        └── HistoryUnusable

Each error keeps what it was made from, in ``args`` and as attributes: so it survives pickling,
copying and being recorded in a history. Its message is made from them when it is asked for.
"""

from __future__ import annotations

from typing import ClassVar

from django.db.transaction import TransactionManagementError


class DbosError(Exception):
    """The base of every error that django_dbos raises."""

    # Filled in with the error's attributes. A template rather than a finished text in ``args``: an
    # exception is pickled and copied by calling its class with its ``args`` again.
    message: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.message.format_map(vars(self)) if self.message else super().__str__()


class WorkflowDoesNotExist(DbosError):
    """There is no workflow with this id."""

    message = (
        "Workflow {workflow_id!r} doesn't exist. Check the id; "
        "a workflow started in a transaction exists once that transaction is committed."
    )

    def __init__(self, workflow_id: str) -> None:
        super().__init__(workflow_id)
        self.workflow_id = workflow_id


class WorkflowIdConflict(DbosError):
    """The id belongs to an execution of another workflow function."""

    message = (
        "Workflow id {workflow_id!r} belongs to an execution of {existing_name!r}, so it can't be "
        "used "
        "for {name!r}. Start it with an id of its own."
    )

    def __init__(self, workflow_id: str, existing_name: str, name: str) -> None:
        super().__init__(workflow_id, existing_name, name)
        self.workflow_id = workflow_id
        self.existing_name = existing_name
        self.name = name


class UserConflict(WorkflowIdConflict):
    """The id, or the deduplication id, belongs to a workflow of another user."""

    message = (
        "{what} {taken_id!r} is in use by a workflow of another user than {user_id!r}, whose "
        "result nobody else gets. Ids are shared by all users: put the user's or tenant's key "
        "into them."
    )

    def __init__(self, what: str, taken_id: str, user_id: str) -> None:
        DbosError.__init__(self, what, taken_id, user_id)
        self.what = what
        self.taken_id = taken_id
        self.user_id = user_id


class DuplicateWorkflow(DbosError):
    """The workflow was started before, and the caller asked to be told so."""

    def __init__(self, workflow_id: str, deduplication_id: str | None = None) -> None:
        super().__init__(workflow_id, deduplication_id)
        self.workflow_id = workflow_id
        self.deduplication_id = deduplication_id

    def __str__(self) -> str:
        if self.deduplication_id is None:
            return (
                f"Workflow {self.workflow_id!r} exists already. "
                'Use on_existing="return" to get a handle to it instead.'
            )
        return (
            f"Deduplication id {self.deduplication_id!r} is taken by workflow "
            f"{self.workflow_id!r}, "
            "which hasn't finished yet. "
            'Use on_duplicate="return" to get a handle to it instead.'
        )


class UnknownWorkflow(DbosError):
    """No workflow function is registered under this name."""

    def __init__(self, name: str, suggestion: str = "") -> None:
        super().__init__(name, suggestion)
        self.name = name
        self.suggestion = suggestion

    def __str__(self) -> str:
        remedy = (
            f"Did you mean {self.suggestion!r}?"
            if self.suggestion
            else "Is the module that defines it imported, for example by its app's workflows.py?"
        )
        return f"Workflow {self.name!r} isn't registered. {remedy}"


class WaitTimeout(DbosError, TimeoutError):
    """What was waited for didn't come in time."""

    message = (
        "Waited {timeout:g} seconds for {what}, which didn't come. Give a longer timeout, "
        "or timeout=None to wait for ever."
    )

    def __init__(self, what: str, timeout: float) -> None:
        # Not super().__init__(): OSError would take two arguments for errno and strerror.
        BaseException.__init__(self, what, timeout)
        self.what = what
        self.timeout = timeout


class StepTimeout(DbosError, TimeoutError):
    """An attempt at an async step took longer than the step's `timeout`."""

    message = "Step {step_name!r} took longer than its timeout of {timeout:g} s."

    def __init__(self, step_name: str, timeout: float) -> None:
        # See WaitTimeout.
        BaseException.__init__(self, step_name, timeout)
        self.step_name = step_name
        self.timeout = timeout


class WaitInTest(DbosError):
    """A wait inside a test's transaction, where nothing that it waits for can come."""

    message = (
        "{operation} waits for what can't come: inside a test's transaction no other process sees "
        "anything. Start the workflow with start() and run it with "
        "django_dbos.testing.run_until_idle(), or use TransactionTestCase and a worker."
    )

    def __init__(self, operation: str) -> None:
        super().__init__(operation)
        self.operation = operation


class WorkflowCancelled(DbosError):
    """The workflow was cancelled, so it has no result. Raised where the result is asked for."""

    message = (
        "Workflow {workflow_id!r} was cancelled, so it has no result. "
        "Its handle's resume() runs it on from its last recorded step."
    )

    def __init__(self, workflow_id: str) -> None:
        super().__init__(workflow_id)
        self.workflow_id = workflow_id


class MaxRecoveryAttemptsExceeded(DbosError):
    """Too many executors in a row died with the workflow, and none recorded anything new."""

    message = (
        "Workflow {workflow_id!r} was given up: {attempts} workers in a row died while running "
        "it. Find out why (memory, signals, native crashes), then put it back with its handle's "
        "resume()."
    )

    def __init__(self, workflow_id: str, attempts: int) -> None:
        super().__init__(workflow_id, attempts)
        self.workflow_id = workflow_id
        self.attempts = attempts


class NondeterminismError(DbosError):
    """A replayed workflow did something else than what its history holds."""

    message = (
        "Workflow {workflow_id!r} recorded {recorded} as step {step_number}, but its code now "
        "reaches "
        "{called} there. Bring back the code that made the history, or make the workflow take the "
        "same steps in the same order, then resume() it."
    )

    def __init__(self, workflow_id: str, step_number: int, recorded: str, called: str) -> None:
        super().__init__(workflow_id, step_number, recorded, called)
        self.workflow_id = workflow_id
        self.step_number = step_number
        self.recorded = recorded
        self.called = called


class LimitReached(DbosError):
    """The workflow has recorded as much as one may, and is quarantined."""

    message = (
        "Workflow {workflow_id!r} has reached the limit of {limit} {what}. Have it start another "
        "workflow that goes on, or call for batches in children; with a higher DBOS[{setting!r}], "
        "resume() it."
    )

    def __init__(self, workflow_id: str, what: str, limit: int, setting: str) -> None:
        super().__init__(workflow_id, what, limit, setting)
        self.workflow_id = workflow_id
        self.what = what
        self.limit = limit
        self.setting = setting


class StreamClosed(DbosError):
    """The stream takes no more values: it was closed, or its workflow has ended."""

    message = (
        "Stream {key!r} of workflow {workflow_id!r} is closed, so nothing can be written to it. "
        "Write before close_stream(), or use another key."
    )

    def __init__(self, workflow_id: str, key: str) -> None:
        super().__init__(workflow_id, key)
        self.workflow_id = workflow_id
        self.key = key


class NotInWorkflow(DbosError):
    """The operation was called outside a workflow."""

    message = (
        "{operation}() only works inside a workflow. Call it from a function decorated with "
        "@workflow."
    )

    def __init__(self, operation: str) -> None:
        super().__init__(operation)
        self.operation = operation


class NotAllowedInStep(DbosError):
    """The operation was called inside a step."""

    message = (
        "{operation}() can't be called inside a step, here {step_name!r}. "
        "Call it from the workflow, before or after the step."
    )

    def __init__(self, operation: str, step_name: str) -> None:
        super().__init__(operation, step_name)
        self.operation = operation
        self.step_name = step_name


class NotAllowedInAtomic(DbosError, TransactionManagementError):
    """The operation was called inside an open transaction that it can't work in.

    Either it waits for what other processes do, or records it, on the database that has the open
    block; or (``workflow_database`` is given) the block is on another database than the workflows',
    so that the operation would take effect even if the block were rolled back.
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


class PayloadTooLarge(DbosError):
    """The value is larger than DBOS["MAX_PAYLOAD_BYTES"] once it is serialized."""

    message = (
        "{what} takes {size} bytes, more than the {limit} that DBOS['MAX_PAYLOAD_BYTES'] allows. "
        "Store it elsewhere (a file, a model) and pass its key, or raise the setting."
    )

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(what, size, limit)
        self.what = what
        self.size = size
        self.limit = limit


class RecordedError(DbosError):
    """Stands in for a recorded exception that can't be rebuilt, and says what it was."""

    def __init__(self, class_path: str, args_text: str, traceback_text: str = "") -> None:
        super().__init__(class_path, args_text, traceback_text)
        self.class_path = class_path
        self.args_text = args_text
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        # No advice here: this is somebody else's error, and its own message is what matters.
        return f"{self.class_path.replace(':', '.')}{self.args_text}"


class SerializationError(DbosError):
    """A value can't be written as text, or a recorded text can't be read back."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class UnknownTypeInHistory(SerializationError):
    """A recorded value is of a type that this process can't find, or that has changed since."""


class ModelInstanceGone(SerializationError):
    """A recorded model instance has been deleted since."""

    message = (
        "{label} with primary key {pk!r} was recorded, but isn't in database {using!r} any more. "
        "Pass primary keys rather than instances, and look them up in a step."
    )

    def __init__(self, label: str, pk: object, using: str) -> None:
        DbosError.__init__(self, label, pk, using)
        self.label = label
        self.pk = pk
        self.using = using


class RunInterrupted(BaseException):
    """The engine unwinds a run. Internal: user code must let it pass."""


class Suspended(RunInterrupted):
    """The workflow waits for something, and gives its slot back meanwhile."""


class ClaimLost(RunInterrupted):
    """The workflow belongs to another executor by now, so this run may not write."""


class RunCancelled(RunInterrupted):
    """The workflow was cancelled, or its deadline has passed."""


class HandedOver(RunInterrupted):
    """This executor is stopping: another one runs the workflow on."""


class HistoryUnusable(RunInterrupted):
    """The run can't go on from this history; ``error`` says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return str(self.error)
