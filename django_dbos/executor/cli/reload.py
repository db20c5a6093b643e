"""--reload: restarts the worker when code changes, as runserver does.

The parent is that of `--processes`, with one child. In the child, Django's reloader watches the
files on a thread. After a change the executor hands its work over, uncounted (CORRECTNESS rule 44),
and the process ends with the exit code that makes the parent start another one.
"""

from __future__ import annotations

import logging
import threading

from django.utils import autoreload

from django_dbos.executor.cli.inbox import Inbox, Notice

logger = logging.getLogger("django_dbos.executor")

# Django's own reloader sets this for its child, and code may check it.
ENVIRONMENT = {autoreload.DJANGO_AUTORELOAD_ENV: "true"}


def watch(inbox: Inbox) -> None:
    """Send a notice to the inbox when code has changed."""
    reloader = autoreload.get_reloader()
    logger.info("Watching for file changes with %s", type(reloader).__name__)
    threading.Thread(
        target=_watch, args=(reloader, inbox), name="dbos-reloader", daemon=True
    ).start()


def _watch(reloader: autoreload.BaseReloader, inbox: Inbox) -> None:
    try:
        reloader.run(threading.main_thread())
    except SystemExit:
        # Raised by Django when no receiver of file_changed, such as that for templates, could
        # handle the change in place.
        inbox.notify(Notice.CODE_CHANGED)
