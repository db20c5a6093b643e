"""The walk of a claim through the partition keys of a queue on SQLite, in its transaction.

PostgreSQL does the same in one statement: see `choose_in_turn.sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from django_dbos.core import queues
from django_dbos.core.frozen import dataclass
from django_dbos.core.queues import Limits, Part, Usage
from django_dbos.store.managed_claims import MAX_VISITS
from django_dbos.store.sessions import Params, Row, Session


class Choice(NamedTuple):
    """A workflow to claim."""

    workflow_id: str
    partition_key: str
    is_start: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A partition key of which something may be claimed."""

    partition_key: str
    places: int | None
    """The number of further workflows that may hold places; None: any number."""
    starts: int | None
    """The number of further workflows that may start now; None: any number."""


class QueueWalk:
    """One claim's walk.

    Args:
        session: The session, in a transaction.
        params: The parameters that all statements have: the queue's name and the known functions'.
        limits: The queue's limits; None if it isn't managed.
        usage: What counts against the limits of the whole queue.
        read_usage: Returns what counts against the limits of a partition.
    """

    def __init__(
        self,
        session: Session,
        params: Params,
        limits: Limits | None,
        usage: Usage,
        read_usage: Callable[[str], Usage],
    ) -> None:
        self._session = session
        self._params = params
        self._is_managed = limits is not None
        self._limits = limits or Limits()
        self._usage = usage
        self._read_usage = read_usage
        self._visits = 0
        self._next_start: float | None = None

    def choose(self, after: str | None, limit: int) -> tuple[list[Choice], Part]:
        """Return the workflows to claim, and what the walk has seen."""
        if self._limits.is_paused:
            return [], Part(after=after, is_full=True)
        own = queues.room(self._limits.worker_concurrency, self._usage.own_places)
        places = queues.room(self._limits.concurrency, self._usage.places)
        kept = self._run("choose_kept", limit=queues.least(limit, own))
        left = None if own is None else own - len(kept)
        room = queues.least(limit - len(kept), left, places) or 0
        chosen, part = self._walk(after, room)
        is_full = queues.is_reached(places, len(chosen)) or queues.is_reached(left, len(chosen))
        return kept + chosen, Part(
            after=part.after,
            is_cut=part.is_cut or len(kept) >= limit,
            is_full=is_full and len(kept) < limit,
            is_managed=self._is_managed,
            is_open=part.is_open,
            next_start=part.next_start,
        )

    def _walk(self, after: str | None, room: int) -> tuple[list[Choice], Part]:
        if not room:
            return [], Part(after=after)
        starts = self._usage.starts_left
        stops, key = self._find_stops(after, room, starts)
        share = queues.share(room, len(stops))
        taken = [self._take(stop, share, starts) for stop in stops]
        chosen = self._within(room, starts, taken)
        is_cut = (
            len(chosen) < sum(map(len, taken))
            or any(map(self._is_cut, stops, taken, [share] * len(stops)))
            or bool(starts and sum(one.is_start for one in chosen) >= starts)
        )
        return chosen, Part(
            after=key, is_cut=is_cut, is_open=bool(stops), next_start=self._next_start
        )

    def _find_stops(
        self, after: str | None, room: int, starts: int | None
    ) -> tuple[list[Stop], str | None]:
        """Return keys with something to claim, and the last one visited; None at the end."""
        if starts == 0:
            self._note_start(self._usage.next_start)
        stops: list[Stop] = []
        for key in self._keys(after, "next_key_again" if starts == 0 else "next_key"):
            self._visits += 1
            stop = self._visit(key, may_start=starts != 0)
            if stop is not None:
                stops.append(stop)
            if len(stops) >= room or self._visits >= MAX_VISITS:
                has_more = self._session.run("next_key", self._params | {"after": key})
                return stops, key if has_more else None
        return stops, None

    def _keys(self, after: str | None, name: str) -> Iterator[str]:
        if after is None:
            if self._is_managed and self._session.run("find_keyless", self._params):
                yield ""
            after = ""
        while found := self._session.run(name, self._params | {"after": after}):
            ((after,),) = found
            yield after

    def _visit(self, key: str, *, may_start: bool) -> Stop | None:
        """Return what may be claimed of a key; None if that is nothing."""
        limits = self._limits.for_partition(key)
        usage = self._read_usage(key)
        stop = Stop(
            partition_key=key,
            places=queues.room(limits.partition_concurrency, usage.partition_places),
            starts=usage.partition_starts_left,
        )
        self._note_start(usage.partition_next_start)
        if stop.places == 0:
            return None
        is_open = (may_start and stop.starts != 0) or bool(self._take(stop, 1, 0))
        return stop if is_open else None

    def _take(self, stop: Stop, share: int, starts: int | None) -> list[Choice]:
        """Return the next workflows of a key, up to a share."""
        limit = queues.least(share, stop.places)
        return self._run(
            "choose_of_key",
            partition_key=stop.partition_key,
            limit=limit,
            new_limit=queues.least(limit, starts, stop.starts),
        )

    def _within(self, room: int, starts: int | None, taken: list[list[Choice]]) -> list[Choice]:
        """Return the first of each key, then the second of each, up to the limits of the queue."""
        chosen: list[Choice] = []
        left = starts
        for one in queues.in_turn(taken):
            if len(chosen) == room:
                break
            if one.is_start and left is not None:
                if not left:
                    continue
                left -= 1
            chosen.append(one)
        return chosen

    def _is_cut(self, stop: Stop, taken: list[Choice], share: int) -> bool:
        """Return whether a key may have more than its share."""
        is_share = len(taken) >= share and (stop.places is None or stop.places > share)
        return is_share or bool(stop.starts and len(taken) >= stop.starts)

    def _note_start(self, seconds: float | None) -> None:
        starts = [one for one in (self._next_start, seconds) if one is not None]
        self._next_start = min(starts, default=None)

    def _run(self, name: str, **params: object) -> list[Choice]:
        found: list[Row] = self._session.run(name, self._params | params)
        return [Choice(row[0], row[1], bool(row[2])) for row in found]
