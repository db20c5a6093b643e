"""Chains of held workflows: as many as may run at once, split where one has run dry."""

from __future__ import annotations

import random

import pytest

from django_dbos.core.chains import chains_of, split


def test_each_chain_begins_with_one_that_isnt_held() -> None:
    left = [("a", None), ("b", None), ("c", "a"), ("d", "b"), ("e", "c")]

    assert chains_of(left) == [["a", "c", "e"], ["b", "d"]]


def test_one_that_has_ended_holds_nothing() -> None:
    assert chains_of([("b", "ended"), ("c", "b"), ("d", None)]) == [["b", "c"], ["d"]]


def test_without_workflows_there_are_no_chains() -> None:
    assert chains_of([]) == []
    assert split([], 3) == []


def test_the_longest_chain_is_split_in_the_middle() -> None:
    chains = [["a", "c", "e", "g"], ["b"]]

    assert split(chains, 3) == ["e"]
    assert chains == [["a", "c"], ["b"], ["e", "g"]]


def test_as_many_chains_are_made_as_may_run() -> None:
    chains = [["a", "b", "c", "d", "e"]]

    assert split(chains, 4) == ["d", "c", "b"]
    assert chains == [["a"], ["d", "e"], ["c"], ["b"]]


def test_a_chain_of_one_is_not_split() -> None:
    chains = [["a"], ["b"]]

    assert split(chains, 5) == []
    assert chains == [["a"], ["b"]]


@pytest.mark.rule(72)
@pytest.mark.parametrize("seed", range(20))
def test_never_more_run_than_may_and_room_is_used(seed: int) -> None:
    """Ends in any order, with a split after each: the model of a map()."""
    chance = random.Random(seed)
    count, limit = chance.randint(1, 60), chance.randint(1, 8)
    behind = {str(n): str(n - limit) if n >= limit else None for n in range(count)}
    while behind:
        running = [one for one, before in behind.items() if before not in behind]
        assert len(running) == min(limit, len(behind))
        del behind[chance.choice(running)]
        for released in split(chains_of(behind.items()), limit):
            behind[released] = None
