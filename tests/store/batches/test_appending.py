"""Appending to streams, in a batch of entries (one statement) or in a mixed batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from django_dbos.core.records import (
    Answer,
    Claim,
    RecordEntry,
    RecordWait,
    Refusal,
    Verdict,
    Wake,
    Write,
)
from django_dbos.models import Checkpoint, StreamEntry
from django_dbos.store.base import Store
from tests.store.conftest import checkpoint, entry, step

Claims = Callable[..., Claim]
Append = Callable[..., list[Answer]]


@pytest.fixture(params=[True, False], ids=["alone", "with others"])
def append(store: Store, session: Any, executor_id: str, claim: Claims, request: Any) -> Append:
    """Append entries, or do so with a flush of another workflow, which makes a mixed batch."""
    other = Write(workflow_id=(held := claim()).workflow_id, claim_number=held.claim_number)

    def append(*entries: Write) -> list[Answer]:
        batch = [*entries] if request.param else [*entries, other]
        plan = store.apply(session, executor_id, batch, is_repeat=False)
        assert len({(entry.key, entry.offset) for entry in plan.entries}) == len(plan.entries)
        return plan.answers[: len(entries)]

    return append


def own(held: Claim, number: int) -> RecordEntry:
    """Return an entry that the workflow itself writes, outside of steps."""
    write = entry(held, str(number))
    return replace(write, checkpoint=checkpoint(held, number), step_number=number)


def entries() -> list[tuple[str, int, str | None]]:
    found = StreamEntry.objects.order_by("workflow_id", "key", "offset")
    return list(found.values_list("key", "offset", "value_text"))


def test_offsets_continue_without_gaps(claim: Claims, append: Append) -> None:
    held, other = claim(), claim()
    append(entry(held, "0"))

    answers = append(
        entry(held, "1"), entry(other, "0"), replace(entry(held, "x"), key="k"), entry(held, "2")
    )

    assert {answer.verdict for answer in answers} == {Verdict.DONE}
    key = entry(held, "").key
    assert sorted(entries()) == sorted(
        [(key, 0, "0"), (key, 0, "0"), (key, 1, "1"), (key, 2, "2"), ("k", 0, "x")]
    )


def test_entries_outside_of_steps_have_checkpoints(claim: Claims, append: Append) -> None:
    held = claim()

    append(*(own(held, number) for number in (1, 2)))

    found = Checkpoint.objects.order_by("step_number")
    assert [(one.step_number, one.record_order, one.state) for one in found] == [
        (1, 1, 0), (2, 2, 0),
    ]  # fmt: skip


@pytest.mark.rule(11)
def test_after_the_end_nothing_is_appended(claim: Claims, append: Append) -> None:
    held = claim()
    append(entry(held, "0"), entry(held, None))

    answers = append(replace(entry(held, "x"), key="k"), entry(held, "1"), entry(held, "2"))

    assert [answer.refusal for answer in answers] == [None, *[Refusal.STREAM_CLOSED] * 2]
    assert [value for _, _, value in entries()].count("x") == 1
    assert StreamEntry.objects.count() == 3


@pytest.mark.rule(7)
def test_without_the_claim_nothing_is_appended(claim: Claims, append: Append) -> None:
    held, other = claim(), claim()
    zombie = replace(held, claim_number=held.claim_number - 1)

    answers = append(entry(zombie, "lost"), entry(other, "kept"))

    assert [answer.verdict for answer in answers] == [Verdict.CLAIM_LOST, Verdict.DONE]
    assert [value for _, _, value in entries()] == ["kept"]


def test_a_recorded_entry_is_found_and_not_appended_again(
    store: Store, session: Any, executor_id: str, claim: Claims, append: Append
) -> None:
    held = claim()
    store.apply(session, executor_id, [step(held, 1)], is_repeat=False)

    (answer,) = append(own(held, 1))

    assert answer.verdict is Verdict.FOUND
    assert entries() == []


@pytest.mark.rule(12)
def test_a_repeated_batch_finds_its_own_entries(
    store: Store, session: Any, executor_id: str, claim: Claims, append: Append
) -> None:
    held = claim()
    writes = [entry(held, "0"), own(held, 1)]
    append(*writes)

    store.apply(session, executor_id, writes, is_repeat=True)

    assert [value for _, _, value in entries()] == ["0", "1"]


@pytest.mark.rule(70)
def test_a_wait_for_any_takes_the_value_of_an_entry_of_its_own_batch(
    store: Store, session: Any, executor_id: str, claim: Claims
) -> None:
    """The value isn't in the table when the batch is decided."""
    writer, waiter = claim(), claim()
    awaited = replace(Wake.of_stream(writer.workflow_id, "s", 1), position=0)
    wait = RecordWait(
        workflow_id=waiter.workflow_id,
        claim_number=waiter.claim_number,
        checkpoint=checkpoint(waiter),
        wake=Wake.of_any(waiter.workflow_id, [awaited], "an entry"),
        timeout=None,
    )

    plan = store.apply(
        session,
        executor_id,
        [entry(writer, "0"), entry(writer, "1"), wait],
        is_repeat=False,
    )

    outcome = plan.answers[2].checkpoint
    assert outcome is not None
    assert outcome.output == '{"winner": 0, "value": 1}'
    assert Checkpoint.objects.get(workflow_id=waiter.workflow_id).output_text == outcome.output
