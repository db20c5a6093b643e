from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.idling import logged_statements
from benchmarks.processes import Cost
from benchmarks.sockets import Sockets, allow_files, server
from benchmarks.workloads.workload import Values, percentiles, workload

SECONDS, QUICK_SECONDS = 20, 5
# Of each second, in which every stream gets a value.
PARTS = 20


@workload(
    "idle sockets",
    units={"CPU": "% of a core", "statements": "statements/s", "memory": "kB/socket"},
    needs="start_followed",
    size=2_000,
    quick_size=50,
    limit=300,
)
def idle_sockets(system: Any, count: int) -> Values:
    """Sockets on as many streams, in one process, to which nobody writes, for 20 seconds."""
    with logged_statements(system) as log, served(system, count, streams=count) as live:
        time.sleep(3)
        start, before = log.size(), live.cost()
        seconds = live.rest()
        return {
            "CPU": (live.cost().cpu_seconds - before.cpu_seconds) / seconds * 100,
            "statements": (log.count(start) or 0) / seconds,
            "memory": live.memory,
        }


@workload(
    "sockets on streams of their own",
    units={"p50": "ms", "p99": "ms", "CPU": "ms/1,000 frames", "memory": "kB/socket"},
    needs="start_followed",
    size=2_000,
    quick_size=50,
    limit=300,
)
def own_streams(system: Any, count: int) -> Values:
    """As many streams as sockets, a value a second each, for 20 s: from before the write on."""
    with served(system, count, streams=count) as live:
        before = live.cost()
        write(system, live.ids, live.seconds)
        live.wait(count * live.seconds)
        cpu = live.cost().cpu_seconds - before.cpu_seconds
        return {
            **percentiles(live.sockets.delays),
            "CPU": cpu * 1_000 / (count * live.seconds / 1_000),
            "memory": live.memory,
        }


@workload(
    "readers of one stream",
    units={"frames": "frames/s", "CPU": "ms/1,000 frames"},
    needs="start_followed",
    size=1_000,
    quick_size=20,
    limit=300,
)
def one_stream(system: Any, count: int) -> Values:
    """1,000 sockets on one stream, to which 10 values are written; until all have arrived."""
    with served(system, count, streams=1) as live:
        before, began = live.cost(), time.perf_counter()
        for _ in range(10):
            system.write_values(live.ids, time.time())
            time.sleep(0.01)
        live.wait(count * 10)
        passed = time.perf_counter() - began
        cpu = live.cost().cpu_seconds - before.cpu_seconds
        return {"frames": count * 10 / passed, "CPU": cpu * 1_000 / (count * 10 / 1_000)}


class Live:
    """A server, the sockets on it, and the workflows that they follow."""

    def __init__(self, pid: int, sockets: Sockets, ids: list[str], seconds: int) -> None:
        self.pid, self.sockets, self.ids, self.seconds = pid, sockets, ids, seconds
        self.memory = 0.0

    def cost(self) -> Cost:
        return Cost.of(self.pid)

    def rest(self) -> float:
        began = time.perf_counter()
        time.sleep(self.seconds)
        return time.perf_counter() - began

    def wait(self, frames: int) -> None:
        until = time.monotonic() + 120
        while self.sockets.frames < frames and time.monotonic() < until:
            time.sleep(0.02)
        assert self.sockets.frames == frames, f"{self.sockets.frames} of {frames} frames"


@contextmanager
def served(system: Any, count: int, *, streams: int) -> Iterator[Live]:
    """Open sockets on a server's streams; each has a user of its own, who started the workflow."""
    allow_files(count)
    ids, users = system.start_followed(streams, count)
    with server() as (worker, port):
        sockets = Sockets(port)
        seconds = QUICK_SECONDS if count <= 100 else SECONDS
        live = Live(worker.process.pid, sockets, ids, seconds)
        # What the first socket loads isn't counted.
        sockets.open(ids[:1], users[:1])
        time.sleep(1)
        before = live.cost()
        sockets.open((ids if streams > 1 else ids * count)[1:], users[1:])
        time.sleep(2)
        live.memory = (live.cost().rss - before.rss) * 1_000 / max(count - 1, 1)
        try:
            yield live
        finally:
            sockets.close()


def write(system: Any, ids: list[str], seconds: int) -> None:
    """Write a value a second to each stream, in parts of each second."""
    size = -(-len(ids) // PARTS)
    parts = [ids[first : first + size] for first in range(0, len(ids), size)]
    began = time.monotonic()
    for second in range(seconds):
        for number, part in enumerate(parts):
            time.sleep(max(0.0, began + second + number / len(parts) - time.monotonic()))
            system.write_values(part, time.time())
