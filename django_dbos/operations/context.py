"""The scope of the calling code: its run, and its step."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING

from django_dbos.core.frozen import dataclass

if TYPE_CHECKING:
    from django_dbos.operations.run import Run


@dataclass(slots=True, kw_only=True)
class StepScope:
    """A step that is being executed."""

    step_number: int
    step_name: str
    attempt: int = 1
    max_attempts: int = 1
    atomic_alias: str | None = None
    """The database of an atomic step's transaction."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The run, and the step of it, that code belongs to."""

    run: Run
    step: StepScope | None = None


_scope: ContextVar[Scope | None] = ContextVar("django_dbos_scope", default=None)


def current() -> Scope | None:
    """Return the scope of the calling code; None outside of workflows."""
    return _scope.get()


def copy_outside() -> Context:
    """Return a copy of the calling code's context that belongs to no run."""
    copied = copy_context()
    copied.run(_scope.set, None)
    return copied


def entered(run: Run, step: StepScope | None = None) -> AbstractContextManager[None]:
    """Make the code in a block belong to a run, and to one of its steps."""
    return _Entered(Scope(run, step))


class _Entered(AbstractContextManager[None]):
    """A scope for the length of a block. Each step has one: a generator takes twice the time."""

    __slots__ = ("_inner", "_token")

    def __init__(self, inner: Scope) -> None:
        self._inner = inner

    def __enter__(self) -> None:
        self._token = _scope.set(self._inner)

    def __exit__(self, *error: object) -> None:
        _scope.reset(self._token)
