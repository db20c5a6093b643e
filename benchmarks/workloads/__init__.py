"""The workloads: one file a subject, which reads like the sentences that describe it."""

import importlib

from benchmarks.workloads.workload import WORKLOADS, Workload

# In the order of the tables.
SUBJECTS = (
    "steps_of_many",
    "steps_in_a_row",
    "drain",
    "queues",
    "encryption",
    "telemetry",
    "retention",
    "start_and_wait",
    "get_results",
    "start",
    "start_many",
    "latency",
    "messages",
    "streams",
    "idle",
    "live",
    "browser",
    "admin_pages",
    "schedules",
    "importing",
    "two_workers",
    "waiting",
    "kill",
    "old_snapshot",
    "lifecycle",
    "history",
)
for subject in SUBJECTS:
    importlib.import_module(f"benchmarks.workloads.{subject}")

__all__ = ["WORKLOADS", "Workload"]
