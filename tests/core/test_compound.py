"""Texts of values inside of the records of waits for several."""

from __future__ import annotations

import json
import random

import pytest

from django_dbos import serializers
from django_dbos.core import compound

NASTY = [
    '], "errors": {}, "texts": {}}',
    ', "text": "!encrypted:a:b"',
    '{"values": [1], "errors": {"0": "x"}, "texts": {}}',
    '{"winner": 0, "value": 1}',
    "!encrypted:a:AAAA",
    '\\\\"',
    "é🎉\u2028",
    "",
]


def value(rng: random.Random, depth: int = 0) -> object:
    kind = rng.randrange(7 if depth < 3 else 4)
    if kind < 2:
        return rng.choice(NASTY)
    if kind < 4:
        return rng.choice([None, True, 0, -1, 10**30, 1.5, -0.0, 1e300])
    if kind < 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(NASTY): value(rng, depth + 1) for _ in range(rng.randrange(3))}


@pytest.mark.parametrize("seed", range(50))
def test_parts_are_found_and_changed_whatever_values_hold(seed: int) -> None:
    rng = random.Random(seed)
    made = [value(rng) for _ in range(rng.randrange(6))]
    texts = [serializers.dumps(one, label="x") for one in made]
    errors = {len(texts): '{"error": "], \\"errors\\": "}'}
    others = {len(texts) + 1: rng.choice(["!encrypted:k:AAAA", '!pickle:], "errors": x'])}
    record = compound.of_outcomes([*texts, "null", "null"], errors, others)
    expected = [*errors.values(), *(text for text in texts if text != "null"), *others.values()]

    assert compound.parts_of(record) == expected
    assert compound.with_parts(record, str) == record
    sealed = compound.with_parts(record, lambda part: f"!sealed:{part}")
    assert all(part.startswith("!sealed:") for part in compound.parts_of(sealed))
    loaded = json.loads(sealed)
    assert loaded["values"] == [None] * (len(texts) + 2)
    assert len(loaded["texts"]) == len(expected) - 1
    assert compound.with_parts(sealed, lambda part: part.removeprefix("!sealed:")) == record


@pytest.mark.parametrize("seed", range(50))
def test_the_part_of_a_winner_is_found_and_changed(seed: int) -> None:
    rng = random.Random(seed)
    topic = rng.choice([None, *NASTY])
    text = rng.choice(["!encrypted:k:AAAA", serializers.dumps(value(rng), label="x")])
    record = compound.of_winner(rng.randrange(3), text, topic)

    assert compound.parts_of(record) == [text]
    assert compound.with_parts(record, str) == record
    sealed = compound.with_parts(record, lambda part: f"!sealed:{part}")
    assert json.loads(sealed)["text"] == f"!sealed:{text}"
    assert compound.with_parts(sealed, lambda part: part.removeprefix("!sealed:")) == record
    assert json.loads(record).get("topic") == topic


def test_a_winner_without_a_value_and_single_values_have_no_parts() -> None:
    for text in (compound.of_winner(1), compound.of_winner(1, topic="a"), "5", "!encrypted:k:AAAA"):
        assert compound.parts_of(text) == []
        assert compound.with_parts(text, lambda part: "changed") == text


@pytest.mark.parametrize("seed", range(50))
def test_no_value_of_a_user_looks_like_a_record(seed: int) -> None:
    rng = random.Random(seed)
    for one in (value(rng), {"values": [value(rng)]}, {"winner": 0, "text": "!encrypted:k:AA"}):
        assert not compound.is_compound(serializers.dumps(one, label="x"))
