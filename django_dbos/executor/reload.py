"""--reload: restarts the worker when code changes, as runserver does.

Django runs the command in a daemon thread and ends the process when a file changes, without a
`finally`. So the executor hears of the change first and hands its work over, uncounted
(CORRECTNESS rule 44).
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from django.utils import autoreload

from django_dbos.executor.executor import Executor

# Seconds that steps in progress have to finish after a save.
GRACE = 0.3


def run(make_executor: Callable[[], Executor]) -> int:
    """Run an executor until stopped; run it anew when a file changes."""
    if os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true":
        signal.signal(signal.SIGTERM, _interrupt)
    autoreload.run_with_reloader(_work, make_executor)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _work(make_executor: Callable[[], Executor]) -> None:
    executor = make_executor()

    def on_change(sender: Any, file_path: Path, **kwargs: Any) -> None:
        executor.stop(GRACE)

    autoreload.file_changed.connect(on_change, weak=False)
    _stop_at_exit(executor)
    executor.run()


def _stop_at_exit(executor: Executor) -> None:
    """Ctrl-C ends the main thread, which doesn't wait for this one."""
    atexit.register(executor.stop, GRACE)
