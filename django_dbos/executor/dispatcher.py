"""Dispatcher: claims workflows up to the free slots, and hands them to the pool.

Lanes are claimed one after the other: each from its watermark, or in turn of its partition keys.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext

from django_dbos import telemetry
from django_dbos.conf import get_settings
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.queues import Part
from django_dbos.core.records import Claim, Lane
from django_dbos.executor.audit import Audit
from django_dbos.executor.clock import Clock
from django_dbos.executor.connection import Connection
from django_dbos.executor.identity import Identity
from django_dbos.executor.lanes import Lanes
from django_dbos.executor.loop import Loop
from django_dbos.executor.poison import PoisonGuard
from django_dbos.executor.runs import Runs
from django_dbos.executor.successions import Successions
from django_dbos.executor.throttle import Throttle
from django_dbos.executor.turns import PacedTurn
from django_dbos.executor.unknown_names import UnknownNames
from django_dbos.executor.watermark import Watermark
from django_dbos.store import errors

# After a claim has drained a lane, wait this many seconds before claiming again: workflows that
# arrive one by one are then claimed, run and ended in batches. The first one after a rest is
# claimed at once.
BREATH = 0.002
# Before it claims from a queue that was full, wait up to this many seconds for the ends that are
# being written, unless there is something else to claim: one claim for all places that they free.
GATHERING = 0.005
# Back-off in seconds between polls while none of the enqueued workflows can run here.
FIRST_FRUITLESS_PAUSE, LAST_FRUITLESS_PAUSE = 2.0, 20.0


class Dispatcher:
    """The thread that claims for this executor, on a connection of its own."""

    def __init__(self, identity: Identity, runs: Runs, clock: Clock) -> None:
        self._runs = runs
        self._store = identity.store
        self._clock = clock
        self.connection = Connection(identity, "dispatcher")
        self.lanes = Lanes(identity, clock)
        self._audit = Audit(runs, clock, self.connection.get, self._note_released)
        self._poison_guard = PoisonGuard(runs, self.connection.get)
        self._unknown_names = UnknownNames(self._store)
        self._must_poll = True
        self._listed: set[Lane] = set()
        """Lanes of the last poll from which nothing has been claimed since."""
        self._listing = Throttle(clock)
        self._usual_claim = math.inf
        """Seconds that a claim takes at least."""
        self._fruitless_pause = 0.0
        self._poll_again_at = 0.0
        self._claims_from = 0.0
        self._running_suspect = ""
        self._adopted: deque[tuple[Sequence[Claim], float]] = deque()
        """Claims of the writer, and when they were sent."""
        self.successions = Successions(
            runs.slots, clock, find_turn=self._find_full_turn, adopt=self._adopt, audit=self.audit
        )
        self.is_paused = False
        self.polls = 0
        """The number of times that all lanes were found empty: `--once` waits for the next."""
        self.loop = Loop(
            "dbos-dispatcher", self.tick, on_error=self._recover, on_end=self.connection.close
        )

    # From any thread

    def note_lanes(self, lanes: list[Lane] | None) -> None:
        """Claim from these lanes, in which workflows were enqueued; None means any lane."""
        if lanes is None:
            self.poll()
        elif self.lanes.notify(lanes):
            self.loop.wake()

    def _find_full_turn(self, queue_name: str) -> PacedTurn | None:
        return None if self.is_paused else self.lanes.full_turn(queue_name)

    def _adopt(self, queue_name: str, claims: Sequence[Claim], began: float) -> None:
        """Run workflows that the writer has claimed, in slots that were taken for them."""
        telemetry.claimed(Lane(queue_name, None), len(claims))
        self._adopted.append((claims, began))
        self.loop.wake()

    def _note_released(self, lanes: list[Lane]) -> None:
        self.note_lanes(lanes)
        self._store.announce(self.connection.get(), Notifications(lanes=lanes))

    def poll(self) -> None:
        """Read the lanes in which workflows are enqueued."""
        self._must_poll = True
        self.loop.wake()

    def poll_again(self) -> None:
        """Poll, unless all enqueued workflows are probably ones that can't run here."""
        if self._clock() >= self._poll_again_at and self._listing.is_allowed:
            self.poll()

    def audit(self) -> None:
        """Compare the claims in the table with the runs of this executor."""
        self._audit.request()
        self.loop.wake()

    def audit_soon(self) -> None:
        """Compare them soon, at a limited rate."""
        self._audit.request_soon()
        self.loop.wake()

    def resume(self) -> None:
        """Claim again, after a pause."""
        self.is_paused = False
        self.poll()

    # The thread

    def tick(self) -> float | None:
        """Claim workflows for the free slots; return the seconds until the next call."""
        while self._adopted:
            self._dispatch(*self._adopted.popleft())
        if self.is_paused:
            return None
        self._audit.run_if_due()
        if self._runs.is_draining:
            return self._audit.pause
        if self._running_suspect and self._running_suspect not in self._runs:
            self._running_suspect = ""
            self._must_poll = True
        self._breathe()
        if self._must_poll:
            self._must_poll = False
            self._find_lanes()
        self.lanes.open_notified()
        self.lanes.open_due()
        pauses = [self._claim_all(), self._audit.pause, self.lanes.pause]
        return min((pause for pause in pauses if pause is not None), default=None)

    def _breathe(self) -> None:
        """Pause so that more workflows arrive, if the last claim has just drained the queue."""
        pause = self._claims_from - self._clock()
        if pause > 0:
            time.sleep(pause)

    def _find_lanes(self) -> None:
        with self._listing.spent():
            lanes = self._store.list_lanes(self.connection.get())
        self._listed = self.lanes.served(lanes)
        self.lanes.open(self._listed)
        self.lanes.drop_unused()
        if self._listed:
            self._expect_nothing()
            self._claim_suspect(self._listed)

    def _expect_nothing(self) -> None:
        """Poll at growing intervals until something is claimed."""
        longer = max(self._fruitless_pause * 2, FIRST_FRUITLESS_PAUSE)
        self._fruitless_pause = min(longer, LAST_FRUITLESS_PAUSE)
        self._poll_again_at = self._clock() + self._fruitless_pause

    def _claim_all(self) -> float | None:
        """Claim lane by lane, while there are free slots."""
        pauses = []
        for lane in self.lanes.in_order():
            if self._runs.slots.free <= 0 or self.is_paused or self._runs.is_draining:
                # A slot that becomes free wakes this thread.
                return None
            pauses.append(self._claim(lane))
        left = [pause for pause in pauses if pause is not None]
        if left:
            return min(left)
        self.polls += 1
        return self._rest()

    def _rest(self) -> float | None:
        """Return the seconds until the next poll: None if notifications come."""
        if self._store.wakeups.is_listening:
            return None
        self._must_poll = True
        return get_settings().poll_interval

    def _claim(self, lane: Lane) -> float | None:
        """Claim from one lane; return the seconds until its next claim, None if it is empty."""
        if lane.priority is None:
            return self._claim_in_turn(lane)
        try:
            return self._claim_in_order(lane)
        except errors.ManagedQueue:
            # It was not when we last knew.
            self.lanes.note_managed(lane.queue_name)
            return 0.0

    def _claim_in_order(self, lane: Lane) -> float | None:
        """Claim from a lane with a priority: see _claim()."""
        watermark = self.lanes.watermark(lane)
        if watermark.pause:
            return watermark.pause
        is_rescan = watermark.must_rescan
        with watermark.rescanning(self._usual_claim) if is_rescan else nullcontext():
            began = self._clock()
            has_more, claims, last = self._claim_above(lane, watermark)
        is_all = not has_more
        watermark.note_claim(last, count=len(claims), is_all=is_all, is_rescan=is_rescan)
        if claims:
            telemetry.claimed(lane, len(claims))
            if is_all:
                self._claims_from = self._clock() + BREATH
        self._dispatch(claims, began)
        if not (is_all and is_rescan):
            return watermark.pause
        self.lanes.close(lane)
        self._explain(lane, is_fruitless=not claims)
        return None

    def _explain(self, lane: Lane, *, is_fruitless: bool) -> None:
        """Log why the workflows of a closed lane wait, if they were listed and none was claimed."""
        if is_fruitless and lane in self._listed:
            self._listed.discard(lane)
            self._unknown_names.explain(lane.queue_name)

    def _claim_in_turn(self, lane: Lane) -> float | None:
        """Claim from a lane without a priority: see _claim()."""
        turn = self.lanes.turn(lane)
        if turn.pause:
            return turn.pause
        if turn.is_full and self.lanes.is_alone(lane):
            self._runs.slots.wait_until_settled(GATHERING)
            if turn.is_served:
                self.lanes.close(lane)
                return None
        if not turn.lock.acquire(timeout=GATHERING):
            # The writer claims, and other lanes don't wait for that.
            return GATHERING
        began = self._clock()
        try:
            claims, part, limit = self._take_turn(lane.queue_name, turn)
            may_have_more = turn.note_claim(part, len(claims), limit=limit)
        finally:
            turn.lock.release()
        if claims:
            telemetry.claimed(lane, len(claims))
        if claims and not may_have_more:
            self._claims_from = self._clock() + BREATH
        self._dispatch(claims, began)
        if (
            not part.is_managed
            and not part.is_locked
            and self.lanes.note_unmanaged(lane.queue_name)
        ):
            # Its workflows without keys are in other lanes.
            self._must_poll = True
        if may_have_more:
            return turn.pause
        self.lanes.close(lane, seconds=turn.next_start)
        self._explain(lane, is_fruitless=turn.is_fruitless)
        return None

    def _take_turn(self, queue_name: str, turn: PacedTurn) -> tuple[list[Claim], Part, int]:
        """Return the next claims of a turn, what is known of the rest, and how many were wanted."""
        slots = self._runs.slots
        wanted = slots.take(turn.batch_size)
        claims: list[Claim] = []
        try:
            claims, part = self._poison_guard.claim_in_turn(
                queue_name, after=turn.after, limit=wanted
            )
        finally:
            slots.untake(wanted - len(claims))
        return claims, part, wanted

    def _claim_above(self, lane: Lane, watermark: Watermark) -> tuple[bool, list[Claim], int]:
        """Return whether there may be more, the claims, and the last claimed position."""
        slots, began = self._runs.slots, self._clock()
        wanted = slots.take(watermark.batch_size)
        claims: list[Claim] = []
        try:
            claims, last, has_more = self._poison_guard.claim(
                lane, above=watermark.above, limit=wanted
            )
        finally:
            slots.untake(wanted - len(claims))
        self._usual_claim = min(self._usual_claim, self._clock() - began)
        return has_more, claims, last

    def _claim_suspect(self, lanes: set[Lane]) -> None:
        """Claim one suspect at a time: if it kills its executor, it must not take others with it.

        A suspect is a workflow with which several executors in a row have died.
        """
        slots = self._runs.slots
        if self._running_suspect or not slots.take():
            return
        claims: list[Claim] = []
        began = self._clock()
        try:
            claims = self._poison_guard.claim_suspect(sorted({lane.queue_name for lane in lanes}))
            managed = sorted(lane.queue_name for lane in lanes if lane.priority is None)
            if managed and not claims:
                claims = self._poison_guard.claim_managed_suspect(managed)
        finally:
            slots.untake(1 - len(claims))
        for claim in claims:
            telemetry.suspect_claimed(claim.workflow_id, claim.name, claim.recovery_attempts)
            self._running_suspect = claim.workflow_id
        self._dispatch(claims, began)

    def _dispatch(self, claims: Sequence[Claim], began: float) -> None:
        """Load the histories of all, and start them; release them if that fails."""
        if not claims:
            return
        self._fruitless_pause = self._poll_again_at = 0.0
        try:
            runs = self._poison_guard.load(claims)
        except BaseException:
            self._give_back(claims)
            raise
        self._runs.slots.give_back(len(claims) - len(runs))
        for position, run in enumerate(runs):
            try:
                self._runs.begin(run, since=began)
            except BaseException:
                self._give_back([run.claim for run in runs[position:]])
                raise

    def _give_back(self, claims: Sequence[Claim]) -> None:
        """Give back claims that won't run here (CORRECTNESS rule 3)."""
        self._audit.release(claims)
        self._runs.slots.give_back(len(claims))

    def _recover(self) -> None:
        """Start over after an error: the audit finds claims whose answer was lost."""
        self.connection.close()
        self.lanes.rewind()
        self._must_poll = True
        self._audit.request()
