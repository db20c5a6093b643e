"""Missing keys: workflows that meet a value whose key isn't here, named in the log.

A worker can't see in a row by which keys its values are encrypted. So it claims the workflow, and
gives it up: its row then waits for the key. Workers that have the key look for such rows.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("django_dbos.executor")

_logged: set[str] = set()


def log(workflow_id: str, key_id: str) -> None:
    """Log that a workflow waits for a key, for the first one of each key."""
    if key_id in _logged:
        return
    _logged.add(key_id)
    logger.warning(
        "Workflow %r waits: it has a value encrypted with key %r, which this process doesn't have. "
        "Add the key to DBOS['ENCRYPTION']['KEYS'] here; another worker may have it.",
        workflow_id,
        key_id,
        extra={"workflow_id": workflow_id},
    )
