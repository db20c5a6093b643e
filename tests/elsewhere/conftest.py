"""The store's fixtures, for races with the SQL functions."""

from tests.store.conftest import claim, executor_id, session, store

__all__ = ["claim", "executor_id", "session", "store"]
