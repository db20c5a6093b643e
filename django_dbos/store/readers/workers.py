"""Reads of workers: which of them may claim a workflow."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.core import names, registry
from django_dbos.models import Executor
from django_dbos.store.readers.part import ReaderPart


class WorkerReader(ReaderPart):
    """Reads the rows of workers."""

    def find_workers(self, queue_name: str) -> list[Executor]:
        """Return the live workers that serve a queue."""
        executors = Executor.objects.using(self._alias).filter(is_inline=False).judged()
        return [
            row
            for row in executors
            if row.is_live and (row.queue_names is None or queue_name in row.queue_names)
        ]

    def why_unclaimed(
        self,
        queue_name: str,
        name: str,
        version: str | None,
        workers: Sequence[Executor] | None = None,
    ) -> str:
        """Return the reason why no live worker claims a workflow, or an empty text if one may.

        `workers` are the live workers of the queue, where they are known.
        """
        if workers is None:
            workers = self.find_workers(queue_name)
        if not workers:
            return f"no live worker serves queue {queue_name!r}; run dbos_worker"
        listed = [row.workflow_names for row in workers]
        if any(known is None or registry.is_listed(name, version, known) for known in listed):
            return ""
        if any(known is not None and name in known for known in listed):
            return (
                f"no live worker of queue {queue_name!r} knows version {version!r} of its function "
                f"{name!r}; deploy that code, too: @….version({version!r})"
            )
        found = {one for known in listed for one in registry.without_versions(known or ())}
        similar = names.closest(name, sorted(found))
        return (
            f"no live worker of queue {queue_name!r} knows its function {name!r}"
            f"{f', but one knows {similar!r}' if similar else ''}; deploy the code, or give a "
            "renamed function this name: @workflow(name=…)"
        )
