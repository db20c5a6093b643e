"""Commands that do one thing to workflows: to those that are named, or to all that filters find."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, ClassVar

from django.core.management.base import CommandError

from django_dbos.conf import get_settings
from django_dbos.management.base import DatabaseCommand, UsageError, add_confirmation
from django_dbos.management.filters import add_filters, filtered, is_filtered, pages
from django_dbos.models import Workflow
from django_dbos.models.workflows import WorkflowQuerySet


class BulkCommand(DatabaseCommand):
    """A command on workflows by id, or by filters after a confirmation.

    One that is named and can't be acted on makes the exit code 1; the others are acted on all the
    same. Filters find those alone that can be acted on.
    """

    verb: ClassVar[str]
    """The action as a question asks it, such as "Cancel"."""
    done: ClassVar[str]
    """The action as an answer tells it, such as "cancelled"."""
    refusal: ClassVar[str]
    """Why it can't be done to a workflow, such as "has ended already"."""

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the ids, the filters and the confirmation."""
        parser.add_argument("workflow_ids", nargs="*", metavar="ID", help="The workflows.")
        self.add_own_options(parser)
        add_confirmation(parser)
        add_filters(parser)

    def add_own_options(self, parser: ArgumentParser) -> None:
        """Declare the options of the action."""

    def eligible(self, found: WorkflowQuerySet) -> WorkflowQuerySet:
        """Return those of the workflows that the action can be done to."""
        raise NotImplementedError

    def act(self, workflow_ids: Sequence[str], options: dict[str, Any]) -> dict[str, bool]:
        """Do it; return by id whether it was done."""
        raise NotImplementedError

    def perform(self, options: dict[str, Any]) -> None:
        """Act on those that are named, or on those that the filters find."""
        ids = list(dict.fromkeys(options["workflow_ids"]))
        if bool(ids) == is_filtered(options):
            raise UsageError("Name workflows by their ids, or find them by filters: one of both.")
        if ids:
            self._act_on_named(ids, options)
        else:
            self._act_on_found(options)

    def _act_on_named(self, ids: list[str], options: dict[str, Any]) -> None:
        known = Workflow.objects.using(get_settings().database).filter(workflow_id__in=ids)
        existing = set(known.values_list("workflow_id", flat=True))
        answers = self.act([one for one in ids if one in existing], options)
        lines, rows = [], []
        for one in ids:
            is_done = answers.get(one, False)
            reason = None if is_done else self.refusal if one in existing else "doesn't exist"
            lines.append(f"{one} {self.done if is_done else reason}")
            rows.append({"workflow_id": one, "done": is_done, "reason": reason})
        self.answer({"done": sum(answers.values()), "workflows": rows}, lines)
        if refused := [row for row in rows if not row["done"]]:
            first = f"Workflow {refused[0]['workflow_id']!r} {refused[0]['reason']}"
            raise CommandError(
                f"{first}." if len(refused) == 1 else f"{first}, and {len(refused) - 1} more."
            )

    def _act_on_found(self, options: dict[str, Any]) -> None:
        found = self.eligible(filtered(options))
        count = found.count()
        if not count:
            raise CommandError("No workflow matches that could be acted on.")
        self.confirm(f"{self.verb} {count:,} {'workflow' if count == 1 else 'workflows'}?", options)
        done = seen = 0
        for ids in pages(found):
            answers = self.act(ids, options)
            seen, done = seen + len(answers), done + sum(answers.values())
        line = f"{done:,} {self.done}"
        if seen > done:
            line += f"; {seen - done:,} changed meanwhile"
        self.answer({"done": done, "changed_meanwhile": seen - done}, [line])
