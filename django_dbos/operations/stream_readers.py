"""Readers of streams, which take values from the table, from any offset.

In a workflow each iteration over one takes a position: the values never change and are read again
by a replay; where it ended, and how, is recorded, also when the loop is left early.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import sync_to_async

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core.records import RecordStep, Wake, run_key
from django_dbos.exceptions import WaitInTest, WaitTimeout
from django_dbos.operations import reads
from django_dbos.operations.run import Call, Run

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.records import Page

# Entries read at once.
PAGE_SIZE = 500


class _Reader:
    """What both readers share: where they are, how long they wait, and how they ended."""

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
        """True once all was read of a stream that gets no more: it was closed, or its workflow
        ended in SUCCESS or ERROR."""
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
        self._restart_clock()

    def _begin(self) -> Call | None:
        """The call of an iteration: the first has the reader's own position, others the next."""
        call = self._call
        if call is None:
            return None
        if self._has_begun:
            call = self._call = call.run.begin(self._operation, call.step_name)
        self._has_begun = True
        found = None if call.found is None else call.found.output
        self._end = None if found is None else json.loads(found)
        return call

    def leave(self, call: Call | None) -> None:
        """Note that an iteration is over, maybe before its end: from a finalizer, on any thread."""
        if call is not None and call.found is None and call is not self._recorded:
            call.run.note_left(call, self._end_text(has_left=True))

    def _restart_clock(self) -> None:
        self._waiting_since = time.monotonic()

    def _keys(self) -> tuple[str, ...]:
        stream = Wake.of_stream(self._workflow_id, self._key)
        keys = (stream.key, Wake.of_result(self._workflow_id).key)
        if self._call is None:
            return keys
        return (*keys, run_key(self._call.run.workflow_id))

    def _read(self) -> Page:
        return self._store.reader.read_entries(
            self._workflow_id, self._key, self._offset, PAGE_SIZE
        )

    def _is_past_end(self) -> bool:
        """Whether the first run's reader ended here."""
        return self._end is not None and self._offset >= self._end["offset"]

    def _finished(self, page: Page) -> bool:
        """Whether nothing is to be waited for after this page."""
        if not page.is_last:
            return False
        if page.is_ended or not self._waits:
            self.closed = page.is_closed
            return True
        return False

    def _pause(self) -> float:
        """Seconds to wait for more, at most; raises once the time is up."""
        waited = time.monotonic() - self._waiting_since
        if self._timeout is not None and waited >= self._timeout:
            raise WaitTimeout(self._what, self._timeout)
        left = float("inf") if self._timeout is None else self._timeout - waited
        return min(get_settings().poll_interval, left)

    @property
    def _what(self) -> str:
        return f"the next value of stream {self._key!r} of workflow {self._workflow_id!r}"

    def _refuse_wait(self) -> None:
        if self._call is None:
            self._store.refuse_in_atomic("read_stream")
        if self._store.is_in_test_transaction():
            raise WaitInTest("read_stream()")

    def _replayed_end(self) -> None:
        """End as the first run's reader did."""
        assert self._end is not None
        self.closed = self._end["closed"]
        if self._end["timed_out"]:
            raise WaitTimeout(self._what, self._timeout or 0.0)
        if self._end["has_left"] and self._call is not None:
            self._call.refuse_other(f"leaving it at offset {self._end['offset']}", "reading on")

    def _ending(self, *, timed_out: bool = False) -> dict[str, Any]:
        assert self._call is not None
        self._recorded = self._call
        return {"checkpoint": self._call.checkpoint(output=self._end_text(timed_out=timed_out))}

    def _end_text(self, *, timed_out: bool = False, has_left: bool = False) -> str:
        end = {"offset": self._offset, "closed": self.closed}
        return json.dumps({**end, "timed_out": timed_out, "has_left": has_left})


class _Entries(Iterator[tuple[int, Any]]):
    """An iteration that notices when it is dropped."""

    def __init__(self, reader: StreamReader, call: Call | None) -> None:
        self._reader = reader
        self._call = call
        self._entries = reader._read_on()

    def __next__(self) -> tuple[int, Any]:
        return next(self._entries)

    def close(self) -> None:
        """Read no more."""
        self._entries.close()
        self._reader.leave(self._call)

    def __del__(self) -> None:
        self._reader.leave(self._call)


class StreamReader(_Reader):
    """The values of a stream, in order, as they come: `for value in reader`."""

    _operation = "read_stream"

    def __iter__(self) -> Iterator[Any]:
        return map(itemgetter(1), self.entries())

    def entries(self) -> Iterator[tuple[int, Any]]:
        """(offset, value) of each: to resume, begin at the last offset + 1."""
        return _Entries(self, self._begin())

    def _read_on(self) -> Generator[tuple[int, Any], None, None]:
        run = self._call.run if self._call else None
        with self._store.wakeups.watch(*self._keys()) as watch:
            while True:
                page = self._read() if run is None else reads.patiently(run, self._read)
                for offset, text in page.entries:
                    if self._is_past_end():
                        break
                    self._offset = offset + 1
                    yield offset, load(run, text)
                    self._restart_clock()
                if self._is_past_end():
                    return self._replayed_end()
                if self._finished(page):
                    return self._record_end()
                if not page.is_last:
                    continue
                self._refuse_wait()
                try:
                    pause = self._pause()
                except WaitTimeout:
                    self._record_end(timed_out=True)
                    raise
                if run is None:
                    watch.wait(pause)
                else:
                    with run.host.without_slot(run):
                        watch.wait(pause)
                    run.check()

    def _record_end(self, *, timed_out: bool = False) -> None:
        if self._call is not None:
            end = self._ending(timed_out=timed_out)
            self._call.run.submit(RecordStep, self._call, **end)


class _AsyncEntries(AsyncIterator[Any]):
    """See _Entries. An async generator is closed some time later, this is noticed at once."""

    def __init__(self, reader: AsyncStreamReader, call: Call | None, *, only_values: bool) -> None:
        self._reader = reader
        self._call = call
        self._entries = reader._read_on()
        self._only_values = only_values

    async def __anext__(self) -> Any:
        entry = await anext(self._entries)
        return entry[1] if self._only_values else entry

    async def aclose(self) -> None:
        """Read no more."""
        await self._entries.aclose()
        self._reader.leave(self._call)

    def __del__(self) -> None:
        self._reader.leave(self._call)


class AsyncStreamReader(_Reader):
    """See StreamReader: `async for value in reader`."""

    _operation = "aread_stream"

    def __aiter__(self) -> AsyncIterator[Any]:
        return _AsyncEntries(self, self._begin(), only_values=True)

    def entries(self) -> AsyncIterator[tuple[int, Any]]:
        """See StreamReader.entries()."""
        return _AsyncEntries(self, self._begin(), only_values=False)

    async def _read_on(self) -> AsyncGenerator[tuple[int, Any], None]:
        run = self._call.run if self._call else None
        with self._store.wakeups.watch(*self._keys()) as watch:
            while True:
                page = await self._aread(run)
                for offset, text in page.entries:
                    if self._is_past_end():
                        break
                    self._offset = offset + 1
                    yield offset, await aload(run, text)
                    self._restart_clock()
                if self._is_past_end():
                    self._replayed_end()
                    return
                if self._finished(page):
                    await self._record_end()
                    return
                if not page.is_last:
                    continue
                await sync_to_async(self._refuse_wait)()
                try:
                    pause = self._pause()
                except WaitTimeout:
                    await self._record_end(timed_out=True)
                    raise
                if run is None:
                    await watch.await_(pause)
                else:
                    with run.host.without_slot(run):
                        await watch.await_(pause)
                    run.check()

    async def _aread(self, run: Run | None) -> Page:
        if run is None:
            return await sync_to_async(self._read)()
        return await reads.apatiently(run, self._read)

    async def _record_end(self, *, timed_out: bool = False) -> None:
        if self._call is not None:
            end = self._ending(timed_out=timed_out)
            await self._call.run.asubmit(RecordStep, self._call, **end)


def load(run: Run | None, text: str) -> Any:
    """Load a value: a run's reader waits out a database that is away."""
    if run is None or not serializers.needs_thread(text):
        return serializers.loads(text)
    return reads.patiently(run, lambda: serializers.loads(text))


async def aload(run: Run | None, text: str) -> Any:
    """See load(). On a loop."""
    if not serializers.needs_thread(text):
        return serializers.loads(text)
    if run is None:
        return await sync_to_async(serializers.loads)(text)
    return await reads.apatiently(run, lambda: serializers.loads(text))
