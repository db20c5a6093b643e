"""Notifications after a commit."""

from __future__ import annotations

import pytest

from django_dbos.core.batch.decide import decide
from django_dbos.core.batch.notifications import Notifications, wakes_of
from django_dbos.core.records import Finish, NewMessage, RecordSend, Wake
from django_dbos.core.status import Status
from tests.core.writes import CLAIM, checkpoint, event, found, holding, step


@pytest.mark.rule(14)
def test_each_wake_is_told_once() -> None:
    messages = tuple(NewMessage(workflow_id="r", topic="t", message=str(n)) for n in range(3))
    send = RecordSend(checkpoint=checkpoint(), messages=messages, **CLAIM)

    plan = decide([send, event("1"), event("2")], holding(workflows={"r": found()}))

    assert sorted(wake.key for wake in wakes_of(plan)) == ["event:w:k", "message:r:t"]
    assert plan.has_news


@pytest.mark.rule(23)
def test_a_quarantined_workflow_wakes_readers_of_its_streams_but_no_waiter_for_its_result() -> None:
    quarantined = Finish(status=Status.ERROR, is_quarantined=True, **CLAIM)

    assert wakes_of(decide([quarantined], holding())) == [Wake.of_streams("w")]


def test_a_plain_step_is_no_news() -> None:
    assert not decide([step()], holding()).has_news


def test_what_one_has_to_tell_is_not_old_because_another_has_told_it() -> None:
    told, untold = (
        Notifications(keys=["a", "b"], notified={"a", "b"}),
        Notifications(keys=["b", "c"]),
    )

    both = Notifications.merged([told, untold])

    assert both.all_keys == ["a", "b", "c"]
    assert both.news == ["b", "c"]
