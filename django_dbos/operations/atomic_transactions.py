"""The transactions of one atomic step: commit one, and find out whether it was committed.

On the workflow database the fence is a transaction's last statement; on another one it is the
primary key of the checkpoint there (CORRECTNESS rules 12 and 27).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from django.db import Error, connections, transaction

from django_dbos import offloading
from django_dbos.core.records import Checkpoint, State, Write
from django_dbos.exceptions import DbosError, NondeterminismError
from django_dbos.interruptions import HistoryUnusable
from django_dbos.operations import context
from django_dbos.operations._sync.reads import patiently
from django_dbos.operations.attempts import call_function
from django_dbos.operations.recorder import Recorder
from django_dbos.store import elsewhere, errors, sessions_elsewhere
from django_dbos.store.meanings import Meaning
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class NotRecorded(Exception):
    """Rolls back an atomic step whose checkpoint exists already, or whose claim is gone."""


class StepTransaction:
    """The transactions of an atomic step in its database, one after the other."""

    def __init__(self, recorder: Recorder, arguments: Arguments) -> None:
        self._recorder = recorder
        self._arguments = arguments
        self._call = recorder.call
        self._run = recorder.call.run
        self._store = self._run.host.store
        self._token = self._run.claim.token
        self.alias = recorder.step.using or self._store.alias
        self.is_elsewhere = self.alias != self._store.alias
        self.is_connected = False
        self._has_erred = False
        """Of the latest transaction: True once it had a connection, and once that had an error."""
        self._backend: sessions_elsewhere.Backend | None = None
        """The database session of the latest transaction."""
        self.checkpoint: Checkpoint | None = None
        """The checkpoint in the latest transaction, whose COMMIT may have succeeded."""

    def commit(self) -> Any:
        """Call the function and commit its writes with its checkpoint; return its value."""
        self.checkpoint = self._backend = None
        self.is_connected = self._has_erred = False
        self._forget_old_errors()
        with transaction.atomic(using=self.alias):
            self.is_connected = True
            self._backend = sessions_elsewhere.backend_of(self.alias)
            try:
                value, checkpoint = self._run_function()
            except BaseException:
                # Read here, since the rollback clears it.
                self._has_erred = connections[self.alias].errors_occurred
                raise
            self.checkpoint = checkpoint
        return value

    def _run_function(self) -> tuple[Any, Checkpoint]:
        value = self._call_function()
        self._recorder.announce()
        checkpoint = offloading.offloaded(self._recorder.returned(value))
        self._recorder.announce(checkpoint)
        self._record_in_transaction(checkpoint)
        return value, checkpoint

    def _forget_old_errors(self) -> None:
        """Clear the connection's error mark, which attributes later errors to this database."""
        connection = connections[self.alias]
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()

    def _call_function(self) -> Any:
        scope = replace(self._recorder.scope(), atomic_alias=self.alias)
        with context.entered(self._run, scope):
            return call_function(self._recorder, *self._arguments)

    def _record_in_transaction(self, checkpoint: Checkpoint) -> None:
        """Insert the checkpoint: the fence, and the last statement before COMMIT."""
        if self.is_elsewhere:
            # The fence of another database doesn't know of a cancel.
            if self._run.interruption is None:
                self._run.ensure_claim()
            self._run.check_in_step()
            is_new = elsewhere.record(self.alias, self._token, checkpoint)
        else:
            executor_id = self._run.host.executor_id
            is_new = self._store.record_atomic_step(
                executor_id, self._run.claim.claim_number, checkpoint
            )
        if not is_new:
            raise NotRecorded

    # The outcome of a transaction

    def decide(self, error: BaseException) -> Checkpoint | None:
        """Return the committed checkpoint, if the transaction was committed despite the error.

        The answer to COMMIT may have been lost, or a function that the step gave to on_commit()
        has failed.
        """
        if self.checkpoint is None or self.is_in_another:
            return None
        if self._is_of_database(error):
            self.close()
            if self._backend is not None and errors.meaning_of(error).may_have_committed:
                # Otherwise the server has answered: a pool may have given its session to others.
                backend = self._backend
                patiently(
                    self._run, lambda: sessions_elsewhere.end_lost_session(self.alias, backend)
                )
        self.await_earlier(self.checkpoint)
        found = patiently(self._run, self.find)
        if found is not None:
            shown = concealing.shown(self._run.definition.name, error)
            logger.warning(
                "%s is committed, although %r was raised afterwards", self._call.label, shown,
                exc_info=None if self._is_of_database(error) else shown,
                extra=self._call.run.log_fields,
            )  # fmt: skip
        return found

    def await_earlier(self, checkpoint: Checkpoint) -> None:
        """Wait until no transaction that has recorded this step is under way."""
        if self.is_elsewhere:
            patiently(
                self._run, lambda: elsewhere.await_earlier(self.alias, self._token, checkpoint)
            )
        else:
            # The fence has locked the workflow's row, so this write waits for it.
            self._run.submit(Write, None)

    def recorded_by_another(self) -> Checkpoint:
        """Return the outcome that an earlier holder of the claim recorded, once ours is refused."""
        self._run.submit(Write, None)
        found = patiently(self._run, self.find)
        if found is None:
            error = DbosError(f"{self._call.label} could not be recorded.")
            self._run.stop(HistoryUnusable(error))
        return found

    def find(self) -> Checkpoint | None:
        """Return the checkpoint of this step from the database of its transactions."""
        run, call = self._run, self._call
        if self.is_elsewhere:
            row = elsewhere.read(self.alias, self._token, call.step_number)
            if row is None:
                return None
            found = replace(call.checkpoint(), step_name=row[0], output=row[1], error=row[2])
        else:
            recorded = self._store.reader.read_checkpoint(run.workflow_id, call.step_number)
            if recorded is None or recorded.state is State.WAITING:
                # A checkpoint that only has the time of the next attempt is no outcome.
                return None
            found = recorded
        try:
            run.history.check(found, call.step_name)
        except NondeterminismError as error:
            run.stop(HistoryUnusable(error))
        return found

    def _is_of_database(self, error: BaseException) -> bool:
        """Return True for errors of the step's database and of the engine's own statements."""
        if isinstance(error, errors.StoreError):
            return True
        is_here = self._has_erred or self.checkpoint is not None or not self.is_connected
        return is_here and (isinstance(error, Error) or errors.is_exhaustion(error))

    def meaning(self, error: BaseException) -> Meaning | None:
        """Return the meaning of an error that the step's database raised; None for other errors."""
        is_known = self._is_of_database(error) and not self.is_in_another
        return errors.meaning_of(error) if is_known else None

    def record_apart(self, checkpoint: Checkpoint) -> bool:
        """Record an outcome on the other database, in its own transaction; False if one is there.

        Raises:
            StoreError: Nothing can be recorded there.
        """
        return patiently(self._run, lambda: elsewhere.record(self.alias, self._token, checkpoint))

    def copy_for_history(self) -> None:
        """Copy the checkpoint that is committed on the other database, with or without a claim."""
        if self.checkpoint is not None:
            elsewhere.await_earlier(self.alias, self._token, self.checkpoint)
        found = self.find()
        if found is not None:
            self._store.record_for_history(self._token, found)

    @property
    def is_in_another(self) -> bool:
        """True inside a test's open transaction, where nothing is committed."""
        return connections[self.alias].in_atomic_block

    def close(self) -> None:
        """Close the connection, so that the next statement reconnects."""
        connections[self.alias].close()

    def ping(self) -> None:
        """Raise the database's error if it doesn't answer a query."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute("SELECT 1")
