"""A store with an executor that holds claims, on the database of the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import QuerySet

from django_dbos.core.ids import lock_key, new_executor_id, new_workflow_ids
from django_dbos.core.records import (
    Checkpoint,
    Claim,
    ExecutorInfo,
    NewWorkflow,
    RecordEntry,
    RecordStep,
)
from django_dbos.models import Executor
from django_dbos.store import get_store
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session


@pytest.fixture
def store(transactional_db: None) -> Store:
    return get_store()


@pytest.fixture
def executor_id(store: Store) -> str:
    return register(store)


def register(store: Store, **options: Any) -> str:
    """Write the row of an executor that counts as alive."""
    executor_id = new_executor_id()
    info = {
        "executor_id": executor_id,
        "hostname": "here",
        "pid": 1,
        "is_inline": False,
        "queue_names": None,
        "concurrency": 1,
        "lock_key": lock_key(executor_id),
        "lease": 20.0,
        **options,
    }
    store.register_executor(store.session(), ExecutorInfo(**info), has_lock=False)
    return executor_id


def age(executor_id: str, by: timedelta) -> None:
    """Move the last heartbeat into the past."""
    row = Executor.objects.get(pk=executor_id)
    QuerySet(Executor).filter(pk=executor_id).update(heartbeat_at=row.heartbeat_at - by)


def declare_dead(store: Store, executor_id: str) -> None:
    signs = {"executor_id": executor_id, "is_unlocked": True, "silence": -1.0}
    assert store.session().run("declare_dead", signs)


@pytest.fixture
def session(store: Store, executor_id: str) -> Iterator[Session]:
    """Return a worker connection."""
    session = store.connect(executor_id, "test")
    yield session
    session.close()


@pytest.fixture
def claim(store: Store, executor_id: str) -> Callable[..., Claim]:
    """Start a workflow and claim it."""

    def make(**options: Any) -> Claim:
        new = new_workflow(**options)
        store.start_workflows([new])
        found = store.claim_workflow(store.session(), executor_id, new.workflow_id)
        assert found is not None
        return found

    return make


def new_workflow(**options: Any) -> NewWorkflow:
    values = {
        "workflow_id": new_workflow_ids(1)[0],
        "name": "tests.work",
        "input": "{}",
        "queue_name": "default",
        **options,
    }
    return NewWorkflow(**values)


def checkpoint(claim: Claim, number: int = 1, **options: Any) -> Checkpoint:
    values = {
        "workflow_id": claim.workflow_id,
        "step_number": number,
        "step_name": "step",
        "record_order": number,
        "claim_number": claim.claim_number,
        **options,
    }
    return Checkpoint(**values)


def step(claim: Claim, number: int = 1, **options: Any) -> RecordStep:
    return RecordStep(
        workflow_id=claim.workflow_id,
        claim_number=claim.claim_number,
        checkpoint=checkpoint(claim, number, **options),
    )


def entry(claim: Claim, value: str | None, key: str = "s", **options: Any) -> RecordEntry:
    return RecordEntry(
        workflow_id=claim.workflow_id,
        claim_number=claim.claim_number,
        checkpoint=None,
        key=key,
        value=value,
        step_number=1,
        **options,
    )
