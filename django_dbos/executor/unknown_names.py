"""Unknown names: logs why a workflow isn't run whose function, or version, is unknown."""

from __future__ import annotations

import logging

from django_dbos.core import names, registry
from django_dbos.store.base import Store

logger = logging.getLogger("django_dbos.executor")


class UnknownNames:
    """The names and versions that are unknown here; each is logged once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logged: set[str] = set()

    def explain(self, queue_name: str) -> None:
        """Log why the workflows of a queue wait from which nothing could be claimed."""
        try:
            found = self._store.find_unknown(queue_name, [*registry.claimable(), *self._logged])
        finally:
            # Django's connection of this thread is needed for nothing else.
            self._store.session().close()
        if found is not None:
            self._log(queue_name, *found)

    def _log(self, queue_name: str, workflow_id: str, name: str, version: str | None) -> None:
        self._logged |= {name, registry.qualified(name, version)}
        if name in registry.workflows:
            logger.warning(
                "Workflow %r waits in queue %r: version %r of its function %r isn't known here. "
                "Keep that code beside the current one, decorated with .version(%r). Another "
                "worker may know it.",
                workflow_id,
                queue_name,
                version,
                name,
                version,
            )
            return
        logger.warning(
            "Workflow %r waits in queue %r: its function %r isn't known here.%s Import it in the "
            "workflows.py of an app; after a rename give it this name, @workflow(name=…). Another "
            "worker may know it.",
            workflow_id,
            queue_name,
            name,
            names.suggest(name, registry.of_project()),
        )
