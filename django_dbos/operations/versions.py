"""Versions and patches in use: what may be removed from the code."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Those without the marker that were started before the first one with it: they may be on
    the old path, and need patched()."""

    @property
    def may_be_deprecated(self) -> bool:
        """True if no workflow can be on the old path."""
        return not self.unmarked


def read_versions(store: Store) -> list[VersionUse]:
    """Return the versions of all functions that workflows need or this process has.

    It counts all unfinished workflows.
    """
    counted = {
        (row["name"], row["version"]): row
        for row in _unfinished(store)
        .values("name", "version")
        .annotate(
            active=Count("pk", filter=Q(status__in=ACTIVE)),
            quarantined=Count("pk", filter=Q(is_quarantined=True)),
            oldest=Min("created_at"),
        )
        .order_by()
    }
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

    unfinished = _unfinished(store)
    markers = Checkpoint.objects.using(store.alias).filter(
        step_name__startswith=MARKERS, workflow_id__in=unfinished.values("pk")
    )
    names: dict[str, Any] = dict(
        unfinished.filter(pk__in=markers.values("workflow_id")).values_list("pk", "name")
    )
    marked: dict[tuple[str, str], set[str]] = {}
    for workflow_id, step_name in markers.values_list("workflow_id", "step_name"):
        found = PATCH.fullmatch(step_name)
        if found is not None and workflow_id in names:
            marked.setdefault((names[workflow_id], found["name"]), set()).add(workflow_id)
    return [
        PatchUse(
            name=name,
            patch=patch,
            marked=len(ids),
            unmarked=_count_unmarked(store, name, ids),
        )
        for (name, patch), ids in sorted(marked.items())
    ]


def _count_unmarked(store: Store, name: str, marked: set[str]) -> int:
    """Return how many unfinished workflows began before the first marked one, and aren't marked."""
    of_name = _unfinished(store).filter(name=name)
    first = of_name.filter(pk__in=marked).aggregate(first=Min("created_at"))["first"]
    earlier = of_name.filter(created_at__lt=first, claim_number__gt=0)
    return len(set(earlier.values_list("pk", flat=True)) - marked)


def _unfinished(store: Store) -> Any:
    """Return the workflows that run on, or do once they are resumed."""
    from django_dbos.models import Workflow

    is_unfinished = Q(status__in=ACTIVE) | Q(status=Status.ERROR, is_quarantined=True)
    return Workflow.objects.using(store.alias).filter(is_unfinished)


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
