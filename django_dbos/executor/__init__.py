"""The worker: claims workflows, runs them, and keeps house.

`Executor` works without `manage.py dbos_worker`, from tests and from code.
"""

from django_dbos.executor.executor import Executor

__all__ = ["Executor"]
