"""Workflows that `manage.py` discovers in child processes, as in any app."""

from tests.executor import workflows
from tests.flow import scheduled
from tests.flow import workflows as flow_workflows
from tests.observability import traced
from tests.payloads import workflows as payload_workflows
from tests.process import asking, limited, versioned
from tests.process import workflows as process_workflows

__all__ = [
    "asking",
    "flow_workflows",
    "limited",
    "payload_workflows",
    "process_workflows",
    "scheduled",
    "traced",
    "versioned",
    "workflows",
]
