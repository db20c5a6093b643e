"""The look-ups of a batch before its decision."""

from __future__ import annotations

from django_dbos.core.batch.lookups import questions
from tests.core.writes import MESSAGE, step, wait


def test_only_what_the_batch_needs_is_asked() -> None:
    asked = questions([step(), wait(MESSAGE), wait(MESSAGE, number=2)], is_repeat=False)

    assert asked.checkpoints == [("w", 1), ("w", 1), ("w", 2)]
    assert asked.messages == {("w", ""): 2}
    assert not asked.events
    assert not asked.workflows
    assert not asked.tails
    assert not asked.write_ids
