"""The costs of a worker's processes: CPU, memory, threads."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Self

import psutil

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Cost:
    """The CPU seconds so far, and the present memory and threads, of a process and its children."""

    cpu_seconds: float
    rss: float
    threads: int

    @classmethod
    def of(cls, pid: int) -> Self:
        process = psutil.Process(pid)
        cpu, rss, threads = 0.0, 0, 0
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess), member.oneshot():
                times = member.cpu_times()
                cpu += times.user + times.system
                rss += member.memory_info().rss
                threads += member.num_threads()
        return cls(cpu, rss / MEGABYTE, threads)
