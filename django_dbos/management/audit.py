"""Audit: a record in the log for each change that a command has made, with who made it.

The admin writes Django's LogEntry, which needs a user of the project. A command has none: it is run
by a user of the system, on a host, and anybody may be that. So its records go to the log, by the
logger `django_dbos.audit`, without values: ids and names, never arguments or messages.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import socket
from collections.abc import Iterable

logger = logging.getLogger("django_dbos.audit")


def system_user() -> str:
    """Return the name of the system's user; "manage.py" where there is none."""
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "manage.py"


def who() -> str:
    """Return the system's user; of a command under sudo, also who called sudo."""
    user, caller = system_user(), os.environ.get("SUDO_USER", "")
    return f"{caller} as {user}" if caller and caller != user else user


def note(command: str, change: str, subjects: Iterable[str] | None = None) -> None:
    """Log a change that is done, one record for each of its subjects.

    Args:
        command: The command's name.
        change: The change, such as "cancelled workflow".
        subjects: The ids or names of what was changed; None for a change without such.
    """
    user, host = who(), socket.gethostname()
    extra = {"command": command, "change": change, "user": user, "hostname": host}
    for subject in [None] if subjects is None else subjects:
        logger.info(
            "%s by %r on %r: %s%s",
            command,
            user,
            host,
            change,
            "" if subject is None else f" {subject!r}",
            extra={**extra, "subject": subject},
        )
