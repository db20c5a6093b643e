"""Retention rules: which finished workflows are deleted, and when.

The first rule that fits a workflow decides. Each rule has an age or a count: the others of the same
function that finished later don't matter to an age, and the age doesn't matter to a count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django_dbos.core import durations, names
from django_dbos.core.numbers import check_count
from django_dbos.core.status import FINISHED, Status

KEYS = ("name", "status", "age", "count")
ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """The fate of the finished workflows that it fits."""

    name: str = ANY
    """The name of a workflow function, or the beginning of names with a "*" behind it."""
    statuses: frozenset[Status] = FINISHED
    age: float | None = None
    """Seconds after its end at which a workflow is deleted."""
    count: int | None = None
    """The number of workflows of each function that stay, the newest. With neither, all stay."""

    @property
    def fits_all(self) -> bool:
        """True if every finished workflow fits."""
        return self.name == ANY and self.statuses == FINISHED

    def fits(self, name: str, status: str) -> bool:
        """Return whether the rule is about workflows of this name that ended so."""
        return status in self.statuses and matches(self.name, name)


Rules = tuple[RetentionRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldWorkflow:
    """A workflow, as retention judges it."""

    workflow_id: str
    token: str
    claim_number: int
    name: str
    status: str
    age: float | None
    """Seconds since its end; None while it is active, or once it is marked for deletion."""
    is_marked: bool
    is_kept: bool
    """True if it must stay, whatever the rules say."""
    is_orphan: bool
    """True if it is a child whose parent is deleted."""


@dataclass(slots=True)
class Judge:
    """Decides by rules, in one walk over the workflows from the newest to the oldest."""

    rules: Rules
    _seen: Counter[tuple[int, str]] = field(default_factory=Counter)

    @property
    def youngest(self) -> float:
        """The age, in seconds, below which no workflow need be looked at."""
        if any(rule.count is not None for rule in self.rules):
            return 0.0
        return min((rule.age for rule in self.rules if rule.age is not None), default=0.0)

    def is_to_go(self, row: OldWorkflow) -> bool:
        """Return whether a workflow is to be deleted. To be called once for each, in order."""
        if row.is_marked:
            return True
        if row.age is None:
            return False
        for number, rule in enumerate(self.rules):
            if rule.fits(row.name, row.status):
                return self._is_past(number, rule, row) and not row.is_kept
        # A child that no rule names goes with its parent.
        return row.is_orphan and not row.is_kept

    def _is_past(self, number: int, rule: RetentionRule, row: OldWorkflow) -> bool:
        if rule.count is not None:
            self._seen[number, row.name] += 1
            return self._seen[number, row.name] > rule.count
        return rule.age is not None and row.age is not None and row.age > rule.age


def parse_rules(value: Any, label: str) -> Rules:
    """Return the rules of DBOS["RETENTION"]: a duration, or a list of rules.

    Raises:
        TypeError, ValueError: The value is neither; the message begins with the label.
    """
    if not isinstance(value, list | tuple):
        if isinstance(value, Mapping):
            raise TypeError(f"{label} must be a duration or a list of rules, not {value!r}.")
        return (RetentionRule(age=_age(value, label)),)
    if not value:
        raise ValueError(f"{label} must have a rule.")
    rules = tuple(_rule(given, f"{label}[{index}]") for index, given in enumerate(value))
    for index, rule in enumerate(rules[:-1]):
        if rule.fits_all:
            raise ValueError(
                f"{label}[{index}] fits every workflow, so the rules after it have no effect."
            )
    return rules


def _rule(given: Any, label: str) -> RetentionRule:
    if not isinstance(given, Mapping):
        raise TypeError(f"{label} must be a dict, not {type(given).__name__} {given!r}.")
    for key in given:
        if key not in KEYS:
            raise ValueError(
                f"{label} has no key {key!r}; the keys are {', '.join(KEYS)}."
                f"{names.suggest(str(key), KEYS)}"
            )
    if ("age" in given) == ("count" in given):
        raise ValueError(f"{label} must have an age or a count, but is {given!r}.")
    age, count = given.get("age"), given.get("count")
    return RetentionRule(
        name=check_pattern(given.get("name", ANY), f"{label}['name']"),
        statuses=parse_statuses(given.get("status"), f"{label}['status']"),
        age=None if age is None else _age(age, f"{label}['age']"),
        count=check_count(count, f"{label}['count']") if "count" in given else None,
    )


def matches(pattern: str, name: str) -> bool:
    """Return whether a name is the pattern, or begins as it does before a "*" at its end."""
    if pattern.endswith(ANY):
        return name.startswith(pattern[: -len(ANY)])
    return name == pattern


def check_pattern(value: Any, label: str) -> str:
    """Return the name of a workflow function, or a beginning of names with one "*" behind it."""
    text = names.check_text(value, label=label)
    if ANY in text[:-1]:
        raise ValueError(f"{label} may have a '*' at its end only, but is {value!r}.")
    return text


def parse_statuses(value: Any, label: str) -> frozenset[Status]:
    """Return the statuses of a rule: one, or a list of them; None stands for all."""
    if value is None:
        return FINISHED
    given: Iterable[Any] = [value] if isinstance(value, str) else value
    if not isinstance(given, Sequence | set | frozenset) or not given:
        raise TypeError(f"{label} must be a status or a list of them, not {value!r}.")
    known = {str(status): status for status in sorted(FINISHED)}
    for status in given:
        if str(status) not in known:
            raise ValueError(
                f"{label} must be one of {', '.join(known)}, but is {status!r}."
                f"{names.suggest(str(status), known)}"
            )
    return frozenset(known[str(status)] for status in given)


def _age(value: Any, label: str) -> float:
    seconds: float = durations.to_seconds(value, label=label)
    if seconds == 0:
        raise ValueError(f"{label} must be more than 0.")
    return seconds
