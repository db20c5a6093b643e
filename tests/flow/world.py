"""The engine as the model's tests drive it: one thread, several executors, no functions that run.

Claims, ends and waits are the store's own statements; what a run would do is decided by the test.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import django_dbos as dbos
from django_dbos.core.ids import new_executor_id
from django_dbos.core.queues import Turn, Visit
from django_dbos.core.records import (
    Checkpoint,
    Claim,
    Finish,
    Lane,
    RecordWait,
    Release,
    Suspend,
    Verdict,
    Wake,
    Write,
)
from django_dbos.core.status import Status
from django_dbos.models import Workflow
from django_dbos.operations.registration import executor_info
from django_dbos.store import get_store
from django_dbos.testing import advance

# More than any test makes.
MANY = 1_000
BOTTOM = -(2**62)


@dbos.workflow(name="tests.flow.work")
def work(value: int) -> int:
    """Stand for any workflow: no test calls it."""
    return value


class World:
    """A store, and executors that claim and end what they are told."""

    def __init__(self) -> None:
        self.store: Any = get_store()
        self.session: Any = self.store.session()
        self.claims: dict[str, Claim] = {}
        """The claims that are held, by workflow; also those that were lost while a function ran."""
        self._turns: dict[tuple[str, str], Turn] = {}

    # Executors

    def new_executor(self) -> str:
        executor_id = new_executor_id()
        info = executor_info(executor_id, is_inline=False, concurrency=MANY)
        self.store.register_executor(self.session, replace(info, lock_key=1), has_lock=False)
        return executor_id

    def die(self, executor_id: str) -> None:
        """Declare an executor dead, and recover what it held."""
        signs = {"executor_id": executor_id, "is_unlocked": True, "silence": -1.0}
        assert self.session.run("declare_dead", signs)
        self.store.recover_executor(self.session, executor_id, is_unlocked=True, is_orphaned=False)

    def claim(self, executor_id: str, queue: str, limit: int) -> list[str]:
        """Claim as the dispatcher does: lane by lane, and in turn of keys."""
        claims: list[Claim] = []
        lanes = [lane for lane in self.store.list_lanes(self.session) if lane.queue_name == queue]
        for lane in sorted(lanes, key=lambda lane: -(lane.priority or 0)):
            claims += self._claim_lane(executor_id, lane, limit - len(claims))
        self.claims.update({claim.workflow_id: claim for claim in claims})
        return [claim.workflow_id for claim in claims]

    def _claim_lane(self, executor_id: str, lane: Lane, limit: int) -> list[Claim]:
        if limit <= 0:
            return []
        if lane.priority is None:
            return self._claim_in_turn(executor_id, lane.queue_name, limit)
        claims, _ = self.store.claim_workflows(
            self.session, executor_id, lane, names=[work.name], above=BOTTOM, limit=limit
        )
        return list(claims)

    def _claim_in_turn(self, executor_id: str, queue: str, limit: int) -> list[Claim]:
        turn = self._turns.setdefault((executor_id, queue), Turn())
        turn.begin()
        claims: list[Claim] = []
        while len(claims) < limit:
            visit = Visit(
                queue_name=queue, names=[work.name], after=turn.after, limit=limit - len(claims)
            )
            found, part = self.store.claim_in_turn(self.session, executor_id, visit)
            claims += found
            if not turn.note(part):
                break
        return claims

    # Runs

    def finish(self, workflow_id: str) -> bool:
        """Have a run end well; return whether its claim still held."""
        claim = self.claims.pop(workflow_id)
        frees = claim.ending_frees
        end = self._fenced(Finish, claim, status=Status.SUCCESS, output="1", queue_name=frees)
        return self._write(claim, end)

    def suspend(self, workflow_id: str) -> bool:
        """Have a run wait for a message; return whether its claim still held."""
        claim = self.claims.pop(workflow_id)
        wake = Wake.of_message(workflow_id, "")
        waiting = Checkpoint(
            workflow_id=workflow_id,
            step_number=claim.claim_number,
            step_name="dbos.recv",
            record_order=claim.claim_number,
            claim_number=claim.claim_number,
        )
        wait = self._fenced(RecordWait, claim, checkpoint=waiting, wake=wake, timeout=None)
        frees = claim.waiting_frees
        number = claim.claim_number
        end = self._fenced(Suspend, claim, wake=wake, step_number=number, queue_name=frees)
        return self._write(claim, wait, end)

    def release(self, workflow_id: str) -> bool:
        """Have a run hand over; return whether its claim still held."""
        claim = self.claims.pop(workflow_id)
        return self._write(claim, self._fenced(Release, claim))

    def lend(self, workflow_id: str) -> bool:
        """Have a run wait without being suspended; return whether its place is lent."""
        return bool(self.store.lend_place(self.session, self._fence(workflow_id)))

    def take_place_again(self, workflow_id: str) -> bool:
        """Have such a run want to go on; return whether it may."""
        reply = self.store.take_place_again(self.session, self._fence(workflow_id))
        return reply.place is not None

    def _fence(self, workflow_id: str) -> dict[str, Any]:
        executor_id = Workflow.objects.get(pk=workflow_id).executor_id
        number = self.claims[workflow_id].claim_number
        return {"workflow_id": workflow_id, "claim_number": number, "executor_id": executor_id}

    def return_lost(self, workflow_id: str) -> None:
        """Have the function of a run return whose claim was lost."""
        claim = self.claims.pop(workflow_id)
        executor_id = str(Workflow.objects.get(pk=workflow_id).executor_id)
        lingering = self.store.list_held(self.session, executor_id).lingering
        del claim
        freed = {workflow_id: lingering[workflow_id]}
        assert self.store.free_places(self.session, executor_id, freed)[0] == 1

    def _fenced(self, kind: type[Write], claim: Claim, **values: Any) -> Write:
        return kind(workflow_id=claim.workflow_id, claim_number=claim.claim_number, **values)

    def _write(self, claim: Claim, *writes: Write) -> bool:
        executor_id = Workflow.objects.get(pk=claim.workflow_id).executor_id or "nobody"
        plan = self.store.apply(self.session, executor_id, writes, is_repeat=False)
        return plan.answers[-1].verdict is Verdict.DONE

    # Others

    def wake(self, workflow_id: str) -> None:
        """Have the message that a workflow waits for arrive."""
        dbos.send(workflow_id, "go")
        self.store.wake_satisfied(self.session)

    def advance(self, seconds: float) -> None:
        """Let time pass, and enqueue what is due."""
        advance(seconds)
        self.store.enqueue_due(self.session, MANY)
