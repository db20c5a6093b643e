"""Commands that do one thing to workflows: to those that are named, or to all that filters find."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.core.management.base import CommandError

from django_dbos.conf import get_settings
from django_dbos.management.base import DatabaseCommand, UsageError, add_confirmation
from django_dbos.management.filters import add_filters, filtered, is_filtered, name_hint, pages
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

    def act(self, workflow_ids: Sequence[str], options: dict[str, Any]) -> Mapping[str, bool | str]:
        """Do it; return by id whether it was done, or as a text why not."""
        raise NotImplementedError

    def new_id(self, workflow_id: str) -> str | None:
        """Return the id of the workflow that a fork of this one is; None of other actions."""
        return None

    def perform(self, options: dict[str, Any]) -> None:
        """Act on those that are named, or on those that the filters find."""
        ids = list(dict.fromkeys(options["workflow_ids"]))
        if ids and is_filtered(options):
            raise UsageError("Give ids or filters, not both.")
        if not ids and not is_filtered(options):
            raise UsageError("Give the ids of workflows, or filters such as --name or --status.")
        if ids:
            self._act_on_named(ids, options)
        else:
            self._act_on_found(options)

    def _act_on_named(self, ids: list[str], options: dict[str, Any]) -> None:
        known = Workflow.objects.using(get_settings().database).filter(workflow_id__in=ids)
        existing = set(known.values_list("workflow_id", flat=True))
        answers = self._act([one for one in ids if one in existing], options)
        lines, rows = [], []
        for one in ids:
            reason = self._reason(answers[one]) if one in existing else "doesn't exist"
            row = {"workflow_id": one, "done": reason is None, "reason": reason}
            told = self.done if reason is None else reason
            if (new_id := self.new_id(one)) is not None:
                row["fork_id"], told = new_id, f"{told} as {new_id}"
            lines.append(f"{one} {told}")
            rows.append(row)
        done = sum(bool(row["done"]) for row in rows)
        self.answer({"done": done, "workflows": rows}, lines)
        if refused := [row for row in rows if not row["done"]]:
            first = f"Workflow {refused[0]['workflow_id']!r} {refused[0]['reason']}"
            raise CommandError(
                f"{first}." if len(refused) == 1 else f"{first}, and {len(refused) - 1} more."
            )

    def _act(self, ids: list[str], options: dict[str, Any]) -> Mapping[str, bool | str]:
        answers = self.act(ids, options)
        self.audit(f"{self.done} workflow", [one for one in ids if answers[one] is True])
        return answers

    def _reason(self, answer: bool | str) -> str | None:
        """Return why an action wasn't done; None if it was."""
        if isinstance(answer, str):
            return f"{self.refusal}: {answer.removesuffix('.')}"
        return None if answer else self.refusal

    def _act_on_found(self, options: dict[str, Any]) -> None:
        found = self.eligible(filtered(options))
        count = found.count()
        if not count:
            raise CommandError(
                f"No workflow matches that could be acted on.{name_hint(options['name'])}"
            )
        self.confirm(f"{self.verb} {count:,} {'workflow' if count == 1 else 'workflows'}?", options)
        done = changed = 0
        refused: list[dict[str, Any]] = []
        forks: list[dict[str, Any]] = []
        for ids in pages(found):
            answers = self._act(ids, options)
            done += sum(answer is True for answer in answers.values())
            changed += sum(answer is False for answer in answers.values())
            refused += [
                {"workflow_id": one, "reason": self._reason(answer)}
                for one, answer in answers.items()
                if isinstance(answer, str)
            ]
            forks += [
                {"workflow_id": one, "fork_id": new_id}
                for one in ids
                if (new_id := self.new_id(one)) is not None
            ]
        line = f"{done:,} {self.done}"
        if changed:
            line += f"; {changed:,} changed meanwhile"
        lines = [f"{fork['workflow_id']} {self.done} as {fork['fork_id']}" for fork in forks]
        lines += [f"{row['workflow_id']} {row['reason']}" for row in refused]
        data: dict[str, Any] = {"done": done, "changed_meanwhile": changed}
        data |= {"refused": refused} if refused else {}
        data |= {"forks": forks} if forks else {}
        self.answer(data, [*lines, line])
        if refused:
            raise CommandError(f"{len(refused):,} of {done + changed + len(refused):,} refused.")
