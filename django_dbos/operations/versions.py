"""Versions and patches in use: what may be removed from the code."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Min, Q

from django_dbos.core import registry
from django_dbos.core.status import ACTIVE, Status
from django_dbos.exceptions import PATCH

if TYPE_CHECKING:
    from django_dbos.store.base import Store

# The steps of patches, whose markers begin so.
MARKERS = "dbos.patch("
# Workflows whose markers one statement reads.
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionUse:
    """A version of a workflow function: who runs it, and what still needs it."""

    name: str
    version: str | None
    """None: workflows that were started when the function had no versions. "": workflows that get
    the current version when they are first claimed."""
    is_current: bool
    """True if new workflows of this process begin with it."""
    is_registered: bool
    """True if this process has its code, and would run it."""
    workers: int
    """The live workers that have its code."""
    active: int
    """The workflows that haven't ended."""
    quarantined: int
    """The workflows that were quarantined: once they are resumed they need it, too."""
    oldest: datetime | None
    """The start of the oldest of all these."""

    @property
    def is_stuck(self) -> bool:
        """True if workflows wait for code that no live worker has."""
        return self.active > 0 and not self.workers

    @property
    def may_be_removed(self) -> bool:
        """True if the code of an older version is here, and no workflow needs it."""
        is_older = self.is_registered and not self.is_current
        return is_older and not self.active and not self.quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchUse:
    """A patch of a workflow function, which unfinished workflows have recorded."""

    name: str
    """The name of the function."""
    patch: str
    marked: int
    """The unfinished workflows that have taken the new path: they need deprecate_patch()."""
    unmarked: int
    """Those without the marker that have begun: they may be on the old path, and need patched(),
    or haven't come to the patch yet. Their ages say nothing: an old workflow may take the new path
    while a later one is past the place of the patch, or was claimed by a worker with the code from
    before."""
    oldest_unmarked: datetime | None
    """The start of the oldest of those. If no worker has run the code from before since then, none
    of them is on the old path."""

    @property
    def may_be_deprecated(self) -> bool:
        """True if no workflow can be on the old path, whatever workers have run."""
        return not self.unmarked


def read_versions(store: Store) -> list[VersionUse]:
    """Return the versions of all functions that workflows need or this process has.

    It counts all unfinished workflows.
    """
    counted: dict[tuple[str, str | None], dict[str, Any]] = {}
    for part in _parts(store):
        for row in (
            part.values("name", "version")
            .annotate(
                active=Count("pk", filter=Q(status__in=ACTIVE)),
                quarantined=Count("pk", filter=Q(is_quarantined=True)),
                oldest=Min("created_at"),
            )
            .order_by()
        ):
            _add(counted.setdefault((row["name"], row["version"]), {}), row)
    listed = _listed(store)
    keys = {*counted, *_registered()}
    return [
        _use(name, version, counted.get((name, version), {}), listed)
        for name, version in sorted(
            keys, key=lambda key: (key[0], key[1] is not None, key[1] or "")
        )
    ]


def read_patches(store: Store) -> list[PatchUse]:
    """Return the patches that unfinished workflows have recorded; it reads all their markers."""
    from django_dbos.models import Checkpoint

    marked: dict[tuple[str, str], set[str]] = {}
    for part in _parts(store):
        for rows in _pages(part.values_list("pk", "name")):
            names = dict(rows)
            markers = Checkpoint.objects.using(store.alias).filter(
                workflow_id__in=list(names), step_name__startswith=MARKERS
            )
            for workflow_id, step_name in markers.values_list("workflow_id", "step_name"):
                if (found := PATCH.fullmatch(step_name)) is not None:
                    key = (names[workflow_id], found["name"])
                    marked.setdefault(key, set()).add(workflow_id)
    return [_patch_use(store, name, patch, ids) for (name, patch), ids in sorted(marked.items())]


def _patch_use(store: Store, name: str, patch: str, marked: Set[str]) -> PatchUse:
    begun = Q(name=name, claim_number__gt=0)
    unmarked, oldest = 0, None
    for part in _parts(store):
        for rows in _pages(part.filter(begun).values_list("pk", "created_at")):
            starts = [created_at for pk, created_at in rows if pk not in marked]
            unmarked += len(starts)
            oldest = min(filter(None, (oldest, *starts)), default=None)
    return PatchUse(
        name=name,
        patch=patch,
        marked=len(marked),
        unmarked=unmarked,
        oldest_unmarked=oldest,
    )


def _parts(store: Store) -> list[Any]:
    """Return the workflows that run on, or do once they are resumed, in parts without any twice.

    Each has a partial index: one query for all would read the whole table, finished ones included.
    """
    from django_dbos.models import Workflow

    conditions = (
        Q(status=Status.ENQUEUED),
        Q(status=Status.PENDING),
        Q(status__in=(Status.DELAYED, Status.WAITING), due_at__isnull=False),
        Q(status=Status.WAITING, due_at__isnull=True, wake_workflow_id__isnull=False),
        Q(status=Status.ERROR, is_quarantined=True),
    )
    found = Workflow.objects.using(store.alias)
    return [found.filter(condition) for condition in conditions]


def _add(sums: dict[str, Any], row: Mapping[str, Any]) -> None:
    """Add the numbers of a part to those of the parts before."""
    for name in ("active", "quarantined"):
        sums[name] = sums.get(name, 0) + row[name]
    sums["oldest"] = min(filter(None, (sums.get("oldest"), row["oldest"])))


def _pages(rows: Any) -> Iterator[list[Any]]:
    """Return the rows of a query, PAGE at a time."""
    found = iter(rows.order_by().iterator(PAGE))
    while page := list(itertools.islice(found, PAGE)):
        yield page


def _listed(store: Store) -> list[list[str] | None]:
    """Return what each live worker can claim; None for one that doesn't list it."""
    from django_dbos.models import Executor

    workers = Executor.objects.using(store.alias).filter(is_inline=False).judged()
    return [row.workflow_names for row in workers if row.is_live]


def _registered() -> Iterable[tuple[str, str | None]]:
    for name, of_name in registry.versions.items():
        for version in of_name:
            yield name, version


def _use(
    name: str, version: str | None, counts: dict[str, Any], listed: list[list[str] | None]
) -> VersionUse:
    current = registry.workflows.get(name)
    return VersionUse(
        name=name,
        version=version,
        is_current=current is not None and current.version == version,
        is_registered=registry.is_claimable(name, version),
        workers=sum(names is None or registry.is_listed(name, version, names) for names in listed),
        active=counts.get("active", 0),
        quarantined=counts.get("quarantined", 0),
        oldest=counts.get("oldest"),
    )
