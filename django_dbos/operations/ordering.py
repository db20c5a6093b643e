"""Concurrent branches of an async run: outcomes are delivered in the order of their recording.

Branches take positions as they go, so a replay gives each its own outcomes only if the branches
are scheduled as they were at first. Two things make them: an outcome is delivered only when every
task of the run is blocked, and outcomes are delivered one at a time, in the order in which they
were recorded. The first run keeps to the same rule as a replay (CORRECTNESS rule 21).
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The passes of the loop during which all tasks must stay blocked: a result travels through a
# gather() or a TaskGroup in callbacks, each of which takes a pass.
QUIET_PASSES = 5
# The passes after which a task that never blocks no longer delays the others.
MAX_PASSES = 2_000
# Seconds between two checks for an outcome that another thread is recording or reading.
EXPECTATION_PAUSE = 0.0005


class Branches:
    """The tasks of one async run, and the outcomes that wait for their turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()
        self._turns: list[tuple[int, int, asyncio.Future[None]]] = []
        self._turn_count = 0
        self._expected: dict[int, int] = {}
        self._holds = 0
        self._is_pumping = False
        self._quiet_passes = 0
        self._passes = 0
        self._is_stopped = False

    def add(self, task: asyncio.Task[Any]) -> None:
        """Note a new task of the run."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def live_tasks(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that aren't done."""
        return {task for task in self._tasks if not task.done()}

    @property
    def is_concurrent(self) -> bool:
        """True if more than one task of the run is alive."""
        return len(self._tasks) > 1

    @property
    def is_at_rest(self) -> bool:
        """True if all tasks but the current one are blocked, and none has got an outcome."""
        if self._turns or self._holds or self._expected:
            return False
        current = asyncio.current_task()
        return all(task is current or _is_blocked(task) for task in self._tasks)

    def stop(self) -> None:
        """Cancel all turns, since the function has ended."""
        self._is_stopped = True
        for _, _, turn in self._turns:
            turn.cancel()
        self._turns.clear()

    def expect(self, step_number: int, record_order: int) -> None:
        """Have later outcomes wait for a step that another thread is recording."""
        self._expected[step_number] = record_order

    def expected(self, step_number: int) -> int:
        """Forget a step that another thread has recorded; return its record order, or 0."""
        return self._expected.pop(step_number, 0)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Deliver nothing in the block, in which a branch reads the outcome that it got."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    async def turn(self, record_order: int) -> None:
        """Return when the outcome with this record order may be delivered."""
        if self._is_stopped or (not self.is_concurrent and not self._turns):
            return
        turn = self._loop.create_future()
        self._turn_count += 1
        heapq.heappush(self._turns, (record_order, self._turn_count, turn))
        if not self._is_pumping:
            self._is_pumping = True
            self._loop.call_soon(self._pump)
        await turn

    def _pump(self) -> None:
        """Deliver the next outcome once all tasks are at rest; the loop calls this in each pass."""
        while self._turns and self._turns[0][2].done():
            heapq.heappop(self._turns)
        if not self._turns:
            self._is_pumping = False
            return
        self._passes += 1
        if self._holds or self._is_expected_before(self._turns[0][0]):
            self._loop.call_later(EXPECTATION_PAUSE, self._pump)
            return
        self._quiet_passes = self._quiet_passes + 1 if self._is_quiet() else 0
        if self._quiet_passes > QUIET_PASSES or self._passes > MAX_PASSES:
            heapq.heappop(self._turns)[2].set_result(None)
            self._quiet_passes = self._passes = 0
        self._loop.call_soon(self._pump)

    def _is_expected_before(self, record_order: int) -> bool:
        return min(self._expected.values(), default=record_order) < record_order

    def _is_quiet(self) -> bool:
        return all(_is_blocked(task) for task in self._tasks)


def _is_blocked(task: asyncio.Task[Any]) -> bool:
    waiter = getattr(task, "_fut_waiter", None)
    return waiter is not None and not waiter.done()
