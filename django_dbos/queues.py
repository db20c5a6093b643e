"""The queues: `import django_dbos as dbos`, then `dbos.queues.pause("mail", by="ada")`.

Workers follow a change at once: it is made in the caller's transaction, whose commit notifies them.
Until then claims from the queue wait, so keep such a transaction short. Each function has an async
twin. In workflow code a call is recorded, and a replay returns the same answer.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, Unpack

from django_dbos.core import names
from django_dbos.core.queue_options import PlainOptions, QueueOptions, check_options
from django_dbos.operations import queues
from django_dbos.operations.entry import aperform, perform
from django_dbos.operations.queues import QueueDepth, QueueDescription
from django_dbos.store import get_store

__all__ = [
    "QueueDepth",
    "QueueDescription",
    "QueueOptions",
    "adepth",
    "aget",
    "alist",
    "apause",
    "areset",
    "aresume",
    "aset",
    "depth",
    "get",
    "list",
    "pause",
    "reset",
    "resume",
    "set",
]


def list() -> builtins.list[QueueDescription]:  # noqa: A001
    """Return all known queues, by name.

    Known are the queues of DBOS["QUEUES"], those that workflow functions and workers name, the
    default queue, and those that were set at run time.
    """
    return perform("queues.list", lambda: queues.list_all(get_store()))


async def alist() -> builtins.list[QueueDescription]:
    """See list()."""
    return await aperform("queues.list", lambda: queues.list_all(get_store()))


def get(name: str) -> QueueDescription:
    """Return a queue: its options in force, those declared and those edited, its pause.

    Raises:
        QueueDoesNotExist: Nothing names the queue, and it has no active workflow.
    """
    names.check_queue_name(name)
    return perform("queues.get", lambda: queues.find(get_store(), name))


async def aget(name: str) -> QueueDescription:
    """See get()."""
    names.check_queue_name(name)
    return await aperform("queues.get", lambda: queues.find(get_store(), name))


def set(name: str, **options: Unpack[QueueOptions]) -> QueueDescription:  # noqa: A001
    """Change options of a queue, which needn't be declared. They win until `reset()`.

    A lower limit stops no workflow that runs: the next ones wait until fewer are running.

    Args:
        name: The queue.
        options: See QueueOptions. None removes a limit; options that aren't given stay.

    Raises:
        TypeError: There is no such option, its value has another type, or none is given.
        ValueError: A value is out of range, or contradicts another option in force.

    Example:
        dbos.queues.set("mail", concurrency=5, rate_limit="100/m")
    """
    names.check_queue_name(name)
    plain = _check_changes(options)
    return perform("queues.set", lambda: queues.edit(get_store(), name, plain))


async def aset(name: str, **options: Unpack[QueueOptions]) -> QueueDescription:
    """See set()."""
    names.check_queue_name(name)
    plain = _check_changes(options)
    return await aperform("queues.set", lambda: queues.edit(get_store(), name, plain))


def reset(name: str) -> QueueDescription:
    """Drop the options that were set at run time: those of DBOS["QUEUES"] are in force again.

    A pause stays.

    Raises:
        QueueDoesNotExist: Nothing names the queue, and it has no active workflow.
    """
    names.check_queue_name(name)
    return perform("queues.reset", lambda: queues.reset(get_store(), name))


async def areset(name: str) -> QueueDescription:
    """See reset()."""
    names.check_queue_name(name)
    return await aperform("queues.reset", lambda: queues.reset(get_store(), name))


def pause(name: str, by: str | None = None) -> QueueDescription:
    """Pause a queue: none of its workflows begins or goes on, until `resume()`.

    Workflows that run go on until they end or wait. A pause of a paused queue changes nothing.

    Args:
        name: The queue.
        by: Who pauses it, at most 255 characters, for the admin.

    Raises:
        QueueDoesNotExist: Nothing names the queue, and it has no active workflow.
    """
    names.check_queue_name(name)
    _check_by(by)
    return perform("queues.pause", lambda: queues.pause(get_store(), name, by))


async def apause(name: str, by: str | None = None) -> QueueDescription:
    """See pause()."""
    names.check_queue_name(name)
    _check_by(by)
    return await aperform("queues.pause", lambda: queues.pause(get_store(), name, by))


def resume(name: str) -> QueueDescription:
    """Let a paused queue go on.

    Raises:
        QueueDoesNotExist: Nothing names the queue, and it has no active workflow.
    """
    names.check_queue_name(name)
    return perform("queues.resume", lambda: queues.resume(get_store(), name))


async def aresume(name: str) -> QueueDescription:
    """See resume()."""
    names.check_queue_name(name)
    return await aperform("queues.resume", lambda: queues.resume(get_store(), name))


def depth(name: str) -> QueueDepth:
    """Count the workflows of a queue. A queue that nothing names has none."""
    names.check_queue_name(name)
    return perform("queues.depth", lambda: queues.measure(get_store(), name))


async def adepth(name: str) -> QueueDepth:
    """See depth()."""
    names.check_queue_name(name)
    return await aperform("queues.depth", lambda: queues.measure(get_store(), name))


def _check_changes(options: Mapping[str, Any]) -> PlainOptions:
    if not options:
        raise TypeError("queues.set() needs an option, such as concurrency=5.")
    return check_options(options)


def _check_by(by: str | None) -> None:
    if by is not None:
        names.check_text(by, label="by")
