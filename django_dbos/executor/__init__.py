"""The executor, which claims workflows and runs them.

`Executor` runs them without `manage.py dbos_worker`: in tests, or beside a small site.
"""

from django_dbos.executor.executor import Executor

__all__ = ["Executor"]
