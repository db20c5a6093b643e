"""The writes that may take the fast path."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from django_dbos.core.batch.fast_path import may_take_fast_path
from django_dbos.core.records import Finish, Release
from django_dbos.core.status import Status
from tests.core.writes import CLAIM, checkpoint, entry, event, step


def test_only_steps_or_only_the_end_of_a_workflow_take_the_fast_path() -> None:
    one, other = step(1), step(2)
    end = Finish(workflow_id="b", claim_number=1, status=Status.SUCCESS)

    assert may_take_fast_path([one, other, end])
    # The order matters: a step that isn't recorded must keep the end from being written.
    assert not may_take_fast_path([one, replace(end, workflow_id="w")])
    assert not may_take_fast_path([one, replace(end, is_quarantined=True)])
    assert not may_take_fast_path([one, Release(workflow_id="c", claim_number=1)])
    # The statement doesn't return which of the two it has recorded.
    assert not may_take_fast_path([one, replace(one, claim_number=2)])


@pytest.mark.rule(11)
@pytest.mark.parametrize("write", [entry("1"), event("1")])
def test_an_end_takes_the_fast_path_after_a_write_that_has_a_checkpoint(write: Any) -> None:
    end = Finish(status=Status.SUCCESS, **CLAIM)
    own = replace(write, checkpoint=checkpoint())

    assert may_take_fast_path([write, own, end])
    assert not may_take_fast_path([own, write, end])
    assert not may_take_fast_path([end, own])
    assert not may_take_fast_path([own, replace(end, claim_number=4)])
    assert not may_take_fast_path([own, replace(end, is_quarantined=True)])
    # With two kinds the order would matter.
    assert not may_take_fast_path([entry("1"), event("1")])
