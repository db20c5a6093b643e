"""The parent of worker processes: the delay before it replaces a dead process."""

from __future__ import annotations

import pytest

from django_dbos.executor.cli import supervisor
from django_dbos.executor.cli.supervisor import Child


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def count_starts(script: str, clock: Clock, seconds: float) -> int:
    """Return the number of processes that were started in a time on the clock."""
    started: list[int] = []
    child = Child(["sh", "-c", script], on_start=started.append)
    while clock.now < seconds:
        child.ensure_running()
        if child.process is not None:
            child.process.wait()
        clock.now += 0.1
    return len(started)


@pytest.mark.rule(44)
@pytest.mark.parametrize(("script", "least", "most"), [("exit 1", 3, 8), ("kill -9 $$", 20, 40)])
def test_the_pause_before_a_restart_grows_unless_a_signal_ended_the_process(
    monkeypatch: pytest.MonkeyPatch, script: str, least: int, most: int
) -> None:
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", clock)

    assert least <= count_starts(script, clock, seconds=30) <= most
