"""What a worker's processes cost: CPU, memory, threads."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Self

import psutil

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Cost:
    """Of a process and its children: seconds of CPU so far, and what they hold now."""

    cpu_seconds: float
    rss: float
    threads: int

    @classmethod
    def of(cls, pid: int) -> Self:
        process = psutil.Process(pid)
        cpu, rss, threads = 0.0, 0, 0
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess), one.oneshot():
                times = one.cpu_times()
                cpu += times.user + times.system
                rss += one.memory_info().rss
                threads += one.num_threads()
        return cls(cpu, rss / MEGABYTE, threads)
