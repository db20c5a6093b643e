"""Events are set alike, whether alone, with others or in a mixed batch; and so are ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection

from django_dbos.core.records import (
    Answer,
    Claim,
    Finish,
    RecordEvent,
    Verdict,
    Wake,
    Write,
)
from django_dbos.core.status import Status
from django_dbos.models import Checkpoint, Event, EventVersion, Workflow
from django_dbos.store import listener
from django_dbos.store.base import Store
from tests.store.conftest import checkpoint, entry, step

Claims = Callable[..., Claim]
Apply = Callable[..., list[Answer]]
postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")


@pytest.fixture(params=["alone", "with another's", "in a mixed batch"])
def apply(store: Store, session: Any, executor_id: str, claim: Claims, request: Any) -> Apply:
    """Write; with another workflow's event, so that arrays are used, or with a plain look."""
    other = claim()
    look = Write(workflow_id=other.workflow_id, claim_number=other.claim_number)
    company = {"alone": [], "with another's": [event(other, "0")], "in a mixed batch": [look]}

    def apply(*writes: Write) -> list[Answer]:
        batch = [*writes, *company[request.param]]
        plan = store.apply(session, executor_id, batch, is_repeat=False)
        return plan.answers[: len(writes)]

    return apply


def event(held: Claim, value: str, key: str = "k", number: int | None = None) -> RecordEvent:
    """An event of a step, or of the workflow itself, with a checkpoint."""
    return RecordEvent(
        workflow_id=held.workflow_id,
        claim_number=held.claim_number,
        checkpoint=None if number is None else checkpoint(held, number),
        key=key,
        value=value,
        step_number=number or 1,
    )


def end(held: Claim) -> Finish:
    return Finish(
        workflow_id=held.workflow_id, claim_number=held.claim_number, status=Status.SUCCESS
    )


def latest(held: Claim) -> list[tuple[str, str, int]]:
    found = Event.objects.filter(workflow_id=held.workflow_id).order_by("key")
    return list(found.values_list("key", "value_text", "version"))


def versions(held: Claim) -> list[tuple[str, int, str]]:
    found = EventVersion.objects.filter(workflow_id=held.workflow_id).order_by("key", "version")
    return list(found.values_list("key", "version", "value_text"))


def status(held: Claim) -> str:
    return str(Workflow.objects.get(workflow_id=held.workflow_id).status)


@pytest.mark.rule(13)
def test_versions_go_on_without_gaps_and_the_last_value_counts(claim: Claims, apply: Apply) -> None:
    held, other = claim(), claim()
    apply(event(held, "0"))

    answers = apply(
        event(held, "1"), event(other, "5"), event(held, "x", key="other"), event(held, "2")
    )

    assert {answer.verdict for answer in answers} == {Verdict.DONE}
    assert latest(held) == [("k", "2", 3), ("other", "x", 1)]
    assert versions(held) == [("k", 1, "0"), ("k", 2, "1"), ("k", 3, "2"), ("other", 1, "x")]
    assert latest(other) == [("k", "5", 1)]


def test_a_workflow_s_own_event_has_a_checkpoint(claim: Claims, apply: Apply) -> None:
    held = claim()

    apply(event(held, "0", number=1))

    found = Checkpoint.objects.filter(workflow_id=held.workflow_id)
    assert [(one.step_number, one.state) for one in found] == [(1, 0)]


@pytest.mark.rule(7)
def test_without_the_claim_nothing_is_set(claim: Claims, apply: Apply) -> None:
    held, other = claim(), claim()
    zombie = replace(held, claim_number=held.claim_number - 1)

    answers = apply(event(zombie, "lost", number=1), event(other, "kept"))

    assert [answer.verdict for answer in answers] == [Verdict.CLAIM_LOST, Verdict.DONE]
    assert latest(held) == []
    assert latest(other) == [("k", "kept", 1)]
    assert not Checkpoint.objects.exists()


def test_what_is_recorded_already_is_found_and_not_set_again(
    store: Store, session: Any, executor_id: str, claim: Claims, apply: Apply
) -> None:
    held = claim()
    store.apply(session, executor_id, [step(held, 1)], is_repeat=False)

    (answer,) = apply(event(held, "0", number=1))

    assert answer.verdict is Verdict.FOUND
    assert versions(held) == []


@pytest.mark.rule(12)
def test_a_repeat_finds_its_own_events(
    store: Store, session: Any, executor_id: str, claim: Claims, apply: Apply
) -> None:
    held = claim()
    writes = [event(held, "0"), event(held, "1", number=2)]
    apply(*writes)

    store.apply(session, executor_id, writes, is_repeat=True)

    assert versions(held) == [("k", 1, "0"), ("k", 2, "1")]


# With the end


@pytest.mark.parametrize("last", [event, entry])
def test_the_end_goes_with_what_nobody_waited_for(last: Any, claim: Claims, apply: Apply) -> None:
    held = claim()
    write = replace(last(held, "0"), checkpoint=checkpoint(held, 1))

    answers = apply(write, end(held))

    assert [answer.verdict for answer in answers] == [Verdict.DONE] * 2
    assert status(held) == "SUCCESS"
    assert Checkpoint.objects.filter(workflow_id=held.workflow_id).count() == 1


@postgresql
@pytest.mark.rule(11)
@pytest.mark.parametrize("count", [1, 2])
def test_no_end_is_written_without_what_went_before_it(
    store: Store, session: Any, executor_id: str, claim: Claims, count: int
) -> None:
    from django_dbos.store.columns import FINISH
    from django_dbos.store.postgresql.arrays import arrays
    from django_dbos.store.rows import Rows

    held = [claim() for _ in range(count)]
    rows = Rows(FINISH, [end(one) for one in held], after_step=[7] * count)
    name, values = (
        ("end_workflow", rows.first()) if count == 1 else ("end_workflows", arrays(rows.lists()))
    )

    assert session.run(name, {**values, "executor_id": executor_id}) == []
    assert {status(one) for one in held} == {"PENDING"}


# Whom it is told


@pytest.fixture
def heard(store: Store) -> Iterator[Callable[[], list[str]]]:
    """The keys that other processes have been notified of by now, in the order of notification."""
    import psycopg

    from django_dbos.store.postgresql.listener import CHANGED_CHANNEL

    params: dict[str, Any] = connection.get_connection_params()
    with psycopg.connect(
        **{**params, "cursor_factory": psycopg.Cursor}, autocommit=True
    ) as outside:
        told: list[str] = []
        outside.add_notify_handler(lambda one: told.extend(json.loads(one.payload)))
        outside.execute(f"LISTEN {CHANGED_CHANNEL}")

        def heard() -> list[str]:
            # What was notified before this is heard of before it.
            outside.execute(f"NOTIFY {CHANGED_CHANNEL}, '[\"the end\"]'")
            while "the end" not in told:
                outside.execute("SELECT 1")
            found = told[: told.index("the end")]
            told.clear()
            return found

        yield heard


def keys(held: Claim) -> list[str]:
    wakes = [
        Wake.of_event(held.workflow_id, "k"),
        Wake.of_result(held.workflow_id),
    ]
    return sorted(key for wake in wakes for key in wake.keys)


@postgresql
@pytest.mark.rule(15)
def test_others_are_notified_once_with_a_few_writes_or_after_many(
    store: Store, session: Any, executor_id: str, claim: Claims, heard: Callable[[], list[str]]
) -> None:
    few, many = claim(), [claim() for _ in range(3)]

    plan = store.apply(session, executor_id, [event(few, "1", number=1), end(few)], is_repeat=False)
    assert sorted(heard()) == keys(few)
    store.announce_plans(session, [plan])
    assert heard() == []

    writes = [write for one in many for write in (event(one, "1", number=1), end(one))]
    plan = store.apply(session, executor_id, writes, is_repeat=False)
    assert heard() == []
    store.announce_plans(session, [plan])
    assert sorted(heard()) == sorted(key for one in many for key in keys(one))


@postgresql
@pytest.mark.rule(15)
def test_what_could_not_be_written_is_not_taken_for_told(
    store: Store, session: Any, executor_id: str, claim: Claims
) -> None:
    held = claim()
    zombie = replace(held, claim_number=held.claim_number - 1)

    plan = store.apply(
        session, executor_id, [event(zombie, "1"), event(held, "1")], is_repeat=False
    )

    assert plan.notified == []
    assert [event_value.workflow_id for event_value in plan.event_values] == [held.workflow_id]


@postgresql
@pytest.mark.rule(12)
def test_a_notification_that_fails_does_not_undo_or_double_what_is_committed(
    store: Store, session: Any, executor_id: str, claim: Claims, monkeypatch: Any
) -> None:
    # Too much for one notification, which PostgreSQL refuses.
    monkeypatch.setattr(listener, "MAX_PAYLOAD", 100_000)
    held = claim(workflow_id="\N{GRINNING FACE}" * 255)
    write = event(held, "1", key="\N{GRINNING FACE}" * 255)

    plan = store.apply(session, executor_id, [write], is_repeat=False)

    assert [answer.verdict for answer in plan.answers] == [Verdict.DONE]
    assert plan.notified == []
    assert [version for _, version, _ in versions(held)] == [1]
