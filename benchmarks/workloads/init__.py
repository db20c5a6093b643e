"""What is measured: one file a workload, which reads like the sentence that describes it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from benchmarks.workloads.workload import WORKLOADS, Workload

# The order of the tables.
for one in sorted(pkgutil.iter_modules([str(Path(__file__).parent)])):
    importlib.import_module(f"benchmarks.workloads.{one.name}")

__all__ = ["WORKLOADS", "Workload"]
