"""The figures of the database as Prometheus's gauges; the extra `prometheus` brings its client."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from django_dbos.store.figures import Figures

__all__ = ["CONTENT_TYPE_LATEST", "as_text"]


def as_text(figures: Figures) -> bytes:
    """Return figures of the database in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(figures))
    text: bytes = generate_latest(registry)
    return text


class _Figures:
    """Gauges of what was read from the database."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        figures = self._figures
        yield _by("dbos_workflow_count", "Active workflows by status, up to 10,000.", "status", {
            str(status).lower(): count.number for status, count in figures.active.items()
        })  # fmt: skip
        yield from self._queues()
        window = figures.window
        recent = figures.recent
        for name, text, value in (
            ("executor_count", "Live workers.", figures.workers),
            ("silent_executor_count", "Dead executors not yet recovered.",
             len(figures.silent_executors)),
            ("stuck_workflow_count", "Workflows held by executors that are gone.", figures.stuck),
            ("quarantined_workflow_count", "Quarantined workflows.", figures.quarantined),
            ("workflow_started_rate", "Workflows created per second.", recent.count / window),
            ("workflow_failed_rate", "Workflows failed per second.", figures.failed / window),
            ("workflow_given_up_rate", "Workflows given up per second.", figures.given_up / window),
            ("workflow_failure_ratio", "Share of the recent workflows that failed.",
             figures.failure_rate),
            ("max_queue_wait_seconds", "Longest wait for a first run among recent workflows.",
             max(recent.waits, default=0.0)),
            ("max_total_latency_seconds", "Longest run among recent workflows that ended.",
             max(recent.durations, default=0.0)),
            ("rate_window_seconds", "The window of rates and recent workflows.", window),
        ):  # fmt: skip
            yield GaugeMetricFamily(f"dbos_{name}", text, value=value)

    def _queues(self) -> Iterator[GaugeMetricFamily]:
        queues = self._figures.queues
        yield _by("dbos_workflow_enqueued_count", "Enqueued workflows, up to 10,000.", "queue", {
            queue.name: queue.enqueued for queue in queues
        })  # fmt: skip
        yield _by("dbos_workflow_pending_count", "Running workflows, up to 10,000.", "queue", {
            queue.name: queue.running for queue in queues
        })  # fmt: skip
        yield _by(
            "dbos_oldest_enqueued_age_seconds",
            "Time since the start of the oldest enqueued workflow that never ran.",
            "queue",
            {queue.name: queue.oldest_enqueued or 0.0 for queue in queues},
        )
        yield _by(
            "dbos_oldest_pending_age_seconds",
            "Time since the first run of the oldest running workflow.",
            "queue",
            {queue.name: queue.oldest_running or 0.0 for queue in queues},
        )


def _by(name: str, text: str, label: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
