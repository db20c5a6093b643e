"""The batch sizes of claims in turn."""

from __future__ import annotations

from django_dbos.core.queues import Part
from django_dbos.executor.turns import PacedTurn
from django_dbos.executor.watermark import FIRST_CLAIMS, MAX_CLAIMS
from tests.executors import StoppedClock

# What a claim finds out about a queue without keys, in which it leaves workflows or none.
MORE, NO_MORE = Part(is_cut=True), Part()


def size_after(turn: PacedTurn, part: Part, count: int, *, limit: int) -> int:
    """Return the next batch size after a claim."""
    turn.begin()
    turn.note_claim(part, count, limit=limit)
    return turn.batch_size


def test_batches_grow_while_a_queue_fills_them() -> None:
    turn = PacedTurn(StoppedClock(1_000.0))
    sizes = [size_after(turn, MORE, turn.batch_size, limit=turn.batch_size) for _ in range(5)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == MAX_CLAIMS

    assert size_after(turn, NO_MORE, 1, limit=MAX_CLAIMS) == FIRST_CLAIMS


def test_batches_grow_while_there_are_fewer_slots() -> None:
    turn = PacedTurn(StoppedClock(1_000.0))
    for _ in range(5):
        size_after(turn, MORE, 2, limit=2)
    assert turn.batch_size == MAX_CLAIMS


def test_batches_stay_large_while_the_queue_is_full() -> None:
    turn = PacedTurn(StoppedClock(1_000.0))
    grown = size_after(turn, MORE, FIRST_CLAIMS, limit=FIRST_CLAIMS)
    assert size_after(turn, Part(is_full=True), 1, limit=grown) == grown
    assert size_after(turn, Part(is_full=True), 0, limit=grown) == grown
