"""EventFeed: the events of one workflow, or one of them, for all readers on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from django_dbos.core.records import Wake
from django_dbos.live.feed import Feed, Host
from django_dbos.live.frames import EventFrame
from django_dbos.live.looks import MAX_EVENTS, Answer, ValueLook, Versions
from django_dbos.store.records import VersionsWanted

# The size in characters of the values that are kept for readers that are a little behind.
KEPT = 250_000


class EventFeed(Feed):
    """The versions of events; the values are looked for when a reader lacks them."""

    __slots__ = ("_size", "_state", "_values")

    def __init__(self, host: Host, workflow_id: str, token: UUID | None, key: str | None) -> None:
        super().__init__(host, workflow_id, token, key)
        self._state: Versions | None = None
        self._values: dict[str, EventFrame] = {}
        self._size = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the event, or of any, and of the workflow's end."""
        return (
            Wake.of_event(self._workflow_id, self._key or "").key,
            Wake.of_result(self._workflow_id).key,
        )

    async def state(self) -> tuple[Versions, bool]:
        """Return the versions, and whether they are the current ones; look if they are stale."""
        if self._state is None or self._is_stale:
            await asyncio.shield(self._look())
        assert self._state is not None
        return self._state, not self._is_stale

    async def values(self, keys: Sequence[str]) -> list[EventFrame]:
        """Return some of these events: at least one, if there are any, and about a megabyte."""
        versions = self._state.versions if self._state is not None else {}
        found = [
            frame
            for key in keys[:MAX_EVENTS]
            if (frame := self._values.get(key)) and frame.version >= versions.get(key, 0)
        ]
        at_hand = {frame.key for frame in found}
        missing = tuple(key for key in keys[:MAX_EVENTS] if key not in at_hand)
        if missing:
            look = ValueLook(self._workflow_id, missing)
            answer = await asyncio.shield(self._ask(missing, look, self._keep))
            assert isinstance(answer, list)
            found += answer
            if not answer:
                # The events were deleted, or are another workflow's.
                self._is_stale = True
        return found

    def rest(self) -> None:
        """Forget the values."""
        self._values.clear()
        self._size = 0

    def _look_for_news(self) -> None:
        self._look()

    def _look(self) -> asyncio.Future[Answer]:
        if None not in self._looks:
            self._is_stale = False
        look = VersionsWanted(self._workflow_id, self._key, self._token)
        return self._ask(None, look, self._take_versions)

    def _take_versions(self, answer: Versions) -> None:
        is_new = answer != self._state
        self._state = answer
        if is_new:
            self._wake()

    def _keep(self, frames: list[EventFrame]) -> None:
        size = sum(len(frame.json_text) for frame in frames)
        if self.readers == 1 or size > KEPT:
            return
        if self._size + size > KEPT:
            self.rest()
        self._values |= {frame.key: frame for frame in frames}
        self._size += size
