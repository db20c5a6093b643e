"""Claims under the limits of a queue, statement by statement."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_dbos.core.queues import Visit
from django_dbos.core.records import Lane
from django_dbos.fields import DatabaseNow
from django_dbos.models import Queue, QueueStart, Workflow
from django_dbos.store import errors
from django_dbos.store.base import Store
from tests.capabilities import many_writers
from tests.flow.managed import NAME, claim, claim_rows, free, make_queue, rows_of, start
from tests.store.conftest import declare_dead, register
from tests.waiting import LIMIT

pytestmark = pytest.mark.django_db(transaction=True)


# Concurrency


@pytest.mark.rule(54)
def test_no_more_hold_places_than_the_limit(store: Store, executor_id: str) -> None:
    make_queue(concurrency=2)
    ids = start(store, 5)

    first, part = claim(store, executor_id)
    assert (first, part.is_full) == (ids[:2], True)
    assert claim(store, register(store))[0] == []
    free(ids[:1])
    assert claim(store, register(store))[0] == ids[2:3]
    assert set(rows_of(ids[1:3]).values_list("place", "status")) == {(1, "PENDING")}


@pytest.mark.rule(54)
def test_a_claim_takes_no_more_than_it_has_room_for(store: Store, executor_id: str) -> None:
    make_queue(concurrency=10)
    ids = start(store, 5)

    first, part = claim(store, executor_id, limit=3)

    assert first == ids[:3]
    assert not part.is_full
    assert part.is_cut or part.after is not None
    assert claim(store, executor_id, limit=3)[0] == ids[3:]


@pytest.mark.rule(54)
def test_each_worker_has_its_own_limit(store: Store, executor_id: str) -> None:
    make_queue(concurrency=5, worker_concurrency=2)
    ids = start(store, 6)

    assert claim(store, executor_id)[0] == ids[:2]
    assert claim(store, executor_id)[1].is_full
    assert claim(store, register(store))[0] == ids[2:4]
    assert claim(store, register(store))[0] == ids[4:5]
    # Also a place that lingers, when the row is another's by now.
    rows_of(ids[:1]).update(status="CANCELLED")
    assert claim(store, executor_id)[0] == []


@pytest.mark.rule(54)
def test_a_lowered_limit_stops_nothing_and_starts_nothing(store: Store, executor_id: str) -> None:
    make_queue(concurrency=4)
    ids = start(store, 6)
    claim(store, executor_id)

    make_queue(concurrency=2)
    assert claim(store, executor_id)[0] == []
    free(ids[:2])
    assert claim(store, executor_id)[0] == []
    free(ids[2:3])
    assert claim(store, executor_id)[0] == ids[4:5]


@pytest.mark.rule(54)
def test_executors_that_claim_at_once_stay_within_the_limit(store: Store) -> None:
    make_queue(concurrency=7)
    ids = start(store, 40)
    executor_ids = [register(store) for _ in range(8)]
    together, claimed = threading.Barrier(8, timeout=LIMIT), []

    def race(executor_id: str) -> None:
        together.wait()
        while True:
            found, part = claim(store, executor_id, limit=2)
            claimed.extend(found)
            if part.is_full:
                break
        connections.close_all()

    threads = [threading.Thread(target=race, args=[one]) for one in executor_ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == sorted(ids[:7])
    assert rows_of(ids).filter(place=1, status="PENDING").count() == 7


@pytest.mark.rule(54)
@many_writers
def test_a_claim_counts_what_the_last_holder_of_the_lock_has_claimed(
    store: Store, executor_id: str
) -> None:
    make_queue(concurrency=1)
    start(store, 2)
    session = store.connect(executor_id, "holder")
    with session.transaction():
        assert session.run("lock_queue", {"queue_name": "mail"})
        # A claim that comes meanwhile ends, instead of counting too early.
        assert [claim(store, register(store))[1].is_locked for _ in range(3)] == [True] * 3
        visit = Visit(queue_name="mail", names=[NAME], limit=5)
        claims, _ = store.claim_in_turn(session, executor_id, visit)
    session.close()

    assert len(claims) == 1
    assert claim(store, register(store))[0] == []


@pytest.mark.rule(54)
@many_writers
def test_claims_under_way_when_the_queue_became_managed_get_places(
    store: Store, executor_id: str
) -> None:
    ids = start(store, 3)
    store.claim_workflows(
        store.session(), executor_id, Lane("mail", 0), names=[NAME], above=-1, limit=1
    )
    make_queue(concurrency=1)

    claim(store, executor_id)
    assert claim(store, executor_id)[0] == []
    assert rows_of(ids[:1]).get().place == 1


# The order


def test_priorities_and_positions_decide_within_a_queue(store: Store, executor_id: str) -> None:
    make_queue(concurrency=10)
    low, first, second = start(store, priority=-1), start(store), start(store)
    high = start(store, priority=5)

    assert claim(store, executor_id)[0] == high + first + second + low


@pytest.mark.rule(55)
def test_what_has_run_before_comes_first_within_its_priority(
    store: Store, executor_id: str
) -> None:
    make_queue(concurrency=10)
    high, new, again = start(store, priority=1), start(store), start(store)
    make_again(again)

    assert claim(store, executor_id)[0] == high + again + new


def make_again(workflow_ids: list[str], **columns: Any) -> None:
    """Make workflows that have run, and queue again."""
    for number, workflow_id in enumerate(workflow_ids):
        rows_of([workflow_id]).update(
            started_at=DatabaseNow(), queue_sequence=number - 2**62, **columns
        )


@pytest.mark.rule(55)
def test_a_place_that_is_kept_until_the_end_needs_no_other(store: Store, executor_id: str) -> None:
    make_queue(concurrency=2, hold_while_waiting=True, partition_concurrency=1)
    ids = start(store, 2, partition_key="a") + start(store, 2)
    claimed, _ = claim(store, executor_id)
    assert claimed == [ids[2], ids[0]]
    assert set(rows_of(claimed).values_list("place", flat=True)) == {2}
    # They have waited, and are woken.
    rows_of(claimed).update(status="WAITING", executor_id=None)
    assert claim(store, executor_id)[0] == []
    make_again(claimed, status="ENQUEUED")

    assert sorted(claim(store, executor_id)[0]) == sorted(claimed)
    assert claim(store, executor_id)[0] == []


def test_all_kept_places_are_served_however_few_slots_there_are(
    store: Store, executor_id: str
) -> None:
    make_queue(concurrency=4, hold_while_waiting=True)
    ids = start(store, 4)
    claim(store, executor_id)
    rows_of(ids).update(executor_id=None)
    make_again(ids, status="ENQUEUED")

    first, part = claim(store, executor_id, limit=2)
    assert (len(first), part.is_full) == (2, False)
    assert len(claim(store, executor_id, limit=2)[0]) == 2


@pytest.mark.rule(55)
def test_of_kept_places_those_of_a_higher_priority_come_first(
    store: Store, executor_id: str
) -> None:
    make_queue(concurrency=4, hold_while_waiting=True)
    low, high = start(store, 2), start(store, 2, priority=1)
    claim(store, executor_id)
    rows_of(low + high).update(executor_id=None)
    make_again(low + high, status="ENQUEUED")

    assert claim(store, executor_id, limit=1)[0] == high[:1]
    assert claim(store, executor_id)[0] == high[1:] + low


@pytest.mark.rule(54)
def test_kept_places_are_within_the_limit_of_the_worker(store: Store, executor_id: str) -> None:
    make_queue(concurrency=5, worker_concurrency=2, hold_while_waiting=True)
    ids, other = start(store, 4), register(store)
    assert claim(store, executor_id)[0] == ids[:2]
    # Those of the other one have waited, and want to go on.
    kept = claim(store, other, limit=2)[0]
    rows_of(kept).update(executor_id=None)
    make_again(kept, status="ENQUEUED")
    (new,) = start(store)

    assert claim(store, executor_id)[0] == []
    free(ids[:1])
    assert len(claim(store, executor_id)[0]) == 1
    free(ids[1:2])
    assert len(claim(store, executor_id)[0]) == 1
    assert claim(store, executor_id)[0] == []
    assert claim(store, other)[0] == [new]


@pytest.mark.rule(54)
def test_new_workflows_have_the_room_that_kept_places_leave(store: Store, executor_id: str) -> None:
    make_queue(concurrency=5, worker_concurrency=2, hold_while_waiting=True)
    (kept,) = start(store)
    claim(store, executor_id)
    rows_of([kept]).update(executor_id=None)
    make_again([kept], status="ENQUEUED")
    ids = start(store, 3)

    assert claim(store, executor_id)[0] == [kept, ids[0]]
    assert claim(store, executor_id)[0] == []


@pytest.mark.rule(54)
def test_a_lingering_place_is_waited_for(store: Store, executor_id: str) -> None:
    make_queue(concurrency=5)
    lingering, other = start(store), start(store)
    claim(store, executor_id, limit=1)
    # Cancelled and resumed, while its step still runs.
    rows_of(lingering).update(status="ENQUEUED", place=1)

    assert claim(store, register(store))[0] == other
    assert store.claim_workflow(store.session(), register(store), lingering[0]) is None
    rows_of(lingering).update(place=0, executor_id=None)
    assert claim(store, register(store))[0] == lingering


@pytest.mark.rule(58)
def test_a_place_that_is_kept_and_lingers_is_waited_for(store: Store, executor_id: str) -> None:
    """It was handed over while its step ran, so it comes first, but not before that has ended."""
    make_queue(concurrency=5, hold_while_waiting=True)
    ids = start(store)
    claim(store, executor_id)
    store.release_workflows(store.session(), executor_id, ids, still_running=ids)

    assert claim(store, register(store))[0] == []
    rows_of(ids).update(executor_id=None)
    assert claim(store, register(store))[0] == ids


@pytest.mark.rule(55)
def test_a_higher_priority_comes_before_what_has_run(store: Store, executor_id: str) -> None:
    make_queue(concurrency=1)
    again, new = start(store), start(store, priority=5)
    make_again(again)

    assert claim(store, executor_id, limit=1)[0] == new
    free(new)
    assert claim(store, executor_id, limit=1)[0] == again


# Rates


@pytest.mark.rule(56)
def test_a_start_leaves_the_window_no_sooner_than_a_period_after_it(
    store: Store, executor_id: str
) -> None:
    make_queue(rate_count=10, rate_period=60.0, partition_rate_count=9, partition_rate_period=60.0)
    ids = start(store, 3, partition_key="a")

    claim(store, executor_id)

    started = rows_of(ids).values_list("started_at", flat=True)
    logged = QueueStart.objects.values_list("last_at", flat=True)
    assert min(logged) >= max(at for at in started if at is not None)


@pytest.mark.rule(56)
def test_a_window_has_no_more_starts_than_the_rate(store: Store, executor_id: str) -> None:
    make_queue(rate_count=3, rate_period=60.0)
    ids = start(store, 7)

    assert claim(store, executor_id, limit=2)[0] == ids[:2]
    store.advance(30)
    assert claim(store, executor_id)[0] == ids[2:3]
    nothing, part = claim(store, register(store))
    assert nothing == []
    assert part.next_start is not None
    assert 0 < part.next_start <= 30
    store.advance(part.next_start)
    assert claim(store, executor_id)[0] == ids[3:5]
    store.advance(60)
    assert claim(store, executor_id)[0] == ids[5:7]


@pytest.mark.rule(56)
def test_a_workflow_that_goes_on_is_no_start(store: Store, executor_id: str) -> None:
    make_queue(rate_count=1, rate_period=60.0)
    first, second, low = start(store), start(store), start(store, priority=-5)
    claim(store, executor_id)
    rows_of(first).update(executor_id=None, place=0)
    make_again(first, status="ENQUEUED", priority=-9)

    assert claim(store, executor_id)[0] == first
    assert rows_of(second + low).filter(status="ENQUEUED").count() == 2
    assert sum(QueueStart.objects.values_list("count", flat=True)) == 1


@pytest.mark.rule(56)
def test_many_starts_share_a_few_rows_that_never_let_through_too_many(
    store: Store, executor_id: str
) -> None:
    make_queue(rate_count=2_000, rate_period=4_000_000.0)
    ids = start(store, 30)
    for _ in range(10):
        assert len(claim(store, executor_id, limit=3)[0]) == 3

    assert 1 <= QueueStart.objects.count() <= 2
    assert sum(QueueStart.objects.values_list("count", flat=True)) == len(ids)


@pytest.mark.rule(56)
def test_starts_far_from_one_another_have_rows_of_their_own(store: Store, executor_id: str) -> None:
    """Else the first of them would leave its window with the last."""
    make_queue(rate_count=2_000, rate_period=1_000.0)
    start(store, 2)
    claim(store, executor_id, limit=1)
    store.advance(500)
    claim(store, executor_id, limit=1)

    assert list(QueueStart.objects.values_list("count", flat=True)) == [1, 1]


def test_starts_that_have_left_all_windows_are_deleted(store: Store, executor_id: str) -> None:
    make_queue(partition_rate_count=1, partition_rate_period=60.0)
    start(store, partition_key="a")
    claim(store, executor_id)
    store.advance(61)
    start(store, partition_key="b")
    claim(store, executor_id)

    assert list(QueueStart.objects.values_list("partition_key", flat=True)) == ["b"]


# Partitions


@pytest.mark.rule(57)
def test_keys_are_served_in_turn(store: Store, executor_id: str) -> None:
    many, few = start(store, 100, partition_key="a"), start(store, 2, partition_key="b")
    one = start(store, partition_key="c")

    claimed, part = claim(store, executor_id, limit=9)

    assert claimed == [many[0], few[0], one[0], many[1], few[1], many[2]]
    assert (part.is_cut, part.is_managed) == (True, False)
    # The turn goes on, wherever the slots ended.
    turns = []
    after = None
    for _ in range(4):
        found, part = claim(store, executor_id, limit=1, after=after)
        turns += [Workflow.objects.get(pk=one).partition_key for one in found]
        after = part.after
    # Only one key is left, so the turn begins with it again.
    assert turns == ["a"] * 4


@pytest.mark.rule(57)
def test_a_turn_goes_from_key_to_key(store: Store, executor_id: str) -> None:
    make_queue(concurrency=1)
    for key in "abc":
        start(store, 3, partition_key=key)
    served, after = [], None
    while len(served) < 6:
        claims, part = claim_rows(store, executor_id, after=after)
        for one in claims:
            served.append(Workflow.objects.get(pk=one.workflow_id).partition_key)
            free([one.workflow_id])
        after = part.after

    assert "".join(served) == "abcabc"


@pytest.mark.rule(57)
def test_a_partition_has_its_own_limits(store: Store, executor_id: str) -> None:
    make_queue(partition_concurrency=2)
    for key in ("a", "b"):
        start(store, 5, partition_key=key)
    start(store, 3)

    claimed, _ = claim(store, executor_id)

    keys = rows_of(claimed).values_list("partition_key", flat=True)
    # A workflow without a key is in no partition.
    assert Counter(keys) == {"a": 2, "b": 2, "": 3}
    assert claim(store, executor_id)[0] == []
    free(claimed)
    assert len(claim(store, executor_id)[0]) == 4


@pytest.mark.rule(57)
def test_what_goes_on_and_what_is_new_share_the_limit_of_their_key(
    store: Store, executor_id: str
) -> None:
    """They are found one after the other, each within the limit."""
    make_queue(partition_concurrency=2)
    ids = start(store, 4, partition_key="a")
    make_again(ids[2:])

    assert claim(store, executor_id)[0] == ids[2:]
    free(ids[2:3])
    assert claim(store, executor_id)[0] == ids[:1]


@pytest.mark.rule(57)
def test_a_partition_has_its_own_rate(store: Store, executor_id: str) -> None:
    make_queue(rate_count=10, rate_period=60.0, partition_rate_count=2, partition_rate_period=600.0)
    for key in ("a", "b"):
        start(store, 8, partition_key=key)

    assert len(claim(store, executor_id)[0]) == 4
    nothing, part = claim(store, executor_id)
    assert nothing == []
    assert part.next_start is not None
    assert 60 < part.next_start <= 600
    store.advance(600)
    assert len(claim(store, executor_id)[0]) == 4


@pytest.mark.rule(57)
def test_a_key_that_its_rate_has_cut_off_is_looked_at_again(store: Store, executor_id: str) -> None:
    """Only then the executor learns when its next start may be."""
    make_queue(partition_rate_count=1, partition_rate_period=60.0)
    ids = start(store, 2, partition_key="a")

    first, part = claim(store, executor_id)
    assert (first, part.is_cut) == (ids[:1], True)
    second, part = claim(store, executor_id)
    assert second == []
    assert part.next_start is not None
    assert 0 < part.next_start <= 60


@pytest.mark.rule(57)
def test_the_limit_of_the_queue_is_shared_by_its_partitions(store: Store, executor_id: str) -> None:
    make_queue(concurrency=5, partition_concurrency=3, rate_count=4, rate_period=60.0)
    for key in "abc":
        start(store, 5, partition_key=key)

    claimed, _ = claim(store, executor_id)

    assert len(claimed) == 4
    keys = Counter(rows_of(claimed).values_list("partition_key", flat=True))
    assert sorted(keys.values()) == [1, 1, 2]


@pytest.mark.rule(57)
def test_a_walk_past_many_keys_that_are_full_goes_on_later(
    store: Store, executor_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_visits(monkeypatch, 4)
    make_queue(partition_concurrency=1)
    for number in range(10):
        start(store, 2, partition_key=f"key-{number}")
    claimed: list[str] = []
    after = None
    while len(claimed) < 10:
        found, part = claim(store, executor_id, after=after)
        claimed += found
        after = part.after
    free(claimed[-1:])

    seen, visits = [], 0
    while not seen:
        seen, part = claim(store, executor_id, after=after)
        after, visits = part.after, visits + 1

    assert visits <= 4
    assert rows_of(seen).get().partition_key == rows_of(claimed[-1:]).get().partition_key


def set_visits(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let a claim visit only a few keys."""
    if connection.vendor == "postgresql":
        from django_dbos.store.postgresql import managed_claims as vendor
    else:
        from django_dbos.store.sqlite import queue_walk as vendor  # type: ignore[no-redef]
    monkeypatch.setattr(vendor, "MAX_VISITS", count)


# Who may claim


def test_a_paused_queue_is_left_alone(store: Store, executor_id: str) -> None:
    make_queue(paused_at=DatabaseNow())
    ids = start(store, 2)

    nothing, part = claim(store, executor_id)
    assert (nothing, part.is_full, part.is_locked) == ([], True, False)
    assert store.claim_workflow(store.session(), executor_id, ids[0]) is None
    assert store.list_lanes(store.session()) == []


@pytest.mark.rule(54)
def test_stale_knowledge_claims_nothing_from_a_managed_queue(
    store: Store, executor_id: str
) -> None:
    make_queue(concurrency=1)
    start(store, 2)

    with pytest.raises(errors.ManagedQueue):
        store.claim_workflows(
            store.session(), executor_id, Lane("mail", 0), names=[NAME], above=-1, limit=1
        )
    rows_of(list(Workflow.objects.values_list("pk", flat=True))).update(recovery_attempts=3)
    assert (
        store.claim_suspect(store.session(), executor_id, queue_names=["mail"], names=[NAME]) == []
    )


def test_a_queue_that_is_not_managed_gives_only_its_keys_in_turn(
    store: Store, executor_id: str
) -> None:
    ids, keyed = start(store, 2), start(store, 2, partition_key="a")

    claimed, part = claim(store, executor_id)

    assert claimed == keyed
    assert not part.is_managed
    assert set(rows_of(keyed).values_list("place", flat=True)) == {0}
    assert store.list_lanes(store.session()) == [Lane("mail", 0)]
    assert rows_of(ids).filter(status="ENQUEUED").count() == 2


def test_lanes_of_queues_with_keys_or_limits_have_no_priority(store: Store) -> None:
    make_queue(concurrency=1)
    for priority in (3, 0, -2):
        start(store, priority=priority)
        start(store, priority=priority, queue_name="free")
        start(store, priority=priority, queue_name="keyed", partition_key=f"k{priority}")
    start(store, queue_name="keyed")

    lanes = store.list_lanes(store.session())

    assert sorted(lanes, key=str) == sorted(
        [
            Lane("mail", None), Lane("free", 3), Lane("free", 0), Lane("free", -2),
            Lane("keyed", 0), Lane("keyed", None),
        ],
        key=str,
    )  # fmt: skip


@pytest.mark.rule(9)
def test_unknown_functions_and_suspects_are_passed_over(store: Store, executor_id: str) -> None:
    make_queue(concurrency=5)
    unknown, suspect, known = start(store, name="unknown"), start(store), start(store)
    rows_of(suspect).update(recovery_attempts=3)

    assert claim(store, executor_id)[0] == known
    session = store.session()
    assert store.find_suspects(session, ["mail"], names=[NAME], limit=9) == suspect
    assert rows_of(unknown).get().status == "ENQUEUED"


@pytest.mark.rule(4)
def test_a_dead_executor_claims_nothing(store: Store, executor_id: str) -> None:
    make_queue(concurrency=5)
    start(store, 2, partition_key="a")
    declare_dead(store, executor_id)

    assert claim(store, executor_id)[0] == []
    assert QueueStart.objects.count() == 0


def test_a_claim_by_id_obeys_the_same_limits(store: Store, executor_id: str) -> None:
    make_queue(
        concurrency=3, worker_concurrency=2, partition_concurrency=1, rate_count=3, rate_period=60.0
    )
    first, second = start(store, 2, partition_key="a")
    third, fourth, fifth = start(store, 3)

    def take(workflow_id: str, by: str = executor_id) -> bool:
        return store.claim_workflow(store.session(), by, workflow_id) is not None

    assert take(first)
    assert not take(second), "The partition is full."
    assert take(third)
    assert not take(fourth), "The worker is full."
    assert take(fourth, register(store))
    assert not take(fifth, register(store)), "The queue is full."
    free([first, third, fourth])
    assert not take(fifth), "The window is full."
    store.advance(61)
    assert take(second)
    assert rows_of([second]).get().place == 1


# Locks of others


@pytest.mark.rule(2)
@many_writers
def test_the_lock_of_an_open_transaction_is_not_waited_for(store: Store, executor_id: str) -> None:
    make_queue(concurrency=1)
    make_queue("other", concurrency=1)
    ids, others = start(store), start(store, queue_name="other")

    with transaction.atomic():
        Queue.objects.select_for_update().get(name="mail")
        nothing, part = claim(store, executor_id)
        assert (nothing, part.is_locked, part.is_full) == ([], True, True)
        session = store.connect(executor_id, "other")
        assert store.claim_workflow(session, executor_id, ids[0]) is None
        session.close()
        assert claim(store, executor_id, "other")[0] == others
    assert claim(store, executor_id)[0] == ids


@pytest.mark.rule(49)
@many_writers
def test_a_locked_workflow_is_passed_over(store: Store, executor_id: str) -> None:
    make_queue(concurrency=1)
    locked, other = start(store, 2)

    with transaction.atomic():
        rows_of([locked]).select_for_update().get()
        assert claim(store, executor_id)[0] == [other]


@many_writers
@pytest.mark.rule(54)
def test_a_snapshot_that_is_older_than_the_lock_claims_nothing(
    store: Store, executor_id: str
) -> None:
    from psycopg import IsolationLevel

    make_queue(concurrency=1)
    (workflow_id,) = start(store)
    connection.ensure_connection()
    connection.connection.isolation_level = IsolationLevel.REPEATABLE_READ

    assert store.claim_workflow(store.session(), executor_id, workflow_id) is None
    connection.close()
    assert store.claim_workflow(store.session(), executor_id, workflow_id) is not None


@many_writers
@pytest.mark.rule(54)
def test_limits_hold_behind_a_transaction_pooler(
    store: Store, executor_id: str, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "TRANSACTION_POOLER": True}
    make_queue(concurrency=2, rate_count=3, rate_period=60.0)
    ids = start(store, 5)

    assert claim(store, executor_id, limit=1)[0] == ids[:1]
    assert claim(store, executor_id)[0] == ids[1:2]
    assert claim(store, executor_id)[1].is_full
    free(ids[:2])
    session = store.connect(executor_id, "by id")
    assert [store.claim_workflow(session, executor_id, one) is not None for one in ids[2:]] == [
        True, False, False,
    ]  # fmt: skip
    session.close()


def test_a_timeout_runs_from_the_claim_on(store: Store, executor_id: str) -> None:
    make_queue(concurrency=1)
    (workflow_id,) = start(store, timeout=timedelta(seconds=60))

    ((claimed,), _) = claim_rows(store, executor_id)

    assert claimed.workflow_id == workflow_id
    assert claimed.remaining is not None
    # SQLite computes the deadline in milliseconds.
    assert 0 < claimed.remaining <= 60.01
    assert not claimed.has_history
