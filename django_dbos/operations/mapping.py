"""map(): a child for each item, with a limit of those that run at once.

Children beyond the limit are inserted at once, too. Each of them waits, in its row, for the end of
the child that is as many places before it as the limit allows: so the ends start the next ones, and
the parent sleeps. It is woken when such a chain has run dry, to split a longer one; then, without
held children, as in `many_results`; and when too many have failed (CORRECTNESS rule 72).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from django_dbos import serializers
from django_dbos.core.chains import Chain, chains_of, split
from django_dbos.core.ids import child_workflow_id
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    NewWorkflow,
    RecordStart,
    RecordStep,
    Refusal,
    Verdict,
    Wake,
)
from django_dbos.exceptions import DbosError, EncryptionKeyMissing, MapFailed, WorkflowIdConflict
from django_dbos.operations import many_results, permissions, reads
from django_dbos.operations.many_results import Limit, find_left, read_text
from django_dbos.operations.run import Call, Run, operation_name

if TYPE_CHECKING:
    from django_dbos.store.records import Failed

# Children that one write inserts.
CHUNK = 1_000
# Chains whose ends wake the parent, at most.
WATCHED = 20
# The characters of a child's error in that of the map().
MAX_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The children of one map(), and its limits."""

    like: NewWorkflow
    inputs: Sequence[str]
    concurrency: int | None
    """The number that may run at once; None means all."""
    tolerated: int
    """The number that may fail."""


def check_concurrency(value: Any) -> int | None:
    """Return the limit of children that run at once; None means no limit."""
    if value is None:
        return None
    if type(value) is not int:
        raise TypeError(
            f"concurrency must be an int or None, not {type(value).__name__} {value!r}."
        )
    if value < 1:
        raise ValueError(f"concurrency must be at least 1, but is {value!r}.")
    return value


def check_tolerated(value: Any, total: int) -> int:
    """Return the number of children that may fail, which may be given as a share."""
    if type(value) not in (int, float):
        raise TypeError(
            f"tolerate must be an int or a float, not {type(value).__name__} {value!r}."
        )
    if value < 0 or (isinstance(value, float) and not value <= 1):
        raise ValueError(
            f"tolerate must be a number of children, as an int of at least 0, or a share of them, "
            f"as a float from 0 to 1, but is {value!r}."
        )
    return int(value * total) if isinstance(value, float) else int(value)


async def arun_map(run: Run, plan: Plan) -> list[Any]:
    """Run a child for each input, and return their results, in the order of the inputs."""
    if not plan.inputs:
        return []
    group, ids = await _astart(run, plan)
    call = run.begin("amap", operation_name("map", plan.like.name))
    if call.found is not None:
        await run.turn(call.found)
    checkpoint = call.found or await _aoutcome(call, plan, group, ids)
    if checkpoint.error is not None:
        # After the record, which counts failures; a run that crashes in between does it again.
        await _acancel(run, ids)
    return await many_results.aread_values(call, checkpoint, len(ids), True)


# The children


async def _astart(run: Run, plan: Plan) -> tuple[int, list[str]]:
    """Start all children, chunk by chunk; return the step that they belong to, and their ids."""
    group = run.history.step_number + 1
    own_id = child_workflow_id(run.workflow_id, group)
    ids = [child_workflow_id(own_id, position) for position in range(len(plan.inputs))]
    for positions in _chunks(len(ids)):
        call = run.begin("amap", operation_name("map", f"{plan.like.name}: start"))
        if call.found is None:
            if positions.start == 0:
                await permissions.acheck_children(call, [plan.like])
            children = _children(run, plan, ids, group, positions)
            await _ainsert(call, children, positions.start)
        else:
            await run.turn(call.found)
            await run.aoutcome(call.found)
    return group, ids


async def _ainsert(call: Call, children: list[NewWorkflow], first: int) -> None:
    """Insert children; those that exist already are this map's own, from an earlier try."""
    output = json.dumps({"first": first, "count": len(children)})
    while children:
        answer = await call.run.asubmit(
            RecordStart,
            call,
            checkpoint=call.checkpoint(output=output, related_workflow_id=children[0].workflow_id),
            workflows=tuple(children),
            size=sum(len(child.input) for child in children),
        )
        if answer.verdict is not Verdict.REFUSED:
            return
        refused = next(child for child in children if child.workflow_id == answer.subject)
        if (error := _objection(refused, answer)) is not None:
            await call.run.afail(call, error)
        children.remove(refused)
    await call.run.asubmit(RecordStep, call, checkpoint=call.checkpoint(output=output))


def _chunks(count: int) -> list[range]:
    return [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]


def _children(
    run: Run, plan: Plan, ids: Sequence[str], group: int, positions: range
) -> list[NewWorkflow]:
    new = plan.like.repeated(
        [ids[position] for position in positions],
        [plan.inputs[position] for position in positions],
    )
    limit = plan.concurrency or len(ids)
    user_id = plan.like.user_id if plan.like.user_id is not None else run.claim.user_id
    return [
        replace(
            child,
            parent_id=run.workflow_id,
            parent_step_number=group,
            user_id=user_id,
            after=ids[position - limit] if position >= limit else None,
        )
        for position, child in zip(positions, new, strict=True)
    ]


def _objection(child: NewWorkflow, answer: Answer) -> DbosError | None:
    if answer.refusal is Refusal.ID_TAKEN and answer.is_own:
        return None
    return WorkflowIdConflict(child.workflow_id, answer.existing_name, child.name)


# The outcome


async def _aoutcome(call: Call, plan: Plan, group: int, ids: Sequence[str]) -> Checkpoint:
    """Wait until all children have ended or too many have failed, and record that."""
    run, text, failure = call.run, None, None
    try:
        while text is None:
            await _await_ends(call, _Children(run, plan, group), ids)
            text = await reads.apatiently(run, partial(read_text, run, ids))
    except EncryptionKeyMissing as error:
        run.await_key(error)
    except DbosError as error:
        failure = serializers.dump_error(error)
    checkpoint = call.checkpoint(output=text, error=failure)
    size = len(text or failure or "")
    values = {"checkpoint": checkpoint, "size": size, "ends_wait": True}
    answer = await run.asubmit(RecordStep, call, **values)
    return answer.checkpoint or checkpoint


async def _await_ends(call: Call, children: _Children, ids: Sequence[str]) -> None:
    """Return once all children have ended; raise MapFailed once too many have failed."""
    run, limit = call.run, Limit(call, None)
    is_first = not call.has_waited
    while True:
        chains = await reads.apatiently(run, children.read_chains)
        failure = await reads.apatiently(run, partial(children.failure, len(ids)))
        if failure is not None:
            raise failure
        if not chains:
            return
        await _afill(run, children, chains)
        watched = _watched(chains, is_first=is_first)
        is_first = False
        left = [workflow_id for chain in chains for workflow_id in chain]
        has_ended = partial(children.have_come_on, watched)
        await many_results.await_end(call, children.wake(watched), limit, left, has_ended)


async def _afill(run: Run, children: _Children, chains: list[Chain]) -> None:
    """Let held children take the room that chains have left which ran dry."""
    released = split(chains, children.limit)
    if released:
        claim = (run.workflow_id, run.claim.claim_number)
        release = partial(run.host.store.release_children, *claim, released)
        await reads.apatiently(run, release)


def _watched(chains: list[Chain], *, is_first: bool) -> list[str]:
    """Return children of which any one's end is to wake the parent.

    While some are held, that is the last of a chain, which then has run dry: of the shortest, which
    do so first. Afterwards it is one child alone, as in `many_results`.
    """
    if any(len(chain) > 1 for chain in chains):
        return [chain[-1] for chain in sorted(chains, key=len)[:WATCHED]]
    last = chains[-1] if is_first else random.choice(chains)
    return [last[-1]]


async def _acancel(run: Run, workflow_ids: Sequence[str]) -> None:
    """Cancel the children that are left, and theirs."""
    await run.aensure_claim()
    left = await reads.apatiently(run, partial(find_left, run, workflow_ids))
    cancel = partial(run.host.store.cancel_workflows, left, children=True)
    await reads.apatiently(run, cancel)


class _Children:
    """The children of one map(), as the tables have them."""

    def __init__(self, run: Run, plan: Plan, group: int) -> None:
        self._run = run
        self._plan = plan
        self._group = group

    @property
    def limit(self) -> int:
        """The number that may run at once."""
        return self._plan.concurrency or len(self._plan.inputs)

    def read_chains(self) -> list[Chain]:
        """Return the unfinished children, in chains of which the first may run."""
        reader, place = self._run.host.store.reader, (self._run.workflow_id, self._group)
        return chains_of(reader.read_unfinished_children(*place))

    def wake(self, watched: Sequence[str]) -> Wake:
        """Return the wait for the end of one of these children, or for one failure too many."""
        parent_id, tolerated = self._run.workflow_id, self._plan.tolerated
        failures = Wake.of_failures(parent_id, self._group, tolerated)
        label = f"children of map({self._plan.like.name})"
        return Wake.of_any(parent_id, [*map(Wake.of_result, watched), failures], label)

    def failure(self, total: int) -> MapFailed | None:
        """Return the error that ends the map(), if more have failed than are tolerated."""
        failed, plan = self._read_failed(), self._plan
        if failed is None or failed.count <= plan.tolerated:
            return None
        reason = "cancelled or given up" if failed.error is None else _summary(failed.error)
        return MapFailed(
            plan.like.name, failed.count, total, plan.tolerated, failed.workflow_id, reason
        )

    def have_come_on(self, watched: Sequence[str]) -> bool:
        """Return whether one of these children has ended, or too many have failed."""
        if len(find_left(self._run, watched)) < len(watched):
            return True
        failed = self._read_failed()
        return failed is not None and failed.count > self._plan.tolerated

    def _read_failed(self) -> Failed | None:
        return self._run.host.store.reader.read_failed(self._run.workflow_id, self._group)


def _summary(text: str) -> str:
    summary = serializers.summarize_error(text)
    name = summary.class_path.replace(":", ".").rpartition(".")[2]
    return f"{name}: {summary.message}"[:MAX_REASON]
