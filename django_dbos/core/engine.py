"""What rows do through the engine. It stands above the models, so it registers itself here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Engine(Protocol):
    """Acts on workflows by their ids."""

    def handle(self, workflow_id: str) -> Any:
        """Return a WorkflowHandle."""

    def cancel(self, workflow_ids: Sequence[str], *, children: bool) -> dict[str, bool]:
        """Return by id whether the workflow was still active."""

    def resume(self, workflow_ids: Sequence[str]) -> dict[str, bool]:
        """Return by id whether the workflow could be resumed."""


_engine: Engine | None = None


def register(engine: Engine) -> None:
    """Make the engine known. Importing any module of the package has done so."""
    global _engine
    _engine = engine


def get_engine() -> Engine:
    """Return the engine."""
    assert _engine is not None
    return _engine
