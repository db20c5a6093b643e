"""Audit: compares the claims of this executor, as the table has them, with its runs.

A claim without a run is released: the claim's answer was lost, or its history couldn't be loaded
(CORRECTNESS rule 3). A run without a claim is interrupted: its workflow was cancelled, or given to
another executor. Its place in the limits of its queue lingers until the function has returned, and
is freed here (rule 58). A workflow that ran when its queue got a limit has a place that its claim
didn't have: its run learns of it here. One whose claim was just being made gets its place here, if
no claim was quicker (rule 75).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from django_dbos.core.records import Claim, Lane
from django_dbos.core.status import Status
from django_dbos.executor.clock import Clock
from django_dbos.executor.runs import Runs
from django_dbos.interruptions import ClaimLost, RunCancelled
from django_dbos.operations.run import Run
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds for which a claim must be without a run before it counts as forgotten: a child's is
# committed a moment before its run begins.
FORGOTTEN_AFTER = 0.5
# Seconds between two audits when it isn't known which claim has changed.
PAUSE = 0.02
# Seconds for which claims without places are looked for, after a queue may have become managed,
# and the seconds between two looks.
PLACES_FOR, PLACES_PAUSE = 60.0, 5.0


class Audit:
    """The comparison, on the dispatcher's thread.

    `on_release` receives the lanes of releases and of freed places.
    """

    def __init__(
        self,
        runs: Runs,
        clock: Clock,
        connect: Callable[[], Session],
        on_release: Callable[[list[Lane]], None],
    ) -> None:
        self._runs = runs
        self._clock = clock
        self._connect = connect
        self._on_release = on_release
        self._is_requested = self._is_wanted_soon = False
        self._next_at, self._last_at = math.inf, 0.0
        self._places_until, self._places_at = -math.inf, math.inf
        """Until when claims may lack places, and when to look for them again."""
        self._idle_since: dict[tuple[str, int], float] = {}
        """Claims without a run, and since when."""

    def request(self) -> None:
        """Compare at the next opportunity; from any thread."""
        self._is_requested = True

    def request_soon(self) -> None:
        """Compare if anything runs, at most once a PAUSE; from any thread."""
        self._is_wanted_soon = True

    def release(self, claims: Sequence[Claim]) -> None:
        """Make the next comparison release these claims, which won't run here."""
        for claim in claims:
            self._idle_since[claim.workflow_id, claim.claim_number] = -math.inf
        self._is_requested = True

    @property
    def pause(self) -> float | None:
        """The seconds until the next comparison; None: there is none."""
        next_at = min(self._next_at, self._places_at)
        return None if next_at == math.inf else max(next_at - self._clock(), 0.0)

    def run_if_due(self) -> None:
        """Compare if that was requested, or if the last comparison left something open."""
        if self._is_wanted_soon:
            self._is_wanted_soon = False
            if len(self._runs):
                self._places_until = self._clock() + PLACES_FOR
                self._next_at = min(self._next_at, self._last_at + PAUSE)
        is_due = self._clock() >= self._next_at
        if self._clock() >= self._places_at:
            # What isn't running needs no place; what begins to run until the next look, gets one.
            is_due = is_due or bool(len(self._runs))
            self._look_for_places_later(self._clock() <= self._places_until)
        if self._is_requested or is_due:
            self._is_requested = False
            self._run()

    def _run(self) -> None:
        runs = {run.workflow_id: run for run in self._runs}
        doubts = {workflow_id: run.last_doubt for workflow_id, run in runs.items()}
        self._last_at = self._clock()
        may_lack_places = self._give_places()
        held = self._runs.store.list_held(self._connect(), self._runs.executor_id)
        self._release_forgotten(held.claims, runs)
        self._free_returned(held.lingering, runs)
        lost = []
        for workflow_id, run in runs.items():
            if held.claims.get(workflow_id) == run.claim.claim_number:
                run.settle(doubts[workflow_id])
                if workflow_id in held.places:
                    run.note_place(*held.places[workflow_id])
            elif run.is_under_way and run.interruption is None:
                lost.append(run)
        self._interrupt(lost)
        self._look_for_places_later(may_lack_places)

    def _look_for_places_later(self, may_lack_places: bool) -> None:
        self._places_at = self._clock() + PLACES_PAUSE if may_lack_places else math.inf

    def _give_places(self) -> bool:
        """Give places to claims without; return whether there may be more of them soon."""
        if self._clock() > self._places_until:
            return False
        return self._runs.store.give_places(self._connect(), self._runs.executor_id)

    def _release_forgotten(self, held: dict[str, int], runs: dict[str, Run]) -> None:
        now = self._clock()
        self._idle_since = {
            claim: self._idle_since.get(claim, now)
            for claim in held.items()
            if claim[0] not in runs
        }
        forgotten = [
            workflow_id
            for (workflow_id, _), since in self._idle_since.items()
            if now - since >= FORGOTTEN_AFTER
        ]
        is_sure = len(forgotten) == len(self._idle_since)
        self._next_at = math.inf if is_sure else now + FORGOTTEN_AFTER
        if forgotten:
            logger.warning("Releasing %d workflows that nobody runs here", len(forgotten))
            executor_id = self._runs.executor_id
            lanes = self._runs.store.release_workflows(self._connect(), executor_id, forgotten)
            self._on_release(lanes)

    def _free_returned(self, lingering: dict[str, int], runs: dict[str, Run]) -> None:
        """Free the places of functions that have returned without their claims."""
        returned = {found: number for found, number in lingering.items() if found not in runs}
        count, freed = self._runs.store.free_places(
            self._connect(), self._runs.executor_id, returned
        )
        self._on_release(freed)
        if count < len(returned):
            # Others have locked or changed the rows.
            self._next_at = min(self._next_at, self._clock() + FORGOTTEN_AFTER)

    def _interrupt(self, lost: Sequence[Run]) -> None:
        """Interrupt runs whose claim is gone."""
        if not lost:
            return
        workflow_ids = [run.workflow_id for run in lost]
        statuses = self._runs.store.read_statuses(self._connect(), workflow_ids)
        for run in lost:
            is_cancelled = statuses.get(run.workflow_id) is Status.CANCELLED
            run.interrupt(RunCancelled() if is_cancelled else ClaimLost())
