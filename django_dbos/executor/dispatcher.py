"""Dispatcher: claims workflows up to the free slots, and hands them to the pool.

A lane is a queue and a priority. Lanes are claimed one after the other, each from its watermark.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from django_dbos.conf import get_settings
from django_dbos.core import registry
from django_dbos.core.records import Claim, Lane
from django_dbos.core.status import Status
from django_dbos.executor.culprits import Culprits
from django_dbos.executor.loop import Loop
from django_dbos.executor.throttle import Throttle
from django_dbos.executor.watermark import Watermark
from django_dbos.interruptions import ClaimLost, RunCancelled
from django_dbos.operations.run import Run
from django_dbos.store.sessions import Session

if TYPE_CHECKING:
    from django_dbos.executor.executor import Executor

logger = logging.getLogger("django_dbos.executor")

# After a claim has drained a lane, wait this many seconds before claiming again: workflows that
# arrive one by one are then claimed, run and ended in batches. The first one after a rest is
# claimed at once.
BREATH = 0.002
# Back-off in seconds between polls while none of the enqueued workflows can run here.
FIRST_FRUITLESS_PAUSE, LAST_FRUITLESS_PAUSE = 2.0, 20.0
# Seconds for which a claim must be without a run before it counts as forgotten: a child's is
# committed a moment before its run begins.
FORGOTTEN_AFTER = 0.5
# Seconds between two comparisons of claims and runs when it isn't known which has changed.
AUDIT_PAUSE = 0.02


class Dispatcher:
    """A thread with a connection of its own; the only one that claims for this executor."""

    def __init__(self, executor: Executor, queue_names: Sequence[str] | None) -> None:
        self._executor = executor
        self._queue_names = None if queue_names is None else frozenset(queue_names)
        self._store = executor.store
        self._session: Session | None = None
        self._culprits = Culprits(executor, self._own)
        self._lock = threading.Lock()
        self._told: set[Lane] = set()
        self._must_look = True
        self._lanes: set[Lane] = set()
        self._watermarks: dict[Lane, Watermark] = {}
        self._listed: set[Lane] = set()
        self._listing = Throttle()
        self._usual_claim = math.inf
        """Seconds that a claim takes at least."""
        self._fruitless_pause = 0.0
        self._look_again_at = 0.0
        self._claims_from = 0.0
        self._idle_since: dict[tuple[str, int], float] = {}
        self._must_audit = self._wants_audit = False
        self._audit_at, self._audited_at = math.inf, 0.0
        self._must_reconnect = False
        self._running_suspect = ""
        self._unknown_names: set[str] = set()
        self._turn = 0
        self.is_paused = False
        self.looks = 0
        """How often all lanes were found empty: `--once` waits for the next time."""
        self.loop = Loop("dbos-dispatcher", self.tick, on_error=self._recover, on_end=self.close)

    # What wakes it

    def tell_lanes(self, lanes: Iterable[Lane]) -> None:
        """Something was enqueued in these lanes; none: perhaps anywhere."""
        wanted = [lane for lane in lanes if self.serves(lane[0])]
        with self._lock:
            self._told.update(wanted)
        if wanted:
            self.loop.wake()

    def look(self) -> None:
        """Look through all lanes."""
        self._must_look = True
        self.loop.wake()

    def look_again(self) -> None:
        """Something is enqueued, perhaps the same that was for nobody here the last time."""
        if time.monotonic() >= self._look_again_at and self._listing.is_allowed:
            self.look()

    def start_anew(self) -> None:
        """The executor has a new id: connect under that, and look through all lanes."""
        self._must_reconnect = True
        self.look()

    def audit(self) -> None:
        """Compare the claims in the table with the runs of this executor."""
        self._must_audit = True
        self.loop.wake()

    def audit_soon(self) -> None:
        """Like audit(), but not again and again."""
        self._wants_audit = True
        self.loop.wake()

    def serves(self, queue_name: str) -> bool:
        """Whether this executor listens to a queue."""
        return self._queue_names is None or queue_name in self._queue_names

    # What it does

    def tick(self) -> float | None:
        """Claim what there is room for; return when to look again."""
        if self.is_paused:
            return None
        if self._must_reconnect:
            self._must_reconnect = False
            self.close()
        if self._wants_audit:
            self._wants_audit = False
            if self._executor.runs:
                self._audit_at = min(self._audit_at, self._audited_at + AUDIT_PAUSE)
        if self._must_audit or time.monotonic() >= self._audit_at:
            self._must_audit = False
            self._audit()
        if self._running_suspect and self._running_suspect not in self._executor.runs:
            self._running_suspect = ""
            self._must_look = True
        self._breathe()
        if self._must_look:
            self._must_look = False
            self._find_lanes()
        with self._lock:
            told, self._told = self._told, set()
        self._add(told)
        pause = self._serve()
        until_audit = self._audit_at - time.monotonic()
        if until_audit == math.inf:
            return pause
        return max(until_audit if pause is None else min(pause, until_audit), 0.0)

    def _breathe(self) -> None:
        """Let more arrive, if all there was has only just been taken."""
        pause = self._claims_from - time.monotonic()
        if pause > 0:
            time.sleep(pause)

    def _find_lanes(self) -> None:
        with self._listing.spent():
            lanes = self._store.list_lanes(self._own())
        self._listed = {lane for lane in lanes if self.serves(lane[0])}
        self._add(self._listed)
        self._watermarks = {
            lane: watermark
            for lane, watermark in self._watermarks.items()
            if lane in self._lanes or not watermark.is_forgotten
        }
        if self._listed:
            self._expect_nothing()
            self._claim_suspect(sorted({lane[0] for lane in self._listed}))

    def _add(self, lanes: set[Lane]) -> None:
        """Serve these lanes, in which something is enqueued."""
        for lane in lanes:
            watermark = self._watermarks.setdefault(lane, Watermark())
            watermark.begin(was_empty=lane not in self._lanes)
        self._lanes |= lanes

    def _serve(self) -> float | None:
        """Claim lane by lane, while there are free slots."""
        pauses = []
        for lane in self._in_order():
            if self._executor.slots.free <= 0 or self.is_paused:
                # A slot that becomes free wakes this thread.
                return None
            pauses.append(self._claim(lane))
        if not self._lanes:
            self.looks += 1
        left = [pause for pause in pauses if pause is not None]
        return min(left) if left else self._rest()

    def _rest(self) -> float | None:
        """How long there is nothing to do unless somebody says so."""
        if self._store.wakeups.is_listening:
            return None
        self._must_look = True
        return get_settings().poll_interval

    def _expect_nothing(self) -> None:
        """Look again later and later, unless something is claimed after all."""
        longer = max(self._fruitless_pause * 2, FIRST_FRUITLESS_PAUSE)
        self._fruitless_pause = min(longer, LAST_FRUITLESS_PAUSE)
        self._look_again_at = time.monotonic() + self._fruitless_pause

    def _in_order(self) -> list[Lane]:
        """Higher priorities first; within one, another queue first each time."""
        self._turn += 1
        lanes = sorted(self._lanes)
        start = self._turn % len(lanes) if lanes else 0
        return sorted(lanes[start:] + lanes[:start], key=lambda lane: -lane[1])

    def _claim(self, lane: Lane) -> float | None:
        """Claim from one lane; return the seconds until its next claim, None if it is empty."""
        watermark = self._watermarks[lane]
        if watermark.pause:
            return watermark.pause
        looks_back = watermark.must_look_back
        with watermark.looking_back(self._usual_claim) if looks_back else nullcontext():
            began = time.monotonic()
            has_more, claims, last = self._claim_above(lane, watermark)
        is_all = not has_more
        watermark.note_claim(last, count=len(claims), is_all=is_all, looked_back=looks_back)
        if claims and is_all:
            self._claims_from = time.monotonic() + BREATH
        self._dispatch(claims, began)
        if not (is_all and looks_back):
            return watermark.pause
        self._lanes.discard(lane)
        if not claims and lane in self._listed:
            self._explain(lane)
        return None

    def _claim_above(self, lane: Lane, watermark: Watermark) -> tuple[bool, list[Claim], int]:
        """Return whether there may be more, the claims, and the last position taken."""
        slots, began = self._executor.slots, time.monotonic()
        wanted = slots.take(watermark.appetite)
        claims: list[Claim] = []
        try:
            claims, last, has_more = self._culprits.claim(lane, above=watermark.above, limit=wanted)
        finally:
            slots.untake(wanted - len(claims))
        self._usual_claim = min(self._usual_claim, time.monotonic() - began)
        return has_more, claims, last

    def _claim_suspect(self, queue_names: list[str]) -> None:
        """One at a time: what kills an executor again and again mustn't take others with it."""
        executor = self._executor
        if self._running_suspect or not executor.slots.take():
            return
        claims: list[Claim] = []
        began = time.monotonic()
        try:
            claims = self._culprits.claim_suspect(queue_names)
        finally:
            executor.slots.untake(1 - len(claims))
        for claim in claims:
            logger.warning(
                "Workflow %r (%r) runs alone of its kind: %d executors have died with it",
                claim.workflow_id,
                claim.name,
                claim.recovery_attempts,
            )
            self._running_suspect = claim.workflow_id
        self._dispatch(claims, began)

    def _dispatch(self, claims: Sequence[Claim], began: float) -> None:
        """Load the histories of all, and start them; release them if that fails."""
        if not claims:
            return
        self._fruitless_pause = self._look_again_at = 0.0
        try:
            runs = self._culprits.load(claims)
        except BaseException:
            self._forget(claims)
            raise
        self._executor.slots.give_back(len(claims) - len(runs))
        for position, run in enumerate(runs):
            try:
                self._executor.begin(run, since=began)
            except BaseException:
                self._forget([one.claim for one in runs[position:]])
                raise

    def _forget(self, claims: Sequence[Claim]) -> None:
        """These won't run here: the next audit releases them (CORRECTNESS rule 3)."""
        for claim in claims:
            self._idle_since[claim.workflow_id, claim.claim_number] = -math.inf
        self._executor.slots.give_back(len(claims))
        self._must_audit = True

    def _explain(self, lane: Lane) -> None:
        """Say once of each name that nobody here knows why its workflows wait."""
        self._listed.discard(lane)
        try:
            known = [*registry.workflows, *self._unknown_names]
            found = self._store.find_unknown(lane[0], known)
        finally:
            # Django's connection of this thread is needed for nothing else.
            self._store.session().close()
        if found is None:
            return
        self._unknown_names.add(found[1])
        logger.warning(
            "Workflow %r waits in queue %r: its function %r isn't known here. Import it in the "
            "workflows.py of an app; after a rename give it this name, @workflow(name=…). Another "
            "worker may know it.",
            found[0],
            lane[0],
            found[1],
        )

    def _audit(self) -> None:
        """Release what the table says this executor runs and it doesn't; stop what it lost."""
        executor = self._executor
        runs = dict(executor.runs)
        doubts = {workflow_id: run.last_doubt for workflow_id, run in runs.items()}
        self._audited_at = time.monotonic()
        held = self._store.list_held(self._own(), executor.executor_id)
        now = time.monotonic()
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
        self._audit_at = math.inf if is_sure else now + FORGOTTEN_AFTER
        if forgotten:
            logger.warning("Releasing %d workflows that nobody runs here", len(forgotten))
            lanes = self._store.release_workflows(self._own(), executor.executor_id, forgotten)
            self.tell_lanes(lanes)
        lost = []
        for workflow_id, run in runs.items():
            if held.get(workflow_id) == run.claim.claim_number:
                run.settle(doubts[workflow_id])
            elif run.is_under_way and run.interruption is None:
                lost.append(run)
        self._interrupt(lost)

    def _interrupt(self, lost: Sequence[Run]) -> None:
        """Stop runs whose claim is somebody else's by now."""
        if not lost:
            return
        ids = [run.workflow_id for run in lost]
        statuses = self._store.read_statuses(self._own(), ids)
        for run in lost:
            is_cancelled = statuses.get(run.workflow_id) is Status.CANCELLED
            run.interrupt(RunCancelled() if is_cancelled else ClaimLost())

    def _own(self) -> Session:
        if self._session is None:
            self._session = self._store.connect(self._executor.executor_id, "dispatcher")
        return self._session

    def _recover(self) -> None:
        """After an error: what was claimed without an answer is found by the audit."""
        self.close()
        self._watermarks = {lane: Watermark() for lane in self._lanes}
        self._must_look = self._must_audit = True

    def close(self) -> None:
        """Close the connection; the next statement makes a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None
