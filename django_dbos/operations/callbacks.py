"""Callbacks: addresses by which another service sends a workflow one message.

An address carries the number of its row and a secret, signed: a forged one costs no query.
"""

from __future__ import annotations

from typing import Any

from django.core import signing
from django.core.exceptions import ImproperlyConfigured

from django_dbos import conf, serializers
from django_dbos.core.records import Asked, NewInquiry, RecordStep
from django_dbos.operations import reads
from django_dbos.operations.run import Run, operation_name

SALT = "django_dbos.callback"


async def acallback_url(run: Run, topic: str, max_age: float | None) -> str:
    """Return the address of a callback; a replay returns the same one."""
    call = run.begin("acallback_url", operation_name("callback_url", topic))
    if call.found is not None:
        await run.turn(call.found)
        return str(await run.aoutcome(call.found))
    if (error := find_problem()) is not None:
        await run.afail(call, error)
    new = NewInquiry(kind="callback", step_number=call.step_number, topic=topic, timeout=max_age)
    asked = await reads.apatiently(run, lambda: run.host.store.ask(run.claim, new))
    if asked is None:
        await run.aensure_claim(always=True)
        raise RuntimeError(f"The callback of {call.label} has no row.")
    url = url_of(asked)
    output = serializers.dumps(url, label=f"The answer to {call.label}")
    answer = await run.asubmit(RecordStep, call, checkpoint=call.checkpoint(output=output))
    return url if answer.checkpoint is None else str(await run.aoutcome(answer.checkpoint))


def url_of(asked: Asked) -> str:
    """Return the address of a callback."""
    return address_of(sign(asked.inquiry_id, asked.secret.hex))


def address_of(signed: str) -> str:
    """Return the address for a signed text.

    Raises:
        ImproperlyConfigured: DBOS["BASE_URL"] or the URLs of `django_dbos.urls` are missing.
    """
    from django.urls import NoReverseMatch, reverse

    try:
        path = reverse("dbos:callback", args=[signed])
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "Callbacks need their URL: add path('dbos/', include('django_dbos.urls')) to the "
            "project's urls.py."
        ) from error
    return conf.absolute_url(path)


def sign(inquiry_id: int, secret: str) -> str:
    """Return the part of an address that identifies a callback."""
    return signing.Signer(salt=SALT).sign(f"{inquiry_id}.{secret}")


def unsign(signed: str) -> tuple[int, str] | None:
    """Return the number of a callback's row and its secret; None for a forged text."""
    try:
        text = signing.Signer(salt=SALT).unsign(signed)
    except signing.BadSignature:
        return None
    inquiry_id, _, secret = text.partition(".")
    return int(inquiry_id), secret


def find_problem() -> ImproperlyConfigured | None:
    """Return the error that address_of() raises for every callback, if there is one."""
    try:
        address_of("any")
    except ImproperlyConfigured as error:
        return error
    return None


def message_of(value: Any) -> str:
    """Return a callback's value, serialized.

    Raises:
        SerializationError: It can't be stored; PayloadTooLarge if it is too large.
    """
    return serializers.dumps(value, label="The value of a callback")
