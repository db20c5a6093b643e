"""Found by `manage.py` in child processes, as any app's workflows are."""

from tests.executor import workflows
from tests.process import workflows as process_workflows

__all__ = ["process_workflows", "workflows"]
