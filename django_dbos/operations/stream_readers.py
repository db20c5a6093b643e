"""Readers of streams, which take values from the table, from any offset.

In a workflow each iteration takes a position: the values never change, and a replay reads them
again; where the iteration ended, and how, is recorded, also when the loop is left early. While it
waits, the checkpoint at its position holds the awaited offset and the deadline, and the run may be
suspended (CORRECTNESS rule 53).

Beside other branches, each page takes a position, too: its checkpoint gives the page's values their
turn in the recorded order of the branches (CORRECTNESS rule 21).
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from asgiref.sync import sync_to_async

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core.records import Checkpoint, RecordStep, RecordWait, Verdict, Wake, run_key
from django_dbos.exceptions import WaitInTest, WaitTimeout
from django_dbos.interruptions import HistoryUnusable
from django_dbos.operations import places, reads
from django_dbos.operations.polling import auntil
from django_dbos.operations.run import Call, Run
from django_dbos.operations.storing import storing
from django_dbos.operations.timeouts import entry_label
from django_dbos.operations.waits import RunWait
from django_dbos.store.records import Page

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.pubsub import Watch

# Entries read at once.
PAGE_SIZE = 500


class BaseReader:
    """The state of a reader: its offset, its timeout, and its end."""

    _operation: ClassVar[str]

    def __init__(
        self,
        store: Store,
        workflow_id: str,
        key: str,
        *,
        offset: int,
        timeout: float | None,
        wait: bool,
        call: Call | None,
    ) -> None:
        self.closed = False
        """True once everything was read of a stream that gets no more: it was closed, or its
        workflow ended in SUCCESS or ERROR."""
        self._store = store
        self._workflow_id = workflow_id
        self._key = key
        self._offset = offset
        self._timeout = timeout
        self._waits = wait
        self._call = call
        self._has_begun = False
        self._recorded: Call | None = None
        self._end: dict[str, Any] | None = None

    def leave(self, call: Call | None) -> None:
        """Note that an iteration is over, perhaps before its end; finalizers call it too."""
        if call is not None and call.found is None and call is not self._recorded:
            call.run.note_left(call, self._end_text(has_left=True))

    def _begin(self) -> Call | None:
        """Return an iteration's call: the first has the reader's position, later ones the next."""
        call = self._call
        if call is None:
            return None
        if self._has_begun:
            call = self._call = call.run.begin(self._operation, call.step_name)
        self._has_begun = True
        found = None if call.found is None else call.found.output
        self._end = None if found is None else json.loads(serializers.opened(found))
        return call

    def _watch(self) -> Watch:
        result = Wake.of_result(self._workflow_id)
        keys = [Wake.of_stream(self._workflow_id, self._key).key, result.key]
        if self._call is not None:
            keys.append(run_key(self._call.run.workflow_id))
        return self._store.wakeups.watch(*keys)

    @property
    def _takes_turns(self) -> bool:
        """True if other branches of the run are alive, so that values come in a recorded order."""
        return self._call is not None and self._call.run.is_concurrent

    def _begin_turn(self) -> Call | None:
        """Return the call of the next page, which has a position only beside other branches."""
        if self._call is None or not self._takes_turns:
            return None
        return self._call.run.begin(self._operation, self._call.step_name)

    def _read(self, limit: int = PAGE_SIZE) -> Page:
        return self._store.reader.read_entries(self._workflow_id, self._key, self._offset, limit)

    def _is_past_end(self) -> bool:
        """Return whether the first run's reader ended here."""
        return self._end is not None and self._offset >= self._end["offset"]

    def _is_last(self, page: Page) -> bool:
        """Return whether a page is followed by no other, and isn't awaited."""
        if page.is_ended or (page.is_last and not self._waits):
            self.closed = page.is_closed
            return True
        return False

    def _replay_end(self) -> None:
        """End as the first run's reader did, unless that was by an error."""
        assert self._end is not None
        self.closed = self._end["closed"]
        if self._end["timed_out"]:
            raise self._timed_out()
        if self._end["has_left"] and self._call is not None:
            self._call.refuse_other(f"leaving it at offset {self._end['offset']}", "reading on")

    def _timed_out(self) -> WaitTimeout:
        return WaitTimeout(entry_label(self._workflow_id, self._key), self._timeout or 0.0)

    def _has_failed_here(self) -> bool:
        """Return whether the first run's reader ended here by an error."""
        found = None if self._call is None else self._call.found
        return found is not None and found.error is not None and self._is_past_end()

    def _end_values(self, *, timed_out: bool, error: str | None) -> dict[str, Any]:
        assert self._call is not None
        self._recorded = self._call
        end = self._end_text(timed_out=timed_out)
        return {"checkpoint": self._call.checkpoint(output=end, error=error)}

    def _end_text(self, *, timed_out: bool = False, has_left: bool = False) -> str:
        end = {"offset": self._offset, "closed": self.closed}
        return json.dumps({**end, "timed_out": timed_out, "has_left": has_left})


def _turn_text(page: Page | None) -> str | None:
    """Return the record of a turn: the extent of its page; None if the time was up."""
    if page is None:
        return None
    extent = {"count": len(page.entries), "last": page.is_last}
    return json.dumps({**extent, "closed": page.is_closed, "active": page.is_active})


class _AsyncEntries(AsyncIterator[Any]):
    """An iteration that notices at once when it is dropped."""

    def __init__(self, reader: AsyncStreamReader, call: Call | None, *, only_values: bool) -> None:
        self._reader = reader
        self._call = call
        self._entries: Any = reader._read_on()
        self._only_values = only_values

    async def __anext__(self) -> Any:
        entry = await anext(self._entries)
        return entry[1] if self._only_values else entry

    async def aclose(self) -> None:
        """Stop reading."""
        await self._entries.aclose()
        self._reader.leave(self._call)

    def __del__(self) -> None:
        self._reader.leave(self._call)


class AsyncStreamReader(BaseReader):
    """An iterator over the values of a stream, in order, as they arrive.

    `closed` is True once everything was read of a stream that gets no more.
    """

    _operation = "aread_stream"

    def __aiter__(self) -> AsyncIterator[Any]:
        return _AsyncEntries(self, self._begin(), only_values=True)

    def entries(self) -> AsyncIterator[tuple[int, Any]]:
        """Return an iterator of (offset, value): to resume, begin at the last offset + 1."""
        return _AsyncEntries(self, self._begin(), only_values=False)

    async def _read_on(self) -> AsyncIterator[tuple[int, Any]]:
        run = self._call.run if self._call else None
        has_read_all = False
        with self._watch() as watch:
            while not self._is_past_end() or self._takes_turns:
                takes_turns = self._takes_turns
                try:
                    page = await self._next_page(watch, has_read_all=has_read_all)
                except Exception as error:
                    await self._fail(error)
                is_dropped = False
                for offset, text in page.entries if page else ():
                    # Where another branch begins, the rest is read again, in turn.
                    is_dropped = self._takes_turns and not takes_turns
                    if is_dropped or self._is_past_end():
                        break
                    self._offset = offset + 1
                    yield offset, await aload(run, text)
                if page is None or (not is_dropped and self._is_last(page)):
                    await self._finish(timed_out=page is None)
                    return
                has_read_all = page.is_last and not is_dropped
        await self._end_again()

    async def _next_page(self, watch: Watch, *, has_read_all: bool) -> Page | None:
        """Return the next page; None once the time for it is up."""
        turn = self._begin_turn()
        if turn is not None and turn.found is not None:
            # Its turn must not pass while it is read.
            return await self._page_in_turn(turn.run, turn.found)
        wait = self._wait(turn)
        try:
            # A value that has come since the last read wins over a time that is up.
            found = await auntil(watch, wait, has_polled=has_read_all and not wait.is_over)
        except Exception as error:
            if turn is not None:
                await turn.run.afail(turn, error)
            raise
        page = None if found is None else found[0]
        if turn is None:
            if self._call is not None:
                await places.aregain(self._call.run)
            return page
        checkpoint = turn.checkpoint(output=_turn_text(page))
        answer = await turn.run.asubmit(RecordStep, turn, checkpoint=checkpoint)
        return page if answer.checkpoint is None else await self._page_of(answer.checkpoint)

    async def _page_in_turn(self, run: Run, checkpoint: Checkpoint) -> Page | None:
        if checkpoint.error is not None:
            await run.turn(checkpoint)
            return await self._page_of(checkpoint)
        # Its turn must not pass while it is read.
        with run.holding_turns():
            page = await self._page_of(checkpoint)
        await run.turn(checkpoint)
        return page

    async def _page_of(self, checkpoint: Checkpoint) -> Page | None:
        """Return the page that an earlier run got in this turn, or raise its error."""
        if checkpoint.error is not None:
            assert self._call is not None
            raise await self._call.run.aload_error(checkpoint.error)
        recorded = json.loads(serializers.opened(checkpoint.output or "null"))
        if recorded is None:
            return None
        entries: list[tuple[int, str]] = []
        if recorded["count"]:
            assert self._call is not None
            read = partial(self._read, recorded["count"])
            entries = (await reads.apatiently(self._call.run, read)).entries
        return Page(
            entries=entries,
            is_closed=recorded["closed"],
            is_active=recorded["active"],
            is_last=recorded["last"],
        )

    def _wait(self, turn: Call | None) -> _AsyncPageWait | _AsyncRunPageWait:
        call = turn or self._call
        return _AsyncPageWait(self) if call is None else _AsyncRunPageWait(self, call)

    async def _finish(self, *, timed_out: bool) -> None:
        """End the iteration after its last page, or by its timeout."""
        if self._end is not None:
            await self._end_again()
            return
        await self._record_end(timed_out=timed_out)
        if timed_out:
            raise self._timed_out()

    async def _fail(self, error: Exception) -> NoReturn:
        """Raise the error of a read, once it is recorded as the end of the iteration.

        It is that of a workflow that isn't there, above all, which may be there in a replay. If a
        replay can't read what the first run has read, it can't go on.
        """
        if self._call is not None and self._end is None:
            await self._record_end(timed_out=False, error=serializers.dump_error(error))
        elif self._call is not None and not self._has_failed_here():
            self._call.run.stop(HistoryUnusable(error))
        raise error

    async def _end_again(self) -> None:
        """End as the first run's reader did."""
        call = self._call
        if call is not None and call.found is not None and call.found.error is not None:
            raise await call.run.aload_error(call.found.error)
        self._replay_end()

    async def _record_end(self, *, timed_out: bool, error: str | None = None) -> None:
        if self._call is not None:
            values = self._end_values(timed_out=timed_out, error=error)
            await self._call.run.asubmit(RecordStep, self._call, **values)


class PageWait:
    """A wait for the next page of a stream. Both colours share this, in workflows and outside."""

    def __init__(self, reader: BaseReader) -> None:
        self._reader = reader
        timeout = reader._timeout
        self._until = None if timeout is None else time.monotonic() + timeout

    @property
    def _remaining(self) -> float | None:
        """The seconds that are left for the next value; None: there is no limit."""
        return None if self._until is None else self._until - time.monotonic()

    @property
    def is_over(self) -> bool:
        """True if no time is left for the next value."""
        return self._remaining is not None and self._remaining <= 0

    def _found(self, page: Page) -> tuple[Page] | None:
        """Return the page, unless the reader is to wait for more."""
        is_done = bool(page.entries) or not page.is_last or self._reader._is_last(page)
        return (page,) if is_done else None


class BaseClientPageWait(PageWait):
    """A client's wait, which blocks its thread."""

    def blocking(self) -> AbstractContextManager[None]:
        """Return a context without effect."""
        return nullcontext()

    def _next_pause(self) -> float | None:
        store = self._reader._store
        store.refuse_in_atomic("read_stream")
        if store.is_in_test_transaction():
            raise WaitInTest("read_stream()")
        remaining, interval = self._remaining, get_settings().poll_interval
        if remaining is None:
            return interval
        return min(interval, remaining) if remaining > 0 else None


class _AsyncPageWait(BaseClientPageWait):
    async def poll(self, is_expected: bool) -> tuple[Page] | None:
        return self._found(await sync_to_async(self._reader._read)())

    async def pause(self) -> float | None:
        return await sync_to_async(self._next_pause)()

    async def resume(self) -> None:
        return


class BaseRunPageWait(PageWait, RunWait):
    """A run's wait for an offset: the checkpoint at the reader's position has its deadline."""

    def __init__(self, reader: BaseReader, call: Call) -> None:
        PageWait.__init__(self, reader)
        wake = Wake.of_stream(reader._workflow_id, reader._key, reader._offset)
        RunWait.__init__(self, call, wake)
        self._position = json.dumps({"offset": reader._offset})
        recorded = call.wait
        self._is_recorded = recorded is not None and recorded.output == self._position
        if self._is_recorded and self._until is not None:
            self._until = call.run.waits_until.get(call.step_number, self._until)

    def _must_record(self, seconds: float | None) -> bool:
        """Return whether to record the deadline: before a suspension, or after the hold time."""
        is_due = seconds is None or (self._until is not None and self._policy.is_over)
        return is_due and not self._is_recorded

    def _values(self) -> dict[str, object]:
        checkpoint = self._call.checkpoint(
            output=self._position, related_workflow_id=self._wake.workflow_id
        )
        return {"checkpoint": checkpoint, "wake": self._wake, "timeout": self._remaining}


class _AsyncRunPageWait(BaseRunPageWait):
    async def poll(self, is_expected: bool) -> tuple[Page] | None:
        # The stream may be the workflow's own.
        await self._run.aflush()
        return self._found(await reads.apatiently(self._run, self._reader._read))

    async def pause(self) -> float | None:
        remaining = self._remaining
        if remaining is not None and remaining <= 0:
            return None
        if self._policy.must_lend and await places.alend(self._run):
            return 0.0
        seconds = self._policy.next_pause(remaining)
        if self._must_record(seconds):
            answer = await self._run.asubmit(RecordWait, self._call, **self._values())
            if answer.verdict is not Verdict.WAITING:
                # The entry has just come.
                return 0.0
            self._is_recorded = True
        if seconds is None:
            self._run.suspend(self._wake, self._call.step_number, remaining)
        return seconds

    async def resume(self) -> None:
        self._run.check_in_wait()


async def aload(run: Run | None, text: str) -> Any:
    """Return a stored value; a run's reader waits out a database that is away."""
    text = serializers.opened(text) if run is None else run.read_here(serializers.opened, text)
    if not serializers.needs_thread(text):
        return serializers.loads(text)
    if run is None:
        return await sync_to_async(serializers.loads)(text)
    with run.holding_turns():
        return await reads.apatiently(run, storing(serializers.loads, text))
