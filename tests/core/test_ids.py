"""Generated ids are UUIDv7, whether they are created as objects or as text."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import RFC_4122, UUID

import pytest

from django_dbos.core import ids


@pytest.mark.parametrize(
    "make",
    [
        ids.new_workflow_ids,
        lambda count: [ids.new_workflow_ids(1)[0] for _ in range(count)],
        lambda count: [str(ids.new_uuid()) for _ in range(count)],
    ],
    ids=["many", "one by one", "as UUIDs"],
)
def test_ids_are_random_and_begin_with_the_time(make: Callable[[int], list[str]]) -> None:
    before = time.time_ns() // 1_000_000
    made = [UUID(text) for text in make(1_000)]
    after = time.time_ns() // 1_000_000

    assert {(uuid.version, uuid.variant) for uuid in made} == {(7, RFC_4122)}
    assert all(before <= uuid.int >> 80 <= after for uuid in made)
    # Over many ids, every random bit is 0 and 1.
    random_bits = 0xFFF << 64 | (1 << 62) - 1
    ones, zeros = 0, 0
    for uuid in made:
        ones |= uuid.int
        zeros |= ~uuid.int
    assert ones & zeros & random_bits == random_bits
    assert len(set(made)) == 1_000


def test_ids_created_together_are_ordered_and_formatted_as_uuids() -> None:
    made = ids.new_workflow_ids(100)

    assert made == sorted(made) == [str(UUID(text)) for text in made]
    assert ids.new_workflow_ids(0) == []
