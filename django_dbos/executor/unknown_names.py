"""Unknown names: logs the reason why a workflow with an unknown function isn't run."""

from __future__ import annotations

import logging

from django_dbos.core import registry
from django_dbos.store.base import Store

logger = logging.getLogger("django_dbos.executor")


class UnknownNames:
    """The names that are unknown here; each is logged once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logged: set[str] = set()

    def explain(self, queue_name: str) -> None:
        """Log why the workflows of a queue wait from which nothing could be claimed."""
        try:
            known = [*registry.workflows, *self._logged]
            found = self._store.find_unknown(queue_name, known)
        finally:
            # Django's connection of this thread is needed for nothing else.
            self._store.session().close()
        if found is None:
            return
        workflow_id, name = found
        self._logged.add(name)
        logger.warning(
            "Workflow %r waits in queue %r: its function %r isn't known here. Import it in the "
            "workflows.py of an app; after a rename give it this name, @workflow(name=…). Another "
            "worker may know it.",
            workflow_id,
            queue_name,
            name,
        )
