"""manage.py dbos_versions: shows which code unfinished workflows need, and what may be removed."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.core.management.base import CommandError

from django_dbos.core import registry
from django_dbos.management.base import DatabaseCommand, table_of
from django_dbos.management.rows import instant
from django_dbos.operations import versions
from django_dbos.operations.versions import PatchUse, VersionUse
from django_dbos.store import get_store

HEADINGS = ("FUNCTION", "VERSION", "WORKERS", "ACTIVE", "QUARANTINED", "OLDEST", "STATE")
PATCH_HEADINGS = ("FUNCTION", "PATCH", "ON THE NEW PATH", "WITHOUT IT", "OLDEST", "STATE")


class Command(DatabaseCommand):
    """Prints the versions and the patches; fails if workflows lack their code."""

    help = (
        "Shows, for each workflow function, how many unfinished workflows need which version of "
        "its code, which patches they have recorded, and what may be removed. Run it with the code "
        "that you want to change. Exits with 1 if workflows wait for code that no live worker has."
    )
    examples = ("", "--format json")

    def perform(self, options: dict[str, Any]) -> None:
        """Print what is in use."""
        store = get_store()
        found, patches = versions.read_versions(store), versions.read_patches(store)
        self.answer(_as_json(found, patches), _lines(found, patches))
        stuck = [registry.qualified(use.name, use.version) for use in found if use.is_stuck]
        if stuck:
            raise CommandError(f"Workflows wait for code that no live worker has: {stuck}.")


def _as_json(found: list[VersionUse], patches: list[PatchUse]) -> dict[str, Any]:
    return {
        "versions": [
            {
                **dataclasses.asdict(use),
                "is_stuck": use.is_stuck,
                "may_be_removed": use.may_be_removed,
            }
            for use in found
        ],
        "patches": [
            {**dataclasses.asdict(use), "may_be_deprecated": use.may_be_deprecated}
            for use in patches
        ],
    }


def _lines(found: list[VersionUse], patches: list[PatchUse]) -> list[str]:
    if not found:
        return ["No workflow is unfinished, and no function has versions."]
    lines = table_of([HEADINGS, *map(_cells, found)])
    if patches:
        lines += ["", *table_of([PATCH_HEADINGS, *map(_patch_cells, patches)])]
    return lines


def _cells(use: VersionUse) -> tuple[str, ...]:
    return (
        use.name,
        "none" if use.version is None else use.version or "the newest",
        str(use.workers),
        f"{use.active:,}",
        f"{use.quarantined:,}",
        instant(use.oldest),
        _state(use),
    )


def _state(use: VersionUse) -> str:
    if use.is_stuck:
        return "no live worker has this code"
    if use.is_current:
        return "current"
    return "may be removed" if use.may_be_removed else "in use"


def _patch_cells(use: PatchUse) -> tuple[str, ...]:
    state = "may become deprecate_patch()" if use.may_be_deprecated else "in use"
    return (
        use.name,
        use.patch,
        f"{use.marked:,}",
        f"{use.unmarked:,}",
        instant(use.oldest_unmarked),
        state,
    )
