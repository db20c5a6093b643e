"""Decisions about children that replace others, or are debounced; without tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from django_dbos.core.batch.decide import decide
from django_dbos.core.batch.lookups import Facts, questions
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import (
    Finish,
    NewWorkflow,
    RecordStart,
    Refusal,
    Release,
    Suspend,
    Verdict,
    Wake,
    Write,
    run_key,
)
from django_dbos.core.status import Status
from tests.core.writes import CLAIM, MESSAGE, checkpoint, holding, new, start, step, verdicts

HOLDER = {"workflow_id": "holder", "claim_number": 8}


def latest(workflow_id: str, **options: Any) -> NewWorkflow:
    values = {"deduplication_id": "d", "on_duplicate": "replace", **options}
    return new(workflow_id, **values)


def taken(user_id: str | None = None, **facts: Any) -> Facts:
    """Return the facts while "holder" has the id."""
    return holding(deduplications={("q", "d"): ("holder", user_id)}, **facts)


def both() -> Facts:
    """Return the facts while this executor runs the parent and the holder."""
    return taken(held={"w": (3, False), "holder": (8, False)})


@pytest.mark.rule(62)
def test_a_child_replaces_the_holder_of_its_id() -> None:
    plan = decide([start(latest("a"))], taken())

    assert verdicts(plan) == [Verdict.DONE]
    assert plan.replaced == ["holder"]
    assert [child.workflow_id for child, _ in plan.workflows] == ["a"]
    notifications = Notifications.of_plan(plan)
    assert run_key("holder") in notifications.keys
    assert Wake.of_result("holder") in notifications.wakes


def test_without_a_holder_nothing_is_replaced() -> None:
    plan = decide([start(latest("a"))], holding())

    assert plan.replaced == []
    assert len(plan.workflows) == 1


@pytest.mark.rule(30)
def test_another_users_holder_is_not_replaced() -> None:
    plan = decide([start(latest("a", user_id="bob"))], taken("ada"))

    (answer,) = plan.answers
    assert (answer.refusal, answer.existing_user_id) == (Refusal.DUPLICATE, "ada")
    assert plan.replaced == []


@pytest.mark.rule(62)
def test_later_writes_of_the_holder_are_refused_and_earlier_ones_stay() -> None:
    earlier, later = step(1, **HOLDER), step(2, **HOLDER)

    plan = decide([earlier, start(latest("a")), later], both())

    assert verdicts(plan) == [Verdict.DONE, Verdict.DONE, Verdict.CLAIM_LOST]
    assert plan.answers[2].status is Status.CANCELLED
    recorded = [(one.workflow_id, one.step_number) for one, _ in plan.checkpoints]
    assert recorded == [("holder", 1), ("w", 1)]


@pytest.mark.rule(62)
@pytest.mark.parametrize(
    "end",
    [
        Finish(status=Status.SUCCESS, **HOLDER),
        Suspend(wake=MESSAGE, step_number=1, **HOLDER),
        Release(**HOLDER),
    ],
)
def test_a_holder_that_ends_in_the_same_batch_is_left_to_the_next(end: Write) -> None:
    """And with the start all later writes of its workflow."""
    plan = decide([end, start(latest("a")), step(2)], both())

    assert plan.deferred == [1, 2]
    assert plan.replaced == []
    assert plan.workflows == []
    assert plan.checkpoints == []


@pytest.mark.rule(62)
def test_a_holder_that_starts_in_the_same_batch_is_left_to_the_next() -> None:
    facts = holding(held={"w": (3, False), "v": (1, False)})
    claim = {"workflow_id": "v", "claim_number": 1}
    second = RecordStart(checkpoint=checkpoint(1, **claim), workflows=(latest("b"),), **claim)

    plan = decide([start(latest("a")), second], facts)

    assert plan.deferred == [1]
    assert [child.workflow_id for child, _ in plan.workflows] == ["a"]
    assert plan.replaced == []


@pytest.mark.rule(62)
def test_a_workflow_may_replace_itself() -> None:
    facts = holding(deduplications={("q", "d"): ("w", None)})

    plan = decide([start(latest("a")), step(2)], facts)

    assert plan.replaced == ["w"]
    assert verdicts(plan) == [Verdict.DONE, Verdict.CLAIM_LOST]


# Debouncing


def debounced(workflow_id: str, **options: Any) -> NewWorkflow:
    return new(workflow_id, debounce_key="k", delay=5.0, **options)


@pytest.mark.rule(64)
def test_the_first_child_begins_a_burst() -> None:
    plan = decide([start(debounced("a"))], holding())

    assert [(child.workflow_id, delayed) for child, delayed in plan.debounced] == [("a", "a")]
    assert plan.workflows == []
    assert plan.has_news


@pytest.mark.rule(64)
def test_another_child_records_the_workflow_that_it_changes() -> None:
    facts = holding(debounced={("f", "k"): ("delayed", None)})

    plan = decide([start(debounced("a"))], facts)

    (answer,) = plan.answers
    ((recorded, _),) = plan.checkpoints
    assert answer.checkpoint is recorded
    assert json.loads(recorded.output or "") == ["delayed"]
    assert recorded.related_workflow_id == "delayed"
    assert [(child.workflow_id, delayed) for child, delayed in plan.debounced] == [("a", "delayed")]


@pytest.mark.rule(64)
def test_two_children_of_a_batch_are_one_burst() -> None:
    plan = decide([start(debounced("a")), start(debounced("b"), number=2)], holding())

    assert [delayed for _, delayed in plan.debounced] == ["a", "a"]
    assert json.loads(plan.checkpoints[1][0].output or "") == ["a"]


@pytest.mark.rule(30)
def test_another_users_burst_is_refused() -> None:
    facts = holding(debounced={("f", "k"): ("delayed", "ada")})

    plan = decide([start(debounced("a", user_id="bob"))], facts)

    assert plan.answers[0].refusal is Refusal.OTHER_USER
    assert plan.debounced == []


def test_the_keys_of_children_are_looked_up() -> None:
    asked = questions([start(debounced("a")), start(latest("b"), number=2)], is_repeat=False)

    assert asked.debounces == {("f", "k")}
    assert asked.deduplications == {("q", "d")}
    assert asked.claims == {CLAIM["workflow_id"]: CLAIM["claim_number"]}
