"""Signals about workflows and executors, sent in the process where the event happens.

| signal | sent | arguments |
| --- | --- | --- |
| `workflow_started` | when a run begins, also after a suspension | `workflow_id`, `name` |
| `workflow_finished` | after the commit of the workflow's end | `workflow_id`, `name`, `status` |
| `executor_started`, `executor_stopped` | by the executor | `executor_id` |
| `alert_raised`, `alert_resolved` | by the one worker that noticed it first | `alert` |
| `form_reminder` | in a step of a workflow that waits for a form | `form`, `number` |
| `keys_changed` | after a commit, to wake waits in this process | `keys`: a list of texts |

The `sender` of the workflow signals is the Workflow model, that of reminders the Inquiry model, and
that of alerts the Alert class. A receiver that raises is logged, and has no effect on the workflow
(`Signal.send_robust`).
"""

from django.dispatch import Signal

__all__ = [
    "alert_raised",
    "alert_resolved",
    "executor_started",
    "executor_stopped",
    "form_reminder",
    "keys_changed",
    "workflow_finished",
    "workflow_started",
]

workflow_started = Signal()
workflow_finished = Signal()
executor_started = Signal()
executor_stopped = Signal()
alert_raised = Signal()
alert_resolved = Signal()
form_reminder = Signal()
keys_changed = Signal()
