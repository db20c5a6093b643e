"""The costs of operations, counted exactly: statements, round trips, transactions; no seconds.

Two numbers of the dispatcher's depend on timing, and are bounds. It is told of a start once by this
process and once by LISTEN, and after each claim that found less than it had room for it looks again
a little later. Whether a notification comes before or after that look isn't to be known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint
from django_dbos.store.rows import CONTINUING
from tests.flow.managed import make_queue
from tests.performance import workflows
from tests.performance.costs import (
    ASKER,
    DISPATCHER,
    HOUSEKEEPING,
    NOTIFIER,
    WRITER,
    Costs,
    Meter,
)
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)
on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite is in the process"
)
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's statements")

Measure = Callable[..., Costs]

# A mixed batch: it looks up rows under the fence, then writes.
LOOK = ["lock_claims", "find_checkpoints"]
TOLD = ["notify", "wake_at_ends"]
# One or two writes are notified in the message that writes them.
WOKEN = ["wake_at_ends"]
# The same on SQLite, in the transaction of the writes.
WOKEN_WITH_IT = ["wake_at_ends"]


@pytest.fixture
def measure(executor: Executor, meter: Meter) -> Iterator[Measure]:
    """Have the executor run until a number of functions have ended, and it is idle."""

    def run(act: Callable[[], Any], ends: int = 1) -> Costs:
        workflows.ended.clear()
        with meter.measured(executor) as costs:
            act()
            eventually(lambda: len(workflows.ended) == ends)
        return costs

    return run


def waiting(start: Callable[[], Any]) -> Any:
    """Start a workflow, and return its handle once it has been suspended."""
    handle = start()
    eventually(lambda: handle.get_status() == "WAITING")
    return handle


# Clients


@on_postgresql
def test_a_start_is_one_message_to_the_server(meter: Meter) -> None:
    with meter.measured() as costs:
        workflows.nothing.start()

    assert costs.of(ASKER) == ["insert_workflow"]
    # The workflow, and the notification.
    assert (costs.trips[ASKER], costs.commits[ASKER]) == (1, 2)


@on_postgresql
def test_a_start_in_a_transaction_adds_an_insert_and_a_notification(meter: Meter) -> None:
    with meter.measured() as bare, transaction.atomic():
        connection.cursor().execute("SELECT 1")
    with meter.measured() as costs, transaction.atomic():
        connection.cursor().execute("SELECT 1")
        workflows.nothing.start()

    assert costs.of(ASKER) == ["insert_workflows", "notify"]
    assert costs.trips[ASKER] == bare.trips[ASKER] + 2
    assert (bare.commits[ASKER], costs.commits[ASKER]) == (1, 2)


@on_postgresql
@pytest.mark.parametrize("count", [2, 1_000])
def test_many_starts_are_one_statement_and_a_notification(meter: Meter, count: int) -> None:
    with meter.measured() as costs:
        workflows.nothing.start_many([()] * count)

    assert costs.of(ASKER) == ["insert_alike", "notify"]
    assert (costs.trips[ASKER], costs.commits[ASKER]) == (2, 2)


@on_postgresql
def test_many_starts_in_a_transaction_add_a_savepoint_an_insert_and_a_notify(
    meter: Meter,
) -> None:
    with meter.measured() as bare, transaction.atomic():
        connection.cursor().execute("SELECT 1")
    with meter.measured() as costs, transaction.atomic():
        connection.cursor().execute("SELECT 1")
        workflows.nothing.start_many([()] * 100)

    assert costs.of(ASKER) == ["insert_alike", "notify"]
    # SAVEPOINT and RELEASE, after which the transaction survives an error.
    assert costs.trips[ASKER] == bare.trips[ASKER] + 4
    assert (bare.commits[ASKER], costs.commits[ASKER]) == (1, 2)


@on_postgresql
def test_a_message_is_one_message_to_the_server(meter: Meter) -> None:
    handle = workflows.receives.start()

    with meter.measured() as costs:
        handle.send("message")

    # The message, the notification, and the wake-up of the receiver.
    assert sorted(costs.of(ASKER)) == ["send_message", "wake_and_notify"]
    assert (costs.trips[ASKER], costs.commits[ASKER]) == (1, 3)


@pytest.mark.parametrize("name", ["read_outcome", "read_event", "read_status"])
def test_a_poll_is_one_read(name: str, executor: Executor, meter: Meter) -> None:
    handle = workflows.sets_event.start()
    handle.get_result(timeout=LIMIT)
    looks: dict[str, Callable[[], Any]] = {
        "read_outcome": handle.get_result,
        "read_event": lambda: handle.get_event("key"),
        "read_status": handle.get_status,
    }

    with meter.measured() as costs:
        looks[name]()

    assert costs.of(ASKER) == [name]
    if connection.vendor == "postgresql":
        assert costs.trips[ASKER] == 1


# Workers


@on_postgresql
def test_a_workflow_is_a_claim_an_end_and_a_notification(measure: Measure) -> None:
    costs = measure(workflows.nothing.start)

    assert set(costs.of(DISPATCHER)) == {"claim_workflows"}
    # Two notifications of it, and two polls for each.
    assert costs.trips[DISPATCHER] == len(costs.of(DISPATCHER)) <= 4
    assert costs.of(WRITER) == ["end_workflow"]
    # The notification has its own transaction, since notifying transactions block each other.
    assert (costs.trips[WRITER], costs.commits[WRITER]) == (1, 2)
    assert costs.of(NOTIFIER) == WOKEN
    assert (costs.trips[NOTIFIER], costs.commits[NOTIFIER]) == (1, 1)
    assert costs.of(HOUSEKEEPING) == []


@on_postgresql
def test_the_next_run_of_a_workflow_is_one_batch_and_another_claim(measure: Measure) -> None:
    costs = measure(workflows.continues.start, 2)

    batch = ["lock_claims", *CONTINUING, "release_workflows"]
    assert costs.of(WRITER) == [*batch, "end_workflow"]
    # The fence, the rows, the release with the COMMIT; then the end and its notification.
    assert (costs.trips[WRITER], costs.commits[WRITER]) == (4, 3)
    assert costs.of(DISPATCHER).count("load_checkpoints") == 1


@on_postgresql
@pytest.mark.parametrize(
    "limits", [{"concurrency": 50}, {"rate_count": 1_000, "rate_period": 60.0}]
)
def test_a_workflow_under_a_limit_is_claimed_with_one_message(
    limits: dict[str, Any], measure: Measure
) -> None:
    make_queue("limited", **limits)
    # The dispatcher finds out that the queue has limits, and the statements are prepared.
    measure(lambda: workflows.nothing.using(queue_name="limited").start())

    costs = measure(lambda: workflows.nothing.using(queue_name="limited").start())

    claims = costs.of(DISPATCHER)
    assert claims == ["lock_queue", "claim_in_turn"] * (len(claims) // 2)
    # Two notifications of it, and two of the place that it frees.
    assert costs.trips[DISPATCHER] == costs.commits[DISPATCHER] == len(claims) // 2 <= 4
    assert costs.of(WRITER) == ["end_workflow"]


@on_postgresql
def test_an_end_in_a_full_queue_claims_the_next_workflow_in_its_message(measure: Measure) -> None:
    make_queue("limited", concurrency=1)
    using = workflows.nothing.using(queue_name="limited")

    def start_together() -> Any:
        with transaction.atomic():
            return [using.start() for _ in range(5)][-1]

    measure(start_together, 5)

    costs = measure(start_together, 5)

    # A batch with a claim takes no further message.
    assert costs.of(WRITER).count("claim_in_turn") >= 1
    assert costs.trips[WRITER] == costs.of(WRITER).count("end_workflow") == 5


@on_postgresql
def test_an_end_that_frees_a_place_also_notifies_of_its_queue(measure: Measure) -> None:
    make_queue("default", concurrency=100)

    costs = measure(workflows.nothing.start)

    assert costs.of(WRITER) == ["end_workflow"]
    assert (costs.trips[WRITER], costs.commits[WRITER]) == (1, 2)
    assert costs.of(NOTIFIER) == TOLD
    # In transactions of their own, but in one message.
    assert (costs.trips[NOTIFIER], costs.commits[NOTIFIER]) == (1, 2)


@on_postgresql
def test_an_attempt_that_fails_is_two_round_trips(measure: Measure) -> None:
    """A failure takes the slow path, like all writes that replace something."""
    costs = measure(workflows.retries.start)

    failure = [*LOOK, "postpone_steps"]
    outcome = [*LOOK, "replace_checkpoints"]
    assert costs.of(WRITER) == failure * 2 + outcome + ["end_workflow"]
    assert costs.trips[WRITER] == 2 * 3 + 1


@on_postgresql
def test_a_confirming_step_takes_one_more_round_trip(measure: Measure) -> None:
    costs = measure(workflows.confirms.start)

    assert costs.of(WRITER) == ["lock_claims", "record_checkpoint", "end_workflow"]


@on_postgresql
@pytest.mark.parametrize("count", [1, 10])
def test_a_step_is_one_round_trip_and_no_read(count: int, measure: Measure) -> None:
    costs = measure(lambda: workflows.steps.start(count))

    assert costs.of(WRITER) == ["record_checkpoint"] * count + ["end_workflow"]
    # And the notification of the end.
    assert (costs.trips[WRITER], costs.commits[WRITER]) == (count + 1, count + 2)
    assert costs.of(NOTIFIER) == WOKEN


@on_postgresql
def test_steps_of_many_workflows_share_their_commits(
    measure: Measure, executor: Executor, meter: Meter
) -> None:
    with meter.slowed(executor):
        costs = measure(lambda: workflows.meets.start_many([()] * 100), 100)

    assert Checkpoint.objects.filter(step_name__endswith="meet").count() == 100
    # While the first is written, all others queue up for the next commit; so do the ends. A busy
    # machine adds a few commits.
    assert costs.commits[WRITER] - costs.notifications[WRITER] == costs.trips[WRITER] <= 20
    # Nothing is looked up, and there are no more notifications than writes.
    assert {one.rstrip("s") for one in costs.of(WRITER)} == {"record_checkpoint", "end_workflow"}
    assert set(costs.of(NOTIFIER)) <= set(TOLD)
    assert costs.trips[NOTIFIER] <= costs.trips[WRITER]
    # Claims take 8, 32, then as many as there are slots, and poll twice for more; one may begin
    # again at the notification of a start.
    assert len(costs.of(DISPATCHER)) <= 6


@on_postgresql
def test_sending_is_one_batch(measure: Measure) -> None:
    receiver = waiting(workflows.receives.start)

    costs = measure(lambda: workflows.sends.start(receiver.workflow_id), 2)

    # The batch of the sender, then the batch of the receiver, which waits for it.
    sender = [*LOOK, "find_workflows", "insert_checkpoints", "insert_messages"]
    assert costs.of(WRITER)[:5] == sender
    assert sorted(costs.of(WRITER)[5:]) in (
        ["end_workflow", "end_workflow", "receive_message"],
        ["end_workflow", "end_workflows", "receive_message"],
        ["end_workflows", "receive_message"],
    )


@on_postgresql
def test_an_available_message_is_one_batch(measure: Measure) -> None:
    handle = workflows.holds_then_receives.start()
    handle.send("message")

    costs = measure(workflows.may_go_on.set)

    batch = [*LOOK, "find_messages", "insert_checkpoints", "consume_messages"]
    assert costs.of(WRITER) == ["record_checkpoint", *batch, "end_workflow"]
    assert (costs.trips[WRITER], costs.commits[WRITER]) == (4, 4)


@on_postgresql
def test_a_woken_wait_polls_once_before_and_once_after(
    measure: Measure, executor: Executor, meter: Meter
) -> None:
    with meter.measured(executor) as before:
        handle = workflows.receives.start()
        eventually(lambda: meter.has_run(NOTIFIER, "wake_satisfied"))

    costs = measure(lambda: handle.send("message"))

    look = [*LOOK, "find_messages", "insert_checkpoints"]
    assert before.of(WRITER) == [*look, "lock_claims", "suspend_workflows"]
    assert (before.trips[WRITER], before.commits[WRITER]) == (4, 2)
    # The check for messages that came between the poll and the suspension.
    assert before.of(NOTIFIER) == ["wake_satisfied"]
    # The data, the notification, and the wake-up with the notification of the lane.
    assert sorted(costs.of(ASKER)) == ["send_message", "wake_and_notify"]
    assert (costs.trips[ASKER], costs.commits[ASKER]) == (1, 3)
    assert costs.of(WRITER) == ["receive_message", "end_workflow"]
    assert (costs.trips[WRITER], costs.commits[WRITER]) == (2, 3)
    assert costs.of(DISPATCHER).count("load_checkpoints") == 1


@on_postgresql
def test_a_wait_for_any_adds_a_row_for_each_and_their_deletion(
    measure: Measure, executor: Executor, meter: Meter
) -> None:
    with meter.measured(executor) as before:
        handle = workflows.receives_any.start()
        eventually(lambda: meter.has_run(NOTIFIER, "wake_satisfied"))

    costs = measure(lambda: handle.send("message", topic="b"))

    look = [*LOOK, "find_messages", "insert_checkpoints"]
    assert before.of(WRITER) == [*look, "lock_claims", "suspend_workflows", "insert_wakes"]
    assert (before.trips[WRITER], before.commits[WRITER]) == (4, 2)
    assert sorted(costs.of(ASKER)) == ["send_message", "wake_and_notify"]
    found = [*LOOK, "find_messages", "replace_checkpoints", "consume_messages", "forget_wakes"]
    assert costs.of(WRITER) == [*found, "end_workflow"]
    assert (costs.trips[WRITER], costs.commits[WRITER]) == (3, 3)


@on_postgresql
@pytest.mark.parametrize("count", [2, 50])
def test_the_results_of_many_are_one_write(count: int, measure: Measure) -> None:
    handles = workflows.nothing.start_many([()] * count)
    dbos.get_results(handles, timeout=LIMIT)
    ids = [handle.workflow_id for handle in handles]

    costs = measure(lambda: workflows.gets_results.start(ids))

    # The run's own reads included.
    look = ["find_unfinished", "read_outcomes"]
    assert costs.of(WRITER) == [*look, "record_checkpoint", "end_workflow"]


@on_postgresql
def test_an_event_goes_with_the_end(measure: Measure) -> None:
    costs = measure(workflows.sets_event.start)

    assert costs.of(WRITER) == ["record_event", "end_workflow"]
    # In one message, unless the event was already being written when the end came.
    assert (costs.trips[WRITER], costs.commits[WRITER]) in ((1, 2), (2, 4))
    assert set(costs.of(NOTIFIER)) == {"wake_waiting", *WOKEN}


@on_postgresql
def test_an_available_event_is_one_batch(measure: Measure) -> None:
    handle = workflows.sets_event.start()
    handle.get_result(timeout=LIMIT)

    costs = measure(lambda: workflows.gets_event.start(handle.workflow_id))

    assert costs.of(WRITER) == [*LOOK, "find_events", "insert_checkpoints", "end_workflow"]
    assert (costs.trips[WRITER], costs.commits[WRITER]) == (3, 3)


@on_postgresql
def test_values_of_a_stream_share_their_commits(
    measure: Measure, executor: Executor, meter: Meter
) -> None:
    with meter.slowed(executor):
        # A statement is prepared when it runs for the first time.
        measure(lambda: workflows.writes_and_rests.start(100))
        costs = measure(lambda: workflows.writes.start(100))

    # No caller waits for a value: all but the first queue up while that is written, together with
    # the ends of the stream and of the run.
    ran = costs.of(WRITER)
    mixed = ran.count("lock_claims")
    alone = sum(ran.count(one) for one in ("append_entry", "append_entries", "end_workflow"))
    appended = ("append_entry", "append_entries", "insert_entries")
    assert sum(ran.count(one) for one in appended) <= 3
    assert costs.commits[WRITER] - costs.notifications[WRITER] == alone + mixed
    assert costs.trips[WRITER] == alone + 2 * mixed
    assert ran[-1] in ("end_workflow", "finish_workflows")


@on_postgresql
def test_a_child_starts_in_a_free_slot(measure: Measure, meter: Meter, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 600}

    def start() -> None:
        workflows.has_child.start()
        # A running claim reserves all free slots, and a child would be enqueued.
        meter.wait_for_calm(DISPATCHER)
        workflows.may_go_on.set()

    costs = measure(start, 2)

    ran = costs.of(WRITER)
    assert ran.count("insert_workflows") == 1
    # The start, and two polls of the parent, or one if the child has ended by then.
    assert ran.count("find_workflows") in (2, 3)
    assert sum(ran.count(name) for name in ("finish_workflows", "end_workflow")) == 2
    # Neither the child nor, again, the parent is claimed, and no history is loaded.
    assert set(costs.of(DISPATCHER)) == {"claim_workflows"}
    assert len(costs.of(DISPATCHER)) <= 4


@on_postgresql
def test_a_replay_is_one_load_and_writes_nothing(measure: Measure) -> None:
    handle = waiting(lambda: workflows.goes_on.start(100))

    costs = measure(lambda: handle.send("message"))

    # A hundred steps are replayed; the first write comes after them.
    assert costs.of(WRITER) == ["receive_message", "record_checkpoint", "end_workflow"]
    assert costs.trips[WRITER] == 3
    loads = [one for one in costs.of(DISPATCHER) if one != "claim_workflows"]
    assert loads == ["load_checkpoints", "load_ended_streams"]
    assert handle.get_status() == "SUCCESS"


@on_postgresql
def test_an_idle_executor_is_one_statement_per_heartbeat(executor: Executor, meter: Meter) -> None:
    with meter.measured(executor) as costs:
        heartbeat = executor.housekeeping.heartbeat
        for _ in range(3):
            last_at = heartbeat.last_at
            heartbeat.hurry()
            executor.housekeeping.loop.wake()
            eventually(lambda last_at=last_at: heartbeat.last_at != last_at)

    assert costs.of(HOUSEKEEPING) == ["heartbeat"] * 3
    assert costs.trips[HOUSEKEEPING] == costs.commits[HOUSEKEEPING] == 3
    assert costs.trips[WRITER] == costs.trips[NOTIFIER] == costs.trips[DISPATCHER] == 0


@on_sqlite
def test_a_start_is_one_transaction_on_sqlite(meter: Meter) -> None:
    with meter.measured() as costs:
        workflows.nothing.start()

    assert costs.of(ASKER) == ["deal_positions", "insert_workflows"]
    assert costs.commits[ASKER] == 1


@on_sqlite
def test_many_starts_are_one_transaction_on_sqlite(meter: Meter) -> None:
    with meter.measured() as costs:
        workflows.nothing.start_many([()] * 100)

    assert costs.of(ASKER) == ["deal_positions"] + ["insert_workflows"] * 100
    assert costs.commits[ASKER] == 1


@on_sqlite
@pytest.mark.parametrize("count", [0, 1, 10])
def test_a_step_is_one_transaction_and_no_read_on_sqlite(count: int, measure: Measure) -> None:
    costs = measure(lambda: workflows.steps.start(count))

    # The same transaction wakes waits for the end.
    assert costs.of(WRITER) == ["record_checkpoints"] * count + ["end_workflows", *WOKEN_WITH_IT]
    assert costs.commits[WRITER] == count + 1
    assert costs.of(NOTIFIER) == []


@on_sqlite
def test_steps_of_many_workflows_share_their_commits_on_sqlite(
    measure: Measure, executor: Executor, meter: Meter
) -> None:
    with meter.slowed(executor):
        costs = measure(lambda: workflows.meets.start_many([()] * 100), 100)

    assert Checkpoint.objects.filter(step_name__endswith="meet").count() == 100
    assert costs.commits[WRITER] <= 20
    assert set(costs.of(WRITER)) == {"record_checkpoints", "end_workflows", *WOKEN_WITH_IT}
    assert costs.of(NOTIFIER) == []


@on_sqlite
def test_a_wait_that_is_woken_is_one_transaction_of_the_sender_on_sqlite(
    measure: Measure, executor: Executor, meter: Meter
) -> None:
    with meter.measured(executor) as before:
        handle = workflows.receives.start()
        eventually(lambda: handle.get_status() == "WAITING")

    costs = measure(lambda: handle.send("message"))

    look = [*LOOK, "find_messages", "insert_checkpoints"]
    suspend = ["lock_claims", "suspend_workflows", "wake_satisfied"]
    assert before.of(WRITER) == look + suspend
    assert before.commits[WRITER] == 2
    assert costs.of(ASKER) == ["read_claims", "insert_messages", "wake_waiting", "deal_positions"]
    assert costs.commits[ASKER] == 1
    received = [*LOOK, "find_messages", "replace_checkpoints", "consume_messages"]
    assert costs.of(WRITER) == [*received, "end_workflows", *WOKEN_WITH_IT]
    assert costs.commits[WRITER] == 2
    assert before.of(NOTIFIER) == costs.of(NOTIFIER) == []


@on_sqlite
def test_a_replay_is_one_load_and_writes_nothing_on_sqlite(measure: Measure) -> None:
    handle = waiting(lambda: workflows.goes_on.start(100))

    costs = measure(lambda: handle.send("message"))

    assert costs.of(WRITER).count("record_checkpoints") == 1
    assert costs.commits[WRITER] == 3
    assert costs.of(DISPATCHER).count("load_checkpoints") == 1
