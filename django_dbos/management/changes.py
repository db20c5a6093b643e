"""The commands that change histories: fork, rewind, retry and delete, each workflow by itself."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django_dbos.handles import each
from django_dbos.management.base import refusing_values
from django_dbos.management.bulk import BulkCommand
from django_dbos.store import get_store


class ChangeCommand(BulkCommand):
    """A command that changes workflows one by one, each in a transaction of its own."""

    def change(self, options: dict[str, Any]) -> Callable[[str], Any]:
        """Return the function that changes a workflow.

        Raises:
            ValueError, TypeError: An option is impossible.
        """
        raise NotImplementedError

    def act(self, workflow_ids: Sequence[str], options: dict[str, Any]) -> Mapping[str, bool | str]:
        """Change them."""
        with refusing_values():
            reasons = each(self.change(options), workflow_ids)
        return {found: True if why is None else why for found, why in reasons.items()}


def add_children(parser: ArgumentParser, text: str) -> None:
    """Declare `--children`."""
    parser.add_argument("--children", action="store_true", help=text)


def with_children(name: str, options: dict[str, Any], *args: Any) -> Callable[[str], Any]:
    """Return a function of the store that takes a workflow's id, with the option of children."""
    change, children = getattr(get_store(), name), options["children"]
    return lambda workflow_id: change(workflow_id, *args, children=children)
