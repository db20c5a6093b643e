"""Which writes need no look before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from django_dbos.core.direct import are_direct
from django_dbos.core.records import Finish, Release
from django_dbos.core.status import Status
from tests.core.writes import CLAIM, checkpoint, entry, event, step


def test_only_steps_or_only_the_end_of_a_workflow_need_no_look() -> None:
    one, other = step(1), step(2)
    end = Finish(workflow_id="b", claim_number=1, status=Status.SUCCESS)

    assert are_direct([one, other, end])
    # Their order counts: a step that isn't recorded must keep the end from being written.
    assert not are_direct([one, replace(end, workflow_id="w")])
    assert not are_direct([one, replace(end, is_set_aside=True)])
    assert not are_direct([one, Release(workflow_id="c", claim_number=1)])
    # Which of them the statement has recorded isn't said.
    assert not are_direct([one, replace(one, claim_number=2)])


@pytest.mark.rule(11)
@pytest.mark.parametrize("write", [entry("1"), event("1")])
def test_an_end_is_direct_after_what_shows_by_a_checkpoint_that_it_was_written(write: Any) -> None:
    end = Finish(status=Status.SUCCESS, **CLAIM)
    own = replace(write, checkpoint=checkpoint())

    assert are_direct([write, own, end])
    assert not are_direct([own, write, end])
    assert not are_direct([end, own])
    assert not are_direct([own, replace(end, claim_number=4)])
    assert not are_direct([own, replace(end, is_set_aside=True)])
    # Of two kinds the order would count.
    assert not are_direct([entry("1"), event("1")])
