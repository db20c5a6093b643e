"""The liveness of executors, as other processes read it."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet

from django_dbos.models import Executor
from django_dbos.store.base import Store
from tests.store.conftest import register


def age(executor_id: str, by: timedelta) -> None:
    """Move the last heartbeat into the past."""
    row = Executor.objects.get(pk=executor_id)
    QuerySet(Executor).filter(pk=executor_id).update(heartbeat_at=row.heartbeat_at - by)


def declare_dead(store: Store, executor_id: str) -> None:
    signs = {"executor_id": executor_id, "is_unlocked": True, "silence": -1.0}
    assert store.session().run("declare_dead", signs)


def is_served(store: Store, queue_name: str) -> bool:
    reason = store.reader.why_unclaimed(queue_name, "shop.checkout")
    assert reason in ("", f"no live worker serves queue {queue_name!r}; run dbos_worker")
    return not reason


def test_only_an_executor_within_its_lease_serves_a_queue(store: Store) -> None:
    """A killed worker used to count as live until another executor declared it dead."""
    assert not is_served(store, "default")

    executor_id = register(store, lease=20.0)
    assert is_served(store, "default")

    age(executor_id, timedelta(seconds=21))
    assert not is_served(store, "default")


def test_an_executor_that_was_declared_dead_can_be_read(store: Store) -> None:
    """PostgreSQL's -infinity is out of Python's range; reading such a row raised an error."""
    executor_id = register(store)
    declare_dead(store, executor_id)

    (row,) = Executor.objects.all().judged()

    assert row.heard_at is None
    assert not row.is_live
    assert not is_served(store, "default")


def test_an_executor_serves_its_queues(store: Store) -> None:
    register(store, queue_names='["mail"]')
    register(store, is_inline=True)

    assert is_served(store, "mail")
    assert not is_served(store, "default")


def test_a_worker_without_the_function_does_not_count(store: Store) -> None:
    register(store, workflow_names='["shop.old"]')

    reason = store.reader.why_unclaimed("default", "shop.checkout")
    assert reason.startswith("no live worker of queue 'default' knows its function 'shop.checkout'")

    register(store, workflow_names='["shop.checkout"]')
    assert store.reader.why_unclaimed("default", "shop.checkout") == ""
