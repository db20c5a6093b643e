"""Decisions of batches, without tables."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import pytest

from django_dbos.core.batch.decide import decide, result_checkpoint
from django_dbos.core.batch.lookups import Facts, FoundCheckpoint, FoundWorkflow, questions
from django_dbos.core.records import (
    Continue,
    Finish,
    NewMessage,
    RecordSend,
    RecordStart,
    RecordWait,
    Refusal,
    Release,
    State,
    Suspend,
    Verdict,
    Wake,
    Write,
)
from django_dbos.core.status import Status
from tests.core.writes import (
    CLAIM,
    MESSAGE,
    SLEEP,
    checkpoint,
    entry,
    event,
    found,
    holding,
    new,
    start,
    step,
    verdicts,
    wait,
)

# The fence


@pytest.mark.rule(1)
def test_only_the_held_claim_number_may_write() -> None:
    plan = decide([step(1), step(2, claim_number=2)], holding())

    assert verdicts(plan) == [Verdict.DONE, Verdict.CLAIM_LOST]
    assert [one.step_number for one, _ in plan.checkpoints] == [1]


@pytest.mark.rule(1)
def test_a_zombies_write_does_not_harm_the_claim_after_its_own() -> None:
    writes = [step(1, claim_number=2), step(1), step(2, claim_number=2), step(2)]

    asked = questions(writes, is_repeat=False)
    plan = decide(writes, holding())

    assert asked.claims == {"w": 3}
    assert verdicts(plan) == [Verdict.CLAIM_LOST, Verdict.DONE] * 2


def test_a_lost_claim_says_what_became_of_the_workflow() -> None:
    plan = decide([step()], Facts(lost={"w": Status.CANCELLED}))

    (answer,) = plan.answers
    assert (answer.verdict, answer.status) == (Verdict.CLAIM_LOST, Status.CANCELLED)


@pytest.mark.rule(2)
def test_writes_of_a_locked_row_are_deferred_not_lost() -> None:
    other = step(1, workflow_id="other")

    plan = decide([step(1), other, step(2)], Facts(held={"other": (3, False)}))

    assert plan.deferred == [0, 2]
    assert [one.workflow_id for one, _ in plan.checkpoints] == ["other"]


@pytest.mark.rule(32)
@pytest.mark.parametrize(
    "late",
    [step(), Finish(status=Status.SUCCESS, **CLAIM), Suspend(wake=MESSAGE, step_number=1, **CLAIM)],
)
def test_past_the_deadline_only_the_cancellation_is_written(late: Write) -> None:
    plan = decide([late, step(2)], holding(held={"w": (3, True)}))

    assert verdicts(plan) == [Verdict.PAST_DEADLINE] * 2
    assert [one.status for one in plan.finished] == [Status.CANCELLED]
    assert not plan.checkpoints
    assert not plan.suspended


@pytest.mark.rule(32)
def test_past_the_deadline_a_run_may_give_its_claim_back() -> None:
    late = holding(held={"w": (3, True)})

    assert decide([Release(**CLAIM)], late).released == ["w"]


def test_nothing_comes_after_the_end() -> None:
    plan = decide([Finish(status=Status.SUCCESS, **CLAIM), step(), Release(**CLAIM)], holding())

    assert verdicts(plan) == [Verdict.DONE, Verdict.CLAIM_LOST, Verdict.CLAIM_LOST]
    assert not plan.released


# Checkpoints


@pytest.mark.rule(7)
def test_a_checkpoint_that_is_there_is_the_answer() -> None:
    there = checkpoint(output='"first"')

    plan = decide([step()], holding(checkpoints={("w", 1): FoundCheckpoint(checkpoint=there)}))

    assert (plan.answers[0].verdict, plan.answers[0].checkpoint) == (Verdict.FOUND, there)
    assert plan.is_empty


def test_a_look_at_the_claim_writes_nothing() -> None:
    plan = decide([Write(**CLAIM)], holding())

    assert verdicts(plan) == [Verdict.DONE]
    assert plan.is_empty


# Waits


@pytest.mark.rule(13)
def test_two_receivers_take_two_messages() -> None:
    messages = {("w", ""): deque([(7, '"a"'), (9, '"b"')])}

    plan = decide([wait(MESSAGE), wait(MESSAGE, number=2)], holding(messages=messages))

    assert [(taken.message_id, taken.step_number) for taken in plan.consumed] == [(7, 1), (9, 2)]
    assert [one.output for one, _ in plan.checkpoints] == ['"a"', '"b"']


@pytest.mark.rule(17)
def test_a_wait_is_first_written_with_its_timeout() -> None:
    plan = decide([wait(MESSAGE, 5.0)], holding())

    assert (plan.answers[0].verdict, plan.answers[0].remaining) == (Verdict.WAITING, 5.0)
    ((written, timeout),) = plan.checkpoints
    assert (written.state, timeout) == (State.WAITING, 5.0)


@pytest.mark.rule(17)
def test_a_wait_that_has_begun_goes_on_with_the_rest_of_its_time() -> None:
    begun = FoundCheckpoint(checkpoint=checkpoint(state=State.WAITING), remaining=2.0)

    plan = decide([wait(MESSAGE, 5.0)], holding(checkpoints={("w", 1): begun}))

    assert plan.answers[0].remaining == 2.0
    assert plan.is_empty


@pytest.mark.rule(17)
@pytest.mark.parametrize(("text", "state"), [('"a"', State.RECORDED), (None, State.TIMED_OUT)])
def test_a_message_wins_over_a_deadline_that_has_passed(text: str | None, state: State) -> None:
    begun = FoundCheckpoint(checkpoint=checkpoint(state=State.WAITING), remaining=-1.0)
    messages = {("w", ""): deque([(7, text)])} if text else {}
    facts = holding(checkpoints={("w", 1): begun}, messages=messages)

    plan = decide([wait(MESSAGE, 5.0)], facts)

    (outcome,) = plan.outcomes
    assert (outcome.state, outcome.output) == (state, text)
    assert not plan.checkpoints


def test_a_wait_without_time_looks_once() -> None:
    plan = decide([wait(SLEEP, 0.0)], holding())

    assert plan.answers[0].verdict is Verdict.FOUND
    assert [one.state for one, _ in plan.checkpoints] == [State.TIMED_OUT]


def reads_on(offset: int, timeout: float | None = None) -> RecordWait:
    wake = Wake.of_stream("source", "k", offset)
    return RecordWait(
        checkpoint=checkpoint(output=str(offset)), wake=wake, timeout=timeout, **CLAIM
    )


@pytest.mark.rule(53)
@pytest.mark.parametrize(
    "facts",
    [
        {"workflows": {"source": found()}, "tails": {("source", "k"): (2, False)}},
        {"workflows": {"source": found()}, "tails": {("source", "k"): (1, True)}},
        {"workflows": {"source": found(status=Status.ERROR, is_quarantined=True)}},
        {"workflows": {}},
    ],
    ids=["the entry", "the end", "the writer's end", "the writer's deletion"],
)
def test_a_reader_need_not_wait_for_what_is_there(facts: Any) -> None:
    plan = decide([reads_on(2)], holding(**facts))

    assert verdicts(plan) == [Verdict.DONE]
    assert plan.is_empty


@pytest.mark.rule(17)
@pytest.mark.rule(53)
def test_a_reader_has_a_deadline_for_each_offset() -> None:
    facts = {"workflows": {"source": found()}, "tails": {("source", "k"): (1, False)}}
    begun = FoundCheckpoint(checkpoint=checkpoint(output="2", state=State.WAITING), remaining=4.0)

    first = decide([reads_on(2, 10.0)], holding(**facts))
    again = decide([reads_on(2, 10.0)], holding(**facts, checkpoints={("w", 1): begun}))
    facts["tails"] = {("source", "k"): (2, False)}
    later = decide([reads_on(3, 10.0)], holding(**facts, checkpoints={("w", 1): begun}))

    assert [one.answers[0].remaining for one in (first, again, later)] == [10.0, 4.0, 10.0]
    assert [[timeout for _, timeout in one.postponed] for one in (first, again, later)] == [
        [10.0],
        [],
        [10.0],
    ]


def test_an_event_of_the_same_batch_is_seen() -> None:
    wake = Wake.of_event("w", "k")

    plan = decide([event("1"), wait(wake)], holding())

    assert plan.answers[1].checkpoint is not None
    assert plan.answers[1].checkpoint.output == "1"


@pytest.mark.parametrize(
    ("target", "state"),
    [
        (found(status=Status.SUCCESS), State.RECORDED),
        (found(status=Status.ERROR), State.RECORDED),
        (found(status=Status.CANCELLED), State.AWAITED_CANCELLED),
        (found(status=Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED), State.AWAITED_EXCEEDED),
        (found(status=Status.WAITING), None),
        (None, None),
    ],
)
def test_what_awaiting_a_result_gives(target: FoundWorkflow | None, state: State | None) -> None:
    result = result_checkpoint(checkpoint(), target)

    assert (result and result.state) == state


@pytest.mark.rule(23)
def test_a_quarantined_workflow_has_no_result() -> None:
    target = found(status=Status.ERROR, is_quarantined=True)

    assert result_checkpoint(checkpoint(), target) is None


# Sends and starts


def test_a_send_to_nobody_stores_none_of_its_messages() -> None:
    messages = tuple(
        NewMessage(workflow_id=one, topic="", message="1") for one in ("known", "unknown")
    )
    write = RecordSend(checkpoint=checkpoint(), messages=messages, **CLAIM)

    plan = decide([write], holding(workflows={"known": found()}))

    (answer,) = plan.answers
    assert (answer.refusal, answer.subject) == (Refusal.NO_RECEIVER, "unknown")
    assert plan.is_empty
    assert not plan.messages


@pytest.mark.rule(30)
@pytest.mark.parametrize(
    ("existing", "is_own"),
    [
        (found(parent_id="w", parent_step_number=1), True),
        (found(parent_id="w", parent_step_number=2), False),
        (found("another function", parent_id="w", parent_step_number=1), False),
        (found(), False),
    ],
)
def test_a_child_is_adopted_only_from_its_own_parent_and_position(
    existing: FoundWorkflow, is_own: bool
) -> None:
    plan = decide([start(new("w-1"))], holding(workflows={"w-1": existing}))

    (answer,) = plan.answers
    assert (answer.refusal, answer.is_own) == (Refusal.ID_TAKEN, is_own)
    assert not plan.workflows


@pytest.mark.rule(13)
@pytest.mark.rule(30)
def test_two_starts_of_one_id_in_a_batch_start_one() -> None:
    other = RecordStart(
        checkpoint=checkpoint(workflow_id="v"),
        workflows=(new("same", parent_id="v"),),
        workflow_id="v",
        claim_number=3,
    )

    plan = decide([start(new("same")), other], holding(held={"w": (3, False), "v": (3, False)}))

    assert [one.parent_id for one, _ in plan.workflows] == ["w"]
    assert (plan.answers[1].refusal, plan.answers[1].is_own) == (Refusal.ID_TAKEN, False)


@pytest.mark.rule(13)
def test_two_starts_of_one_deduplication_id_in_a_batch_start_one() -> None:
    first, second = (new(one, deduplication_id="d") for one in ("a", "b"))

    plan = decide([start(first), start(second, number=2)], holding())

    assert [one.workflow_id for one, _ in plan.workflows] == ["a"]
    assert (plan.answers[1].refusal, plan.answers[1].existing_id) == (Refusal.DUPLICATE, "a")


def test_a_refused_start_leaves_no_trace() -> None:
    first = new("a", deduplication_id="d")
    again = new("b", deduplication_id="d")

    plan = decide(
        [start(first, new("taken")), start(again, number=2)], holding(workflows={"taken": found()})
    )

    assert plan.answers[0].refusal is Refusal.ID_TAKEN
    assert [one.workflow_id for one, _ in plan.workflows] == ["b"]


def test_an_empty_deduplication_id_is_none() -> None:
    facts = holding(deduplications={("q", ""): ("somebody", None)})

    assert verdicts(decide([start(new("a"))], facts)) == [Verdict.DONE]


def test_a_workflow_started_in_the_batch_can_be_sent_to() -> None:
    message = NewMessage(workflow_id="child", topic="", message="1")
    send = RecordSend(checkpoint=checkpoint(2), messages=(message,), **CLAIM)

    plan = decide([start(new("child")), send], holding())

    assert verdicts(plan) == [Verdict.DONE] * 2
    assert plan.messages == [message]


# Events and streams


@pytest.mark.rule(13)
def test_every_version_is_kept_and_the_last_is_the_value() -> None:
    plan = decide([event("1"), event("2"), event("3")], holding(events={("w", "k"): ("0", 4)}))

    assert [(one.version, one.value) for one in plan.event_values] == [(5, "1"), (6, "2"), (7, "3")]
    assert [(one.version, one.value) for one in plan.latest_events] == [(7, "3")]


@pytest.mark.rule(12)
def test_a_repeat_writes_only_what_is_not_in_the_tables() -> None:
    writes: list[Write] = [entry("0"), entry("1"), event("a")]
    there: Any = writes[0]

    asked = questions(writes, is_repeat=True)
    facts = holding(written={there.write_id}, tails={("w", "k"): (0, False)})
    plan = decide(writes, facts)

    assert len(asked.write_ids) == 3
    assert verdicts(plan) == [Verdict.DONE] * 3
    assert [(one.offset, one.value) for one in plan.entries] == [(1, "1")]


@pytest.mark.rule(11)
def test_a_closed_stream_takes_no_more_and_closing_again_is_nothing() -> None:
    plan = decide([entry("0"), entry(None), entry(None), entry("1")], holding())

    assert [one.offset for one in plan.entries] == [0, 1]
    assert verdicts(plan)[:3] == [Verdict.DONE] * 3
    assert plan.answers[3].refusal is Refusal.STREAM_CLOSED


@pytest.mark.rule(11)
def test_after_a_refused_entry_the_run_can_only_be_quarantined_or_given_back() -> None:
    aside = Finish(status=Status.ERROR, is_quarantined=True, **CLAIM)
    closed = holding(tails={("w", "k"): (4, True)})

    plan = decide([entry("5"), step(2), Finish(status=Status.SUCCESS, **CLAIM), aside], closed)

    assert verdicts(plan) == [Verdict.REFUSED] * 3 + [Verdict.DONE]
    assert not plan.checkpoints
    assert plan.finished == [aside]


# The next run


@pytest.mark.rule(73)
def test_a_run_that_continues_as_new_is_past_and_its_workflow_is_released() -> None:
    end = Continue(**CLAIM, input="{}", version=None, steps_before=7)

    plan = decide([step(1), end, step(2)], holding())

    assert verdicts(plan) == [Verdict.DONE, Verdict.DONE, Verdict.CLAIM_LOST]
    assert (plan.continued, plan.released) == ([end], ["w"])
    assert plan.has_news


def test_past_its_deadline_a_workflow_does_not_continue() -> None:
    plan = decide(
        [Continue(**CLAIM, input="{}", version=None, steps_before=7)], Facts(held={"w": (3, True)})
    )

    assert verdicts(plan) == [Verdict.PAST_DEADLINE]
    assert (plan.continued, plan.released) == ([], [])
    assert [end.status for end in plan.finished] == [Status.CANCELLED]


# Any of several things


def any_of(*options: Wake) -> Wake:
    return Wake.of_any("w", [replace(one, position=n) for n, one in enumerate(options)], "")


@pytest.mark.rule(70)
def test_the_first_alternative_that_is_there_wins_and_no_other_is_consumed() -> None:
    wake = any_of(Wake.of_event("o", "k"), Wake.of_message("w", "t"))
    messages = {("w", "t"): deque([(7, '"m"')])}
    asked = questions([wait(wake)], is_repeat=False)

    facts = holding(messages=messages, events={("o", "k"): ("1", 1)}, workflows={"o": found()})
    plan = decide([wait(wake)], facts)

    assert (asked.events, asked.messages) == ({("o", "k")}, {("w", "t"): 1})
    assert plan.answers[0].checkpoint is not None
    assert plan.answers[0].checkpoint.output == '{"winner": 0, "value": 1}'
    assert plan.consumed == []


@pytest.mark.rule(28)
@pytest.mark.rule(70)
def test_of_the_topics_of_one_alternative_the_oldest_message_wins() -> None:
    topics = [Wake.of_message("w", "a"), Wake.of_message("w", "b")]
    messages = {("w", "a"): deque([(8, "1")]), ("w", "b"): deque([(7, "!x:2"), (9, "3")])}
    writes = [wait(Wake.of_any("w", topics, ""), number=number) for number in (1, 2, 3)]

    plan = decide(writes, holding(messages=messages))

    assert [answer.checkpoint and answer.checkpoint.output for answer in plan.answers] == [
        '{"winner": 0, "topic": "b", "text": "!x:2"}',
        '{"winner": 0, "topic": "a", "value": 1}',
        '{"winner": 0, "topic": "b", "value": 3}',
    ]
    assert [one.message_id for one in plan.consumed] == [7, 8, 9]


@pytest.mark.rule(70)
@pytest.mark.parametrize(
    ("facts", "output"),
    [
        ({"workflows": {"o": found()}}, None),
        ({"workflows": {"o": found()}, "tails": {("o", "k"): (1, False)}}, None),
        (
            {
                "workflows": {"o": found()},
                "tails": {("o", "k"): (2, False)},
                "entries": {("o", "k", 2): "5"},
            },
            '{"winner": 0, "value": 5}',
        ),
        (
            {"workflows": {"o": found()}, "tails": {("o", "k"): (1, True)}},
            '{"winner": 0}',
        ),
        (
            {"workflows": {"o": found(status=Status.SUCCESS)}, "tails": {("o", "k"): (1, False)}},
            '{"winner": 0}',
        ),
    ],
)
def test_an_entry_wins_when_it_is_there_or_wont_come(facts: Any, output: str | None) -> None:
    write = wait(any_of(Wake.of_stream("o", "k", 2)))

    plan = decide([write], holding(**facts))

    outcome = plan.answers[0].checkpoint
    assert (outcome and outcome.output) == output
    assert questions([write], is_repeat=False).entries == {("o", "k", 2)}


@pytest.mark.rule(70)
@pytest.mark.parametrize(
    ("value", "output"), [("5", '{"winner": 0, "value": 5}'), (None, '{"winner": 0}')]
)
def test_an_entry_of_the_same_batch_wins_with_its_value(value: str | None, output: str) -> None:
    """It is in the table only after the wait's look-ups."""
    facts = holding(
        held={"w": (3, False), "o": (3, False)},
        workflows={"o": found()},
        tails={("o", "k"): (1, False)},
    )
    write = wait(any_of(Wake.of_stream("o", "k", 2)))

    plan = decide([entry(value, workflow_id="o"), write], facts)

    assert plan.answers[1].checkpoint is not None
    assert plan.answers[1].checkpoint.output == output


@pytest.mark.rule(17)
@pytest.mark.rule(70)
def test_a_timeout_has_the_timer_with_which_the_wait_began() -> None:
    begun = checkpoint(state=State.WAITING, output='{"winner": 1}')
    facts = holding(
        checkpoints={("w", 1): FoundCheckpoint(checkpoint=begun, remaining=-1.0)},
        workflows={"o": found()},
    )

    plan = decide([wait(any_of(Wake.of_event("o", "k")), timeout=60)], facts)

    (outcome,) = plan.outcomes
    assert (outcome.state, outcome.output) == (State.TIMED_OUT, '{"winner": 1}')
    assert [one.workflow_id for one in plan.ended_waits] == ["w"]


@pytest.mark.rule(71)
def test_a_wait_that_reads_its_outcome_itself_records_only_its_deadline() -> None:
    write = replace(wait(Wake.of_result("o"), timeout=60), takes_outcome=False)

    waiting = decide([write], holding(workflows={"o": found()}))
    ended = decide([write], holding(workflows={"o": found(status=Status.SUCCESS)}))

    assert verdicts(waiting) == [Verdict.WAITING]
    assert [one.state for one, _ in waiting.checkpoints] == [State.WAITING]
    assert verdicts(ended) == [Verdict.DONE]
    assert ended.is_empty


@pytest.mark.rule(72)
def test_a_held_child_waits_for_what_may_have_ended_before_it_was_there() -> None:
    children = [new("a"), new("b", after="a"), new("c", after="ended")]

    plan = decide([start(*children)], holding())

    assert plan.waiting_ids == ["c"]
