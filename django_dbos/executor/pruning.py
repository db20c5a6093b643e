"""The deletion of old workflows by rules, a statement at a time.

Workers do it as a duty, and `manage.py dbos_prune` on request. Each statement takes a small part of
a heartbeat's interval: how many rows that allows is learned, and a statement that the server
cancels for its length is tried with fewer.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django_dbos.conf import Settings
from django_dbos.core.retention import Judge, OldWorkflow, Rules
from django_dbos.executor.clock import Clock
from django_dbos.store import elsewhere
from django_dbos.store.base import Store
from django_dbos.store.retention import DEPENDENTS
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# The share of the heartbeat's interval that one statement may take.
SHARE = 0.02
FIRST_ROWS, MAX_ROWS = 100, 5_000
# Workflows that are read, and marked, together: each search for their rows passes over rows that
# were deleted just before.
MAX_WORKFLOWS = 1_000
# Workflows with more rows than this in a table are marked, and deleted by several statements.
FEW = 10
# The workflows whose rows on other databases are deleted together.
ELSEWHERE = 100


@dataclass(slots=True)
class Pruned:
    """The numbers of rows that were deleted, or would be."""

    workflows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The number of workflows by name and status."""
    past_runs: int = 0
    strays: int = 0
    """The number of rows of workflows that were gone before."""
    steps_elsewhere: int = 0
    """The number of atomic steps on other databases that had been left behind."""

    @property
    def total(self) -> int:
        """The number of workflows."""
        return self.workflows.total()


class Pruning:
    """The deletion of what rules let go.

    Args:
        store: The database.
        clock: A clock for the durations of statements.
        rules: Which workflows go.
        step_databases: The aliases of other databases with checkpoints of atomic steps.
        patience: Seconds that one statement may take.
        rows: How many rows the first statement deletes.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        rules: Rules,
        step_databases: Sequence[str] = (),
        patience: float,
        rows: int = FIRST_ROWS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._step_databases = step_databases
        self._patience = patience
        self.rows = rows
        """The number of rows for a statement to delete."""
        self.took = 0.0
        """Seconds that the last statement took."""

    def delete_old(self, session: Session) -> Iterator[Pruned]:
        """Delete everything that may go by now; yield, after each statement, what is gone.

        A child goes after its parent, so that walks follow one another until one finds nothing.
        """
        pruned = Pruned()
        while True:
            before = pruned.total
            for page in self._walk(session):
                yield pruned
                yield from self._delete(session, page, pruned)
            if pruned.total == before:
                break
        for age in self._ages_of_runs():
            delete = partial(self._delete_old_runs, session, age, pruned)
            yield from self._delete_all(delete, pruned)

    def find_old(self, session: Session) -> Iterator[Pruned]:
        """Yield, after each page of workflows, those that delete_old() would delete first."""
        pruned = Pruned()
        for page in self._walk(session):
            pruned.workflows.update((row.name, row.status) for row in page)
            yield pruned

    def delete_strays(self, session: Session) -> Iterator[Pruned]:
        """Delete the rows of workflows that are gone, such as a message that came too late."""
        pruned = Pruned()
        for table in DEPENDENTS:
            above: str | None = ""
            while above is not None:
                began = self._clock()
                ids, above = self._store.list_strays(session, table, above, MAX_WORKFLOWS)
                for workflow_id in ids:
                    pruned.strays += self._store.delete_strays(session, table, workflow_id)
                self.took = self._clock() - began
                yield pruned

    def confirm_step_deletions(self) -> Iterator[Pruned]:
        """Delete what deleted and rewound workflows may have left on other databases."""
        pruned = Pruned()
        deleted: int | None = 0 if self._step_databases else None
        while deleted is not None:
            began = self._clock()
            deleted = elsewhere.confirm_deletions(self._store.alias, self._step_databases)
            pruned.steps_elsewhere += deleted or 0
            self.took = self._clock() - began
            yield pruned

    def shrink(self) -> bool:
        """Make the next statement delete fewer rows; return False if it already deletes one."""
        before = self.rows
        self.rows = max(before // 4, 1)
        return self.rows < before

    def _walk(self, session: Session) -> Iterator[list[OldWorkflow]]:
        """Read all old workflows; yield those of each page that may go, perhaps none."""
        judge = Judge(self._rules)
        place = self._store.first_place
        while True:
            began = self._clock()
            found, below = self._store.list_finished(session, judge.youngest, place, MAX_WORKFLOWS)
            chosen = [row for row in found if judge.is_to_go(row)]
            self.took = self._clock() - began
            yield chosen
            if below is None:
                return
            place = below

    def _delete(
        self, session: Session, chosen: Sequence[OldWorkflow], pruned: Pruned
    ) -> Iterator[Pruned]:
        left = list(chosen)
        marked: list[tuple[str, UUID]] = []
        while left:
            began, some = self._clock(), left[: self.rows]
            afresh = [row for row in some if not row.is_marked]
            marked += [(row.workflow_id, UUID(row.token)) for row in some if row.is_marked]
            if afresh and not self._step_databases:
                gone = set(self._store.delete_few(session, afresh, FEW))
                self._store.wake_after_deletions(session, sorted(gone))
                pruned.workflows.update(
                    (row.name, row.status) for row in afresh if row.workflow_id in gone
                )
                afresh = [row for row in afresh if row.workflow_id not in gone]
            if afresh:
                marked += self._store.mark_deleted(session, afresh)
            del left[: len(some)]
            self._learn(began, is_full=bool(left))
            yield pruned
        if not marked:
            return
        ids = [workflow_id for workflow_id, _ in marked]
        yield from self._delete_elsewhere([token for _, token in marked], pruned)
        for part in DEPENDENTS:
            delete = partial(self._store.delete_dependents, session, part, ids)
            yield from self._delete_all(delete, pruned)
        yield from self._delete_marked(session, ids, chosen, pruned)

    def _delete_elsewhere(self, tokens: Sequence[UUID], pruned: Pruned) -> Iterator[Pruned]:
        """Delete checkpoints on other databases, while the marks still tell whose they are."""
        if not self._step_databases:
            return
        for first in range(0, len(tokens), ELSEWHERE):
            began = self._clock()
            elsewhere.delete(self._step_databases, tokens[first : first + ELSEWHERE])
            self.took = self._clock() - began
            yield pruned

    def _delete_marked(
        self,
        session: Session,
        workflow_ids: list[str],
        chosen: Sequence[OldWorkflow],
        pruned: Pruned,
    ) -> Iterator[Pruned]:
        kinds = {row.workflow_id: (row.name, row.status) for row in chosen}
        left = workflow_ids
        while left:
            began, some = self._clock(), left[: self.rows]
            gone = self._store.delete_marked(session, some)
            self._store.wake_after_deletions(session, gone)
            pruned.workflows.update(kinds[workflow_id] for workflow_id in gone)
            left = left[len(some) :]
            self._learn(began, is_full=bool(left))
            yield pruned

    def _delete_all(self, delete: Callable[[int], int], pruned: Pruned) -> Iterator[Pruned]:
        """Call a function that deletes rows, up to a limit, until it finds fewer."""
        deleted = limit = self.rows
        while deleted == limit:
            began, limit = self._clock(), self.rows
            deleted = delete(limit)
            self._learn(began, is_full=deleted == limit)
            yield pruned

    def _delete_old_runs(self, session: Session, age: float, pruned: Pruned, limit: int) -> int:
        deleted = self._store.delete_old_runs(session, age, limit)
        pruned.past_runs += deleted
        return deleted

    def _ages_of_runs(self) -> list[float]:
        """Return the age of past runs: that of a rule for workflows of every name and status."""
        return [rule.age for rule in self._rules if rule.fits_all and rule.age is not None]

    def _learn(self, began: float, *, is_full: bool) -> None:
        """Adapt the next statement's number of rows to the time that the last one took."""
        self.took = self._clock() - began
        if self.took > self._patience:
            self.rows = max(self.rows // 2, 1)
        elif is_full and self.took < self._patience / 2:
            self.rows = min(self.rows * 2, MAX_ROWS)


def pruning_of(store: Store, clock: Clock, settings: Settings, rules: Rules) -> Pruning:
    """Return the deletion by these rules beside the workers of the settings."""
    return Pruning(
        store,
        clock,
        rules=rules,
        step_databases=step_databases_of(settings),
        patience=settings.heartbeat_interval * SHARE,
    )


def step_databases_of(settings: Settings) -> list[str]:
    """Return the aliases of step databases that aren't the workflow database."""
    return [alias for alias in settings.step_databases if alias != settings.database]
