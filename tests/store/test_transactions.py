"""The caller's transaction, and operations that it must not surround."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_dbos import exceptions
from django_dbos.store import get_store
from django_dbos.store.base import Store


def test_statements_outside_of_transactions_commit_at_once(store: Store) -> None:
    assert store.commits_at_once()
    assert not store.is_in_transaction()
    with transaction.atomic():
        assert not store.commits_at_once()
        assert store.is_in_transaction()
        assert not store.is_in_test_transaction()


def test_a_transaction_without_autocommit_is_the_callers_to_commit(store: Store) -> None:
    assert not store.commits_by_hand()
    transaction.set_autocommit(False)
    try:
        assert store.commits_by_hand()
        assert not store.is_in_transaction()
        store.refuse_in_atomic("recv")
        with pytest.raises(exceptions.NotAllowedInAtomic):
            store.refuse_in_transaction("recv")
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@pytest.mark.rule(26)
def test_an_operation_is_refused_inside_atomic(store: Store) -> None:
    store.refuse_in_atomic("recv")
    store.refuse_in_transaction("recv")
    with transaction.atomic():
        with pytest.raises(exceptions.NotAllowedInAtomic, match="recv"):
            store.refuse_in_atomic("recv")
        with pytest.raises(exceptions.NotAllowedInAtomic, match="recv"):
            store.refuse_in_transaction("recv")


@pytest.mark.rule(36)
def test_the_block_around_a_test_refuses_nothing(db: None) -> None:
    store = get_store()

    assert store.is_in_transaction()
    assert store.is_in_test_transaction()
    store.refuse_in_atomic("recv")
