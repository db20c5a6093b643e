"""Found by `manage.py` in child processes, as any app's workflows are."""

from tests.executor import workflows

__all__ = ["workflows"]
