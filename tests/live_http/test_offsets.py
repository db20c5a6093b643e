"""Offsets: opaque, sorted, and of one workflow."""

from __future__ import annotations

import contextlib
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbos.live import offsets
from django_dbos.live.offsets import Offset, OffsetGone, TooManyEvents
from django_dbos.live.protocol import BadQuery
from tests.fuzz.parts import fuzz

TAG = offsets.tag_of(uuid.UUID(int=1))
KEYS = st.text(st.characters(codec="utf-8"), min_size=1)
VERSIONS = st.dictionaries(KEYS, st.integers(min_value=1, max_value=2**31), max_size=30)
POSITIONS = st.integers(min_value=0, max_value=2**31)


@fuzz(100)
@given(POSITIONS, POSITIONS)
def test_offsets_sort_like_their_positions(first: int, second: int) -> None:
    one, other = (offsets.of_position(TAG, position) for position in (first, second))

    assert (one < other) == (first < second)
    assert (one == other) == (first == second)
    assert offsets.read(one).position == first


@fuzz(100)
@given(VERSIONS)
def test_versions_come_back(versions: dict[str, int]) -> None:
    text = offsets.of_versions(TAG, versions)

    found = offsets.read(text)

    assert found.versions_of([*versions, "another"]) == versions
    assert found.position == sum(versions.values())
    assert re.fullmatch("[A-Za-z0-9_-]+", text)


@fuzz(100)
@given(VERSIONS, KEYS)
def test_a_change_of_an_event_raises_the_offset(versions: dict[str, int], key: str) -> None:
    later = versions | {key: versions.get(key, 0) + 1}

    assert offsets.of_versions(TAG, versions) < offsets.of_versions(TAG, later)


def test_the_start_is_before_all_offsets() -> None:
    assert offsets.read("-1") == Offset()
    assert offsets.of_position(TAG, 0) > "-1"
    assert offsets.of_versions(TAG, {}) > "-1"


def test_a_plain_number_is_a_position() -> None:
    found = offsets.read("12")

    assert found.position == 12
    found.check(TAG)


def test_an_offset_of_an_earlier_workflow_is_gone() -> None:
    text = offsets.of_position(offsets.tag_of(uuid.UUID(int=2)), 3)

    offsets.read(offsets.of_position(TAG, 3)).check(TAG)
    with pytest.raises(OffsetGone):
        offsets.read(text).check(TAG)


def test_a_tag_does_not_reveal_the_token() -> None:
    token = uuid.uuid4()

    assert offsets.tag_of(token) not in token.hex


MALFORMED = [
    "0,1",
    "a b",
    "x",
    "1/2",
    "-2",
    "+1",
    "٣",
    "1_2_3_4",
    "../../etc/passwd",
    "0\r\nX: y",
    "1\n",
    "9" * 11,
    f"{TAG}_0000000001_AAAA",
    f"{TAG}_0000000001_A",
    f"{TAG}_0000000001_{'A' * 5000}",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_offset_is_refused(text: str) -> None:
    with pytest.raises(BadQuery, match="must be -1, now, or a Stream-Next-Offset"):
        offsets.read(text)


@fuzz(100)
@given(st.text())
def test_no_text_is_worse_than_refused(text: str) -> None:
    with contextlib.suppress(BadQuery):
        assert offsets.read(text).position >= 0


def test_an_offset_of_thousands_of_events_is_refused() -> None:
    with pytest.raises(TooManyEvents, match="1000 events is too long"):
        offsets.of_versions(TAG, {f"event-{number}": 1 for number in range(1000)})
