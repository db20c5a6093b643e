"""Marks workflows for deletion, as a rule with an age does."""

from __future__ import annotations

from django_dbos.core.retention import Judge, RetentionRule
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session


def mark(store: Store, session: Session, age: float = 0.0) -> list[str]:
    """Mark the finished workflows that are older than this; return their ids."""
    judge = Judge((RetentionRule(age=age),))
    found, _ = store.list_finished(session, judge.youngest, store.first_place, 100)
    chosen = [row for row in found if judge.is_to_go(row)]
    return [workflow_id for workflow_id, _ in store.mark_deleted(session, chosen)]
