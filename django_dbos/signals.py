"""Signals: what happens to workflows and executors, in the process where it happens.

`workflow_started` and `workflow_finished` are sent by the executor (`sender` is the Workflow
model; `workflow_id`, `name`, and for the latter `status`), after the commit and robustly: a
receiver that raises is logged. `executor_started` and `executor_stopped` carry `executor_id`.
`keys_changed` carries `keys`, the texts under which watchers are notified.
"""

from django.dispatch import Signal

__all__ = [
    "executor_started",
    "executor_stopped",
    "keys_changed",
    "workflow_finished",
    "workflow_started",
]

workflow_started = Signal()
workflow_finished = Signal()
executor_started = Signal()
executor_stopped = Signal()
keys_changed = Signal()
