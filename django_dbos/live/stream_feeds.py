"""StreamFeed: the entries of one stream, for all of its readers on one event loop."""

from __future__ import annotations

import asyncio
from uuid import UUID

from django_dbos.core.records import Wake
from django_dbos.live.feed import Feed, Host
from django_dbos.live.frames import Frame, StreamPage
from django_dbos.live.looks import MAX_ENTRIES, Answer, Entries
from django_dbos.store.records import PageWanted

# The size in characters of the latest frames that are kept for readers that are a little behind. A
# whole page is kept in any case.
KEPT = 250_000


class StreamFeed(Feed):
    """The latest entries of a stream, and looks for the others.

    The latest frames, from `_start` up to `_stop`, have no gaps. A reader at or after `_stop` looks
    for all readers; one that is before `_start`, since it is slow or new, looks for itself.
    """

    __slots__ = ("_frames", "_is_known", "_is_last", "_size", "_start", "_stop")

    _key: str

    def __init__(self, host: Host, workflow_id: str, token: UUID | None, key: str) -> None:
        super().__init__(host, workflow_id, token, key)
        self._frames: list[Frame] = []
        self._start = self._stop = 0
        self._size = 0
        self._is_known = False
        self._is_last = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the stream and of the workflow's end."""
        return (
            Wake.of_stream(self._workflow_id, self._key).key,
            Wake.of_result(self._workflow_id).key,
        )

    async def page(self, offset: int) -> StreamPage:
        """Return what follows an offset, which may be nothing; look if that isn't at hand."""
        page = self._at_hand(offset)
        if page is not None:
            return page
        answer = await asyncio.shield(self._look(offset))
        assert isinstance(answer, Entries)
        return self._at_hand(offset, has_looked=True) or StreamPage(
            frames=answer.frames,
            next_offset=answer.next_offset,
            is_up_to_date=answer.is_last,
            end=answer.end,
        )

    def rest(self) -> None:
        """Forget the frames."""
        self._forget(len(self._frames))

    def _at_hand(self, offset: int, *, has_looked: bool = False) -> StreamPage | None:
        if not self._is_known or offset < self._start:
            return None
        is_up_to_date = self._is_last and not self._is_stale
        if offset >= self._stop and not (is_up_to_date or has_looked):
            return None
        frames = self._frames[offset - self._start :]
        if self.readers == 1:
            self.rest()
        return StreamPage(
            frames=frames,
            next_offset=max(offset, self._stop),
            is_up_to_date=is_up_to_date,
            end=self._end if is_up_to_date else None,
        )

    def _look_for_news(self) -> None:
        self._look(self._stop)

    def _look(self, offset: int) -> asyncio.Future[Answer]:
        if (offset >= self._stop or not self._is_known) and offset not in self._looks:
            self._is_stale = False
        look = PageWanted(self._workflow_id, self._key, offset, MAX_ENTRIES, self._token)
        return self._ask(offset, look, lambda answer: self._merge(offset, answer))

    def _merge(self, offset: int, answer: Entries) -> None:
        """Take what was found; wake the waiting readers if it is new."""
        # The answer's own, except beyond the end, where it is that of the next one to come.
        stop = answer.next_offset
        if self._is_known and answer.frames and stop < self._stop:
            return
        is_new = not self._is_known or stop != self._stop or answer.end != self._end
        if not self._is_known or offset > self._stop or stop < self._stop:
            self._seat(stop - len(answer.frames), answer.frames)
        elif stop > self._stop:
            self._append(answer.frames[self._stop - offset :])
        self._is_known = True
        self._is_last, self._end = answer.is_last, answer.end
        if is_new:
            self._wake()

    def _seat(self, start: int, frames: list[Frame]) -> None:
        self._frames, self._start, self._stop = [], start, start
        self._size = 0
        self._append(frames)

    def _append(self, frames: list[Frame]) -> None:
        self._frames += frames
        self._stop += len(frames)
        self._size += sum(len(frame.json_text) for frame in frames)
        surplus, count = self._size - KEPT, 0
        while surplus > 0 and count < len(self._frames) - len(frames):
            surplus -= len(self._frames[count].json_text)
            count += 1
        self._forget(count)

    def _forget(self, count: int) -> None:
        self._size -= sum(len(frame.json_text) for frame in self._frames[:count])
        del self._frames[:count]
        self._start += count
