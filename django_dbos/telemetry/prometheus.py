"""Prometheus: the measures of a worker process, which `dbos_worker --metrics-port` serves.

It needs the extra `prometheus`.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    start_http_server,
)

from django_dbos.telemetry.measures import ALL, Measure, MeasuringSubscriber
from django_dbos.telemetry.subscribers import subscribe

__all__ = ["serve_worker_metrics"]

LOOPBACK = "127.0.0.1"


def serve_worker_metrics(port: int, host: str = LOOPBACK) -> None:
    """Serve the measures of this process at a port, from now on, on threads of their own.

    Raises:
        OSError: The port is taken.
    """
    registry = CollectorRegistry()
    sink = RegistrySink(registry)
    start_http_server(port, addr=host, registry=registry)
    subscribe(MeasuringSubscriber(sink))


class RegistrySink:
    """Sends measures to a registry, under Prometheus's names: `dbos_step_duration_seconds`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._made: dict[Measure, Any] = {
            measure: _instrument(measure, registry) for measure in ALL
        }
        self._children: dict[tuple[Measure, tuple[str, ...]], Any] = {}
        self._lock = Lock()

    def add(self, measure: Measure, amount: int, labels: tuple[str, ...] = ()) -> None:
        """Count."""
        self._child(measure, labels).inc(amount)

    def record(self, measure: Measure, seconds: float, labels: tuple[str, ...] = ()) -> None:
        """Note a duration."""
        self._child(measure, labels).observe(seconds)

    def defer(self, note: Callable[..., None], *values: object) -> None:
        """Call `note` at once, since these calls are cheap."""
        note(*values)

    def _child(self, measure: Measure, labels: tuple[str, ...]) -> Any:
        found = self._children.get((measure, labels))
        if found is None:
            made = self._made[measure]
            found = made.labels(*labels) if labels else made
            with self._lock:
                self._children[measure, labels] = found
        return found


def _instrument(measure: Measure, registry: CollectorRegistry) -> Any:
    name = measure.name.replace(".", "_")
    if measure.is_duration:
        return Histogram(f"{name}_seconds", measure.description, measure.labels, registry=registry)
    return Counter(name, measure.description, measure.labels, registry=registry)
