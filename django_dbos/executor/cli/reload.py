"""--reload: restarts the worker when code changes, as runserver does.

The parent is the one of `--processes`, with one child. In the child Django's reloader looks for
changes on a thread; the executor hands its work over, uncounted (CORRECTNESS rule 44), and the
process ends with the code that has the parent start the next one.
"""

from __future__ import annotations

import logging
import threading

from django.utils import autoreload

from django_dbos.executor.cli.inbox import Inbox, Notice

logger = logging.getLogger("django_dbos.executor")

# What Django's own reloader tells its child, for code that asks.
ENVIRONMENT = {autoreload.DJANGO_AUTORELOAD_ENV: "true"}


def watch(inbox: Inbox) -> None:
    """Say in the inbox when code has changed."""
    reloader = autoreload.get_reloader()
    logger.info("Watching for file changes with %s", type(reloader).__name__)
    threading.Thread(
        target=_watch, args=(reloader, inbox), name="dbos-reloader", daemon=True
    ).start()


def _watch(reloader: autoreload.BaseReloader, inbox: Inbox) -> None:
    try:
        reloader.run(threading.main_thread())
    except SystemExit:
        # Django's way to say that no receiver of file_changed, such as that for templates, could
        # deal with the change in place.
        inbox.tell(Notice.CODE_CHANGED)
