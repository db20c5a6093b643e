"""Registration: the row of an executor, a worker's or that of a process that runs inline."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence

from django_dbos.conf import get_settings
from django_dbos.core.ids import lock_key
from django_dbos.core.records import ExecutorInfo


def executor_info(
    executor_id: str,
    *,
    is_inline: bool,
    concurrency: int,
    queue_names: Sequence[str] | None = None,
    workflow_names: str | None = None,
) -> ExecutorInfo:
    """Return the row of an executor in this process."""
    return ExecutorInfo(
        executor_id=executor_id,
        hostname=socket.gethostname()[:255],
        pid=os.getpid(),
        is_inline=is_inline,
        queue_names=None if queue_names is None else json.dumps(list(queue_names)),
        concurrency=concurrency,
        lock_key=lock_key(executor_id),
        lease=get_settings().lease,
        workflow_names=workflow_names,
    )
