"""Workflows whose values hold a secret."""

from __future__ import annotations

from pathlib import Path

from django import forms

import django_dbos as dbos

SECRET = "4111-1111-1111-1111"


class Declined(Exception):
    """A payment failed; the message has data."""


class Confirm(forms.Form):
    """Asks for a text."""

    note = forms.CharField()


@dbos.step
def charge(card: str) -> dict[str, str]:
    return {"charged": card}


@dbos.step(max_attempts=2, interval=0.01)
def decline(card: str) -> None:
    raise Declined(f"card {card} was declined")


@dbos.workflow
def pay(card: str) -> dict[str, str]:
    """Have a value of each kind in the tables."""
    paid = charge(card)
    dbos.set_event("card", card)
    dbos.write_stream("log", {"card": card})
    told = dbos.recv("note", timeout=60)
    try:
        decline(card)
    except Declined as error:
        return {**paid, "told": told, "error": str(error)}
    return {}


@dbos.workflow
def fail(card: str) -> None:
    charge(card)
    raise Declined(f"card {card} was declined")


@dbos.workflow
def wait_for_note(card: str) -> str:
    charge(card)
    return f"{card} {dbos.recv('note', timeout=None)}"


@dbos.workflow
def begin_again(card: str, is_first: bool = True) -> str:
    if is_first:
        dbos.continue_as_new(card, is_first=False)
    return card


@dbos.workflow
def ask_somebody(card: str) -> str:
    data, _ = dbos.wait_for_form(Confirm, initial={"note": card}, timeout=60)
    return str(data["note"])


@dbos.workflow
def wait_for_callback() -> int:
    dbos.set_event("url", dbos.callback_url("paid"))
    return len(str(dbos.recv("paid", timeout=None)))


@dbos.workflow
def pass_through_gate(path: str, card: str) -> str:
    charge(card)
    hold(path)
    return card


@dbos.step
def hold(path: str) -> None:
    from tests.process.workflows import Gate

    Gate(Path(path)).pass_through()


@dbos.workflow
async def charge_twice(first: str, second: str) -> list[dict[str, str]]:
    import asyncio

    return list(await asyncio.gather(acharge(first), acharge(second)))


@dbos.step
async def acharge(card: str) -> dict[str, str]:
    return {"charged": card}
