"""The reasons why the engine unwinds a run, none of which is an error. Internal.

::

    BaseException
    └── RunInterrupted                     ``except Exception`` in user code must not catch these
        ├── Suspended
        ├── ClaimLost
        ├── RunCancelled
        ├── HandedOver
        ├── ContinuedAsNew
        └── HistoryUnusable
"""

from __future__ import annotations


class RunInterrupted(BaseException):
    """The base of all interruptions. User code must let it pass."""


class Suspended(RunInterrupted):
    """The workflow waits, and frees its slot until the wait is over."""


class ClaimLost(RunInterrupted):
    """Another executor has claimed the workflow, so this run may no longer write."""


class RunCancelled(RunInterrupted):
    """The workflow was cancelled, or its deadline has passed."""


class HandedOver(RunInterrupted):
    """The executor is stopping; another one continues the workflow."""


class ContinuedAsNew(RunInterrupted):
    """The workflow's next run begins with this input and version, and without a history."""

    def __init__(self, input_text: str, version: str | None) -> None:
        super().__init__(input_text, version)
        self.input_text = input_text
        self.version = version


class HistoryUnusable(RunInterrupted):
    """The run can't continue from this history, for the reason in ``error``."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return str(self.error)
