"""Answers: people fill in a form, and other services call back. Called from outside of workflows.

The row is marked as answered and the message sent in one transaction (CORRECTNESS rule 82).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied, ValidationError

from django_dbos import offloading, serializers
from django_dbos.exceptions import FormDoesNotExist, FormNotPending
from django_dbos.operations import callbacks, form_classes
from django_dbos.store import get_store

if TYPE_CHECKING:
    from django_dbos.models import Inquiry


def read_form(form_id: int) -> Inquiry:
    """Return the row of a form, with its state; raise FormDoesNotExist."""
    from django_dbos.models import Inquiry

    # The largest number that the column holds.
    if type(form_id) is not int or not 0 < form_id < 2**63:
        raise FormDoesNotExist(form_id)
    found = Inquiry.objects.using(get_store().alias).filter(kind=Inquiry.Kind.FORM, pk=form_id)
    row = found.with_state().first()
    if row is None:
        raise FormDoesNotExist(form_id)
    return row


def answer_form(form_id: int, data: Any, user: Any = None) -> None:
    """Validate data by a form's class, and answer the form."""
    row = read_form(form_id)
    if user is not None and not row.may_be_answered_by(user):
        raise PermissionDenied(f"{user!r} may not answer form {form_id}.")
    if row.state != row.State.PENDING:
        raise FormNotPending(form_id, row.state)
    form = form_classes.make(row.form_name, row.initial, data)
    if not form.is_valid():
        raise ValidationError(form.errors.as_data())
    submit(row, form, user)


def submit(row: Inquiry, form: Any, user: Any) -> None:
    """Answer a form with a valid bound form.

    Raises:
        FormNotPending: It was answered, has expired or isn't asked any more.
        SerializationError: A cleaned value can't be stored.
    """
    pk = getattr(user, "pk", None)
    user_id = None if pk is None else str(pk)
    message, answer = map(offloading.offload, form_classes.dump_answer(form, user_id))
    answered = get_store().answer_inquiry(row.pk, message=message, answer=answer, by=user_id)
    if not answered:
        raise FormNotPending(row.pk, read_form(row.pk).state)


def call_back(signed: str, read: Any) -> str:
    """Deliver the value of a callback.

    Args:
        signed: The signed part of its address.
        read: A function that returns the value; called once the address is known to be genuine.

    Returns:
        "accepted", "repeated" for the same value again, "unknown", or why it isn't accepted:
        "answered", "expired" or "ended".
    """
    from django_dbos.models import Inquiry

    known = callbacks.unsign(signed)
    if known is None:
        return "unknown"
    inquiry_id, secret = known
    store = get_store()
    found = Inquiry.objects.using(store.alias).filter(kind=Inquiry.Kind.CALLBACK, secret=secret)
    found = found.filter(pk=inquiry_id).with_state()
    row = found.first()
    if row is None:
        return "unknown"
    message = callbacks.message_of(read())
    if row.state == Inquiry.State.PENDING:
        # Only now, so that no repetition leaves an object in the storage.
        kept = offloading.offload(message)
        if store.answer_inquiry(inquiry_id, message=kept, answer=kept):
            return "accepted"
        row = found.first()
        if row is None:
            return "unknown"
    is_repeated = row.answer_text is not None and serializers.are_alike(row.answer_text, message)
    return "repeated" if is_repeated else str(row.state)
