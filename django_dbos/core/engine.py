"""The operations that model rows offer through the engine.

The engine stands above the models and registers itself here, so that no import points up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Engine(Protocol):
    """Operations on workflows and executors, given by their ids."""

    def handle(self, workflow_id: str) -> Any:
        """Return a WorkflowHandle."""

    def cancel(self, workflow_ids: Sequence[str], *, children: bool) -> dict[str, bool]:
        """Cancel workflows; return by id whether each one was still active."""

    def resume(self, workflow_ids: Sequence[str], *, queue_name: str | None) -> dict[str, bool]:
        """Resume workflows, in another queue if one is given; return by id whether each could."""

    def retry(self, workflow_ids: Sequence[str], *, children: bool) -> dict[str, bool]:
        """Retry failed workflows; return by id whether each could."""

    def delete(self, workflow_ids: Sequence[str], *, children: bool) -> dict[str, bool]:
        """Delete finished workflows; return by id whether each could."""

    def fork(
        self,
        workflow_ids: Sequence[str],
        *,
        from_step: int | None,
        from_failure: bool,
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Fork workflows; return by id the handle of its fork, or None."""

    def drain(self, executor_ids: Sequence[str]) -> dict[str, bool]:
        """Ask executors to drain; return by id whether each one is live."""


_engine: Engine | None = None


def register(engine: Engine) -> None:
    """Set the engine; importing the package does so."""
    global _engine
    _engine = engine


def get_engine() -> Engine:
    """Return the engine."""
    assert _engine is not None
    return _engine
