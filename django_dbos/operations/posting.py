"""Writes that nothing waits for: `set_event`, `write_stream` and the like.

They have no pause, in a replay nor at first, or another branch would go on in one and not in the
other (CORRECTNESS rule 21). So an async run saves their large values beside its branches. Meanwhile
its other writes wait, since the writes of a workflow are committed in their order (rule 11).

The two colours differ here, so both are written by hand.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from django_dbos import offloading
from django_dbos.core.records import Write
from django_dbos.interruptions import HistoryUnusable, RunInterrupted
from django_dbos.operations import reads
from django_dbos.operations._sync import reads as sync_reads
from django_dbos.operations.run_base import BaseRun
from django_dbos.operations.storing import storing


def is_large(write: Write) -> bool:
    """Return whether a write has a value that has to be saved in the storage."""
    above = offloading.limit()
    return above is not None and offloading.has_large(write, above)


def until_posted(run: BaseRun) -> None:
    """Wait on a thread until the writer has all writes that the run has posted."""
    if run.saving is not None and not run.is_on_loop:
        run.saving.result()


async def auntil_posted(run: BaseRun) -> None:
    """See until_posted()."""
    while run.saving is not None:
        await asyncio.wait([asyncio.wrap_future(run.saving)])


def post(run: BaseRun, write: Write) -> None:
    """Pass a write to the writer, on a thread, once its large values are saved."""
    if is_large(write):
        write = sync_reads.patiently(run, storing(offloading.offloaded, write))
    until_posted(run)
    run.host.writer.post(write, run.note_post)


async def apost(run: BaseRun, write: Write) -> None:
    """Pass a write to the writer, or begin to save its large values."""
    if run.saving is None and not is_large(write):
        await run.host.writer.apost(write, run.note_post)
        return
    before, saving = run.saving, Future[None]()
    run.saving = saving
    # Not one of the run's tasks, which take turns.
    task = asyncio.get_running_loop().create_task(
        _save_and_post(run, write, before, saving), context=run.outside.copy()
    )
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


# Loops keep weak references to their tasks.
_tasks: set[asyncio.Task[None]] = set()


async def _save_and_post(
    run: BaseRun, write: Write, before: Future[None] | None, saving: Future[None]
) -> None:
    try:
        if before is not None:
            await asyncio.wait([asyncio.wrap_future(before)])
        if not run.has_lost_post:
            if is_large(write):
                save = storing(offloading.offloaded, write)
                # A sync step may wait for this on the run's thread.
                write = await reads.auntil_answered(run, reads.AsyncRead(run, save, is_apart=True))
            await run.host.writer.apost(write, run.note_post)
    except BaseException as error:
        # Nothing that came later is written.
        run.has_lost_post = True
        if isinstance(error, Exception):
            run.interrupt(HistoryUnusable(error))
        elif not isinstance(error, RunInterrupted):
            raise
    finally:
        if run.saving is saving:
            run.saving = None
        saving.set_result(None)
