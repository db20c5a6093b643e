"""The definition of a step: its function, and the options of its decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django_dbos.core.backoff import delay_before_attempt
from django_dbos.exceptions import (
    ModelInstanceGone,
    PayloadTooLarge,
    SerializationError,
    UnknownTypeInHistory,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDefinition:
    """A step function, and the options of its decorator. Durations are in seconds."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    max_attempts: int
    interval: float
    backoff: float
    max_interval: float
    jitter: float
    retry_on: tuple[type[Exception], ...] | Callable[[Exception], object]
    timeout: float | None
    is_atomic: bool
    confirm: bool
    using: str | None

    def delay_before(self, attempt: int) -> float:
        """Return the seconds to wait before an attempt; the first is 1."""
        return delay_before_attempt(
            attempt,
            interval=self.interval,
            backoff=self.backoff,
            max_interval=self.max_interval,
            jitter=self.jitter,
        )

    def is_last(self, attempt: int, error: BaseException) -> bool:
        """Return True if no attempt follows one that raised this error."""
        if attempt >= self.max_attempts or not self._may_retry(error):
            return True
        if isinstance(error, UnknownTypeInHistory | ModelInstanceGone):
            return False
        # An outcome that can't be stored is found after the work, which need not be repeated.
        return isinstance(error, SerializationError | PayloadTooLarge)

    def _may_retry(self, error: BaseException) -> bool:
        if isinstance(self.retry_on, tuple):
            return isinstance(error, self.retry_on)
        return isinstance(error, Exception) and bool(self.retry_on(error))
