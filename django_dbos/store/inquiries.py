"""Inquiries: forms and callbacks, and their answers, which are messages.

An inquiry is identified by its workflow's token and its step number. So a run that is repeated
finds its own row, and a later workflow with the same id, or a fork, never does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet

from django_dbos.core.ids import new_uuid
from django_dbos.core.records import FORM_TOPIC, Asked, Claim, NewInquiry, NewMessage
from django_dbos.fields import DatabaseNow
from django_dbos.models import Inquiry
from django_dbos.store.messaging import Messaging

# Rewinds that one answer waits for.
MAX_TRIES = 10


class Inquiries(Messaging):
    """The rows of forms and callbacks. The row's lock decides between an answer and the end."""

    def ask(self, claim: Claim, new: NewInquiry) -> Asked | None:
        """Return the inquiry at a step of a claim's workflow, inserted unless it is there.

        Returns None if the claim is gone. Repeating it does no harm.
        """
        if (asked := self._find(claim, new)) is not None:
            return asked
        held = self._workflows().filter(
            workflow_id=claim.workflow_id, token=claim.token, claim_number=claim.claim_number
        )
        if not held.exists():
            return None
        # Another run of the workflow, which has lost its claim, may insert the same.
        self._inquiries().bulk_create([_row(claim, new)], ignore_conflicts=True)
        return self._find(claim, new)

    def read_inquiry(self, claim: Claim, step_number: int) -> Inquiry | None:
        """Return the inquiry at a step of a claim's workflow, or None."""
        return self._of(claim, step_number).first()

    def close_inquiry(self, claim: Claim, step_number: int) -> bool:
        """Close the inquiries of a step to answers; return whether one was answered before.

        Repeated, it returns the same.
        """
        found = self._of(claim, step_number)
        found.filter(answered_at=None, closed_at=None).update(closed_at=DatabaseNow())
        return found.filter(answered_at__isnull=False).exists()

    def answer_inquiry(
        self, inquiry_id: int, *, message: str, answer: str, by: str | None = None
    ) -> bool:
        """Mark an inquiry as answered and send its message: both, or neither.

        Args:
            inquiry_id: The row.
            message: The message, serialized.
            answer: The serialized answer that the row keeps.
            by: The user who answers.

        Returns:
            False if it can't be answered, or no longer.
        """
        with self.session().transaction():
            pending = Inquiry.objects.using(self.alias).pending().filter(pk=inquiry_id)
            # Of two answers the second one waits for the first, and then finds it.
            row: QuerySet[Inquiry] = QuerySet(Inquiry, query=pending.query, using=self.alias)
            for _ in range(MAX_TRIES):
                if row.update(answered_at=DatabaseNow(), answered_by=by, answer_text=answer):
                    break
                # A rewind that has just ended gave the row and its workflow another token: a
                # statement that has waited for it sees only one of them (CORRECTNESS rule 93).
                if not pending.exists():
                    return False
            else:
                return False
            asked = Inquiry.objects.using(self.alias).get(pk=inquiry_id)
            new = NewMessage(
                workflow_id=str(asked.workflow_id), topic=str(asked.topic), message=message
            )
            self.send_messages([new])
            return True

    def _find(self, claim: Claim, new: NewInquiry) -> Asked | None:
        columns = ("inquiry_id", "topic", "secret", "created_at")
        found = (
            self._of(claim, new.step_number)
            .filter(position=new.position)
            .values_list(*columns, DatabaseNow())
        )
        for inquiry_id, topic, secret, created_at, now in found:
            age = (now - created_at).total_seconds()
            return Asked(inquiry_id=inquiry_id, topic=topic, secret=secret, age=max(age, 0.0))
        return None

    def _of(self, claim: Claim, step_number: int) -> QuerySet[Any]:
        return self._inquiries().filter(token=claim.token, step_number=step_number)

    def _inquiries(self) -> QuerySet[Any]:
        """Return all rows, to be changed by the engine."""
        return QuerySet(Inquiry, using=self.alias)


def _row(claim: Claim, new: NewInquiry) -> Inquiry:
    secret, timeout = new_uuid(), new.timeout
    ends = None if timeout is None else DatabaseNow() + timedelta(seconds=timeout)
    return Inquiry(
        kind=new.kind,
        workflow_id=claim.workflow_id,
        token=claim.token,
        step_number=new.step_number,
        position=new.position,
        secret=secret,
        topic=new.topic or f"{FORM_TOPIC}{new.form_name.rpartition('.')[2]}:{secret.hex}"[:255],
        form_name=new.form_name,
        title=new.title,
        description=new.description,
        initial_text=new.initial,
        audience=new.audience,
        created_at=DatabaseNow(),
        expires_at=ends,
    )
