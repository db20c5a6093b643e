"""Registration: the row of an executor, a worker's or that of a process that runs inline."""

from __future__ import annotations

import json
import os
import platform
import socket
from collections.abc import Sequence
from typing import Any

import django
from django.apps import apps

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
        versions=json.dumps(_versions()),
    )


def _versions() -> dict[str, str]:
    """Return the versions of what this process runs, the project's own first if it has one."""
    own = get_settings().app_version
    package: Any = apps.get_app_config("django_dbos").module
    return {
        **({"app": own} if own else {}),
        "django_dbos": package.__version__,
        "django": django.get_version(),
        "python": platform.python_version(),
    }
