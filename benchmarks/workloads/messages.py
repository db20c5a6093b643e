from __future__ import annotations

import time
from typing import Any

from benchmarks.timestamps import TimestampReceiver
from benchmarks.workloads.workload import Values, percentiles, workload

# Long enough that every system has its workflow in recv; for django_dbos: and suspended.
SHORT, LONG = 0.1, 2.0


@workload(
    "message round trip",
    units={"p50": "ms", "p99": "ms"},
    needs="start_echo send get_event",
    size=100,
    quick_size=5,
    sizes={"dbos": 20},
)
def message_round_trip(system: Any, count: int) -> Values:
    """A message is sent to a workflow that begins to wait in recv and then sets an event.

    The time until get_event returns.
    """
    with TimestampReceiver() as receiver, system.ready_worker():
        return percentiles([one_echo(system, receiver) for _ in range(count)])


def one_echo(system: Any, receiver: TimestampReceiver) -> float:
    handle = system.start_echo()
    receiver.receive()
    time.sleep(SHORT)
    return one_round_trip(system, handle)


@workload(
    "message round trip, after a wait",
    units={"p50": "ms", "p99": "ms"},
    needs="start_echo send get_event",
    size=100,
    quick_size=5,
)
def message_after_wait(system: Any, count: int) -> Values:
    """The same with workflows that have waited in recv for 2 seconds or more."""
    with TimestampReceiver() as receiver, system.ready_worker():
        handles = [system.start_echo() for _ in range(count)]
        for _ in handles:
            receiver.receive()
        time.sleep(LONG)
        return percentiles([one_round_trip(system, handle) for handle in handles])


def one_round_trip(system: Any, handle: Any) -> float:
    began = time.perf_counter()
    system.send(handle)
    system.get_event(handle)
    return time.perf_counter() - began


@message_round_trip.ceiling
def notifications(bare: Any, count: int) -> Values:
    """A NOTIFY to another connection, and one back."""
    partner = bare.echo()
    bare.notify_each_other(partner)
    return percentiles([one_notification(bare, partner) for _ in range(count)])


def one_notification(bare: Any, partner: Any) -> float:
    began = time.perf_counter()
    bare.notify_each_other(partner)
    return time.perf_counter() - began
