"""Ids, keys, topics and names: unstorable texts are refused, and typos get suggestions."""

from enum import StrEnum
from typing import Any

import pytest

from django_dbos.core import names


class Key(StrEnum):
    PROGRESS = "progress"


@pytest.mark.parametrize("text", ["a", "x" * 255, "zażółć", "with space", "😀" * 255, "\x01\x7f"])
def test_an_ordinary_text_is_returned(text: str) -> None:
    assert names.check_text(text, label="A key") == text


def test_a_subclass_of_str_becomes_a_str() -> None:
    key = names.check_text(Key.PROGRESS, label="A key")

    assert key == "progress"
    assert type(key) is str


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "A key can't be empty."),
        ("x" * 256, "A key can't be longer than 255 characters, but 'xxx"),
        ("a\0b", r"A key can't contain NUL characters, but is 'a\\x00b'."),
        ("a\ud800", r"A key can't contain lone surrogates, but is 'a\\ud800'."),
    ],
)
def test_a_text_that_no_database_stores_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        names.check_text(text, label="A key")


@pytest.mark.parametrize("value", [None, 5, b"key", ["key"]])
def test_another_type_than_str_is_refused_with_its_name(value: Any) -> None:
    with pytest.raises(TypeError, match="A key must be a str, not " + type(value).__name__):
        names.check_text(value, label="A key")


def test_an_empty_text_can_be_allowed() -> None:
    assert names.check_text("", label="A note", allow_empty=True) == ""


def test_the_maximum_length_can_be_set() -> None:
    with pytest.raises(ValueError, match="longer than 3 characters, but 'four' has 4"):
        names.check_text("four", label="A key", max_length=3)


def test_an_error_shows_only_the_start_of_a_long_text() -> None:
    with pytest.raises(ValueError, match="longer than") as caught:
        names.check_text("x" * 100_000, label="A key")

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("check", "label"),
    [
        (names.check_workflow_id, "A workflow id"),
        (names.check_name, "A name"),
        (names.check_queue_name, "A queue name"),
        (names.check_key, "A key"),
        (names.check_topic, "A topic"),
        (names.check_idempotency_key, "An idempotency key"),
        (names.check_deduplication_id, "A deduplication id"),
    ],
)
def test_each_check_names_the_value_in_its_error(check: Any, label: str) -> None:
    assert check("fine") == "fine"
    with pytest.raises(ValueError, match=label):
        check("")


@pytest.mark.parametrize(
    "check", [names.check_topic, names.check_idempotency_key, names.check_deduplication_id]
)
def test_an_optional_text_may_be_none(check: Any) -> None:
    assert check(None) is None


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("LEESE", " Did you mean 'LEASE'?"),
        ("lease", " Did you mean 'LEASE'?"),
        ("checkout", " Did you mean 'shop.workflows.checkout'?"),
        ("nothing_like_it", ""),
        ("", ""),
    ],
)
def test_the_closest_name_is_suggested(name: str, suggestion: str) -> None:
    assert names.suggest(name, ["LISTEN", "LEASE", "shop.workflows.checkout"]) == suggestion


def test_without_candidates_nothing_is_suggested() -> None:
    assert names.suggest("x", []) == ""
