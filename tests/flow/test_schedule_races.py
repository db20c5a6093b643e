"""Races of schedules: several executors at one instant, deaths in the middle, punctuality."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.executor.scheduler import Scheduler
from django_dbos.models import Workflow
from django_dbos.store import get_store
from tests.flow.scheduled import (
    HOUR,
    held,
    let_pass,
    make_due,
    now,
    report,
    row,
    start_due,
    started,
    utc,
)
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("amid_an_hour")]
on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has one writer at a time"
)


def in_threads(count: int, act: Callable[[], Any]) -> None:
    """Do something in several threads at once, each with a connection of its own."""
    barrier, errors = threading.Barrier(count), []

    def run() -> None:
        try:
            barrier.wait()
            act()
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def start_on_own_session() -> None:
    store = get_store()
    session = store.connect(f"racer-{threading.get_ident()}", "race")
    try:
        while start_due(session):
            pass
    finally:
        session.close()


@pytest.mark.rule(66)
def test_of_many_executors_one_starts_each_instant() -> None:
    for number in range(40):
        dbos.schedules.create(f"s{number:02}", report, every=HOUR, catch_up="all")
        make_due(f"s{number:02}", 3)

    in_threads(6, start_on_own_session)

    instants = Counter(Workflow.objects.values_list("schedule_name", "scheduled_at"))
    assert len(instants) == 120
    assert set(instants.values()) == {1}


@pytest.mark.rule(66)
def test_executors_in_one_process_start_each_second_once() -> None:
    dbos.schedules.create("seconds", report, every=1, catch_up="all")
    with Executor(concurrency=4), Executor(concurrency=4), Executor(concurrency=4):
        eventually(lambda: len(started("seconds")) >= 3)
        dbos.schedules.pause("seconds")
        found = [utc(one.scheduled_at) for one in started("seconds")]
        eventually(
            lambda: not Workflow.objects.exclude(status="SUCCESS").exists(),
        )
    begin, end = found[0], found[-1]
    assert found == [begin + timedelta(seconds=n) for n in range(len(found))]
    assert end - begin == timedelta(seconds=len(found) - 1)


@on_postgresql
@pytest.mark.rule(66)
def test_a_schedule_that_is_locked_is_skipped_and_the_others_start() -> None:
    for name in ("locked", "free"):
        dbos.schedules.create(name, report, every=HOUR)
        make_due(name)
    with transaction.atomic():
        store = get_store()
        assert store.lock_schedule(store.session(), "locked")
        in_threads(1, start_on_own_session)
        assert (len(started("locked")), len(started("free"))) == (0, 1)
    start_on_own_session()
    assert len(started("locked")) == 1


@on_postgresql
@pytest.mark.rule(66)
def test_a_backfill_and_the_schedule_itself_start_an_instant_once() -> None:
    dbos.schedules.create("hourly", report, every=HOUR)
    make_due("hourly", 2)
    last = now()
    with transaction.atomic():
        dbos.schedules.backfill("hourly", last - 2 * HOUR, last)
        in_threads(1, start_on_own_session)
    start_on_own_session()
    assert len(started("hourly")) == 2


@on_postgresql
def test_a_workflow_that_is_locked_delays_only_its_own_schedule() -> None:
    for name in ("cancelling", "free"):
        dbos.schedules.create(name, held, every=HOUR, overlap="cancel")
        make_due(name)
    first = dbos.schedules.trigger("cancelling")
    with transaction.atomic():
        Workflow.objects.select_for_update().get(pk=first.workflow_id)
        with Executor(concurrency=1):
            eventually(lambda: len(started("free")) == 1)
            assert len(started("cancelling")) == 1
    with Executor(concurrency=1):
        eventually(lambda: len(started("cancelling")) == 2)
    assert first.get_status() == "CANCELLED"


KILLED = """
import sys
import django
django.setup()
from django_dbos.executor.scheduler import Scheduler
from django_dbos.store import get_store

store = get_store()

def hang(*args):
    print("locked", flush=True)
    sys.stdin.read()

{patch}
Scheduler(store).run(store.connect("victim", "test"))
"""
BEFORE_INSERT = "store.insert_scheduled = hang"
BEFORE_COMMIT = """
update = store.update_schedules

def update_and_hang(session, schedules):
    update(session, schedules)
    session.run("read_clock")
    hang()

store.update_schedules = update_and_hang
"""


@pytest.mark.process
@pytest.mark.rule(66)
@pytest.mark.parametrize("patch", [BEFORE_INSERT, BEFORE_COMMIT], ids=["locked", "written"])
def test_a_process_that_is_killed_before_its_commit_has_started_nothing(
    process_environment: dict[str, str], patch: str
) -> None:
    dbos.schedules.create("hourly", report, every=HOUR)
    make_due("hourly")
    due = row("hourly").next_at
    victim = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(patch=patch)],
        env=process_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert victim.stdout is not None
    assert victim.stdin is not None
    assert victim.stdout.readline() == b"locked\n"
    if connection.vendor == "postgresql":
        start_due()
        assert started("hourly") == []
    victim.kill()
    victim.wait()
    victim.stdout.close()
    victim.stdin.close()

    assert (started("hourly"), row("hourly").next_at) == ([], due)
    with Executor(concurrency=1):
        eventually(lambda: started("hourly"))
        (found,) = started("hourly")
        assert found.handle.get_result(timeout=LIMIT)
    assert found.scheduled_at == due


@pytest.mark.rule(66)
def test_a_restart_starts_nothing_again() -> None:
    dbos.schedules.create("hourly", report, every=HOUR)
    make_due("hourly")
    for _ in range(3):
        with Executor(concurrency=1) as executor:
            eventually(lambda: started("hourly"))
            executor.wait_until_idle()
    assert len(started("hourly")) == 1


# Punctuality: by the order of events, not by seconds


def test_an_executor_wakes_for_an_instant_between_two_heartbeats(settings: Any) -> None:
    """Heartbeats come every 20 minutes here; without the timer nothing would start in this test."""
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 1_200, "LEASE": 3_600}
    dbos.schedules.create("soon", report, every=1)
    with Executor(concurrency=1):
        eventually(lambda: len(started("soon")) >= 3)


def test_a_schedule_that_is_created_later_is_announced(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 1_200, "LEASE": 3_600}
    with Executor(concurrency=1) as executor:
        executor.wait_until_idle()
        dbos.schedules.create("soon", report, every=1)
        eventually(lambda: started("soon"))


def test_a_thousand_schedules_start_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        dbos.schedules.create(f"s{number:03}", report, every=HOUR)
    for number in range(200):
        let_pass(f"s{number:03}", HOUR)
    store = get_store()
    batches = []
    update = store.update_schedules

    def counted(session: Any, schedules: Any) -> None:
        batches.append(len(schedules))
        update(session, schedules)

    monkeypatch.setattr(store, "update_schedules", counted)
    start_on_own_session()

    assert batches == [200]
    assert Workflow.objects.count() == 200


def test_an_instant_that_comes_during_a_pass_is_looked_at_at_once() -> None:
    """It wasn't due when the pass looked, and is over when the pass asks for the next instant."""
    dbos.schedules.create("soon", report, every=1)
    due = utc(row("soon").next_at)
    store, scheduler = get_store(), Scheduler(get_store())
    lock = store.lock_due_schedules

    def look_too_early(*args: Any, **options: Any) -> Any:
        found = lock(*args, **{**options, "limit": 0})
        # SQLite's clock tells milliseconds.
        eventually(lambda: now() > due + timedelta(milliseconds=1))
        return found._replace(since=due - timedelta(milliseconds=1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "lock_due_schedules", look_too_early)
        seconds = scheduler.run(store.session())
    assert seconds is not None
    assert seconds < 0


@pytest.mark.parametrize("is_due", [True, False])
def test_a_look_is_followed_by_the_first_instant_that_it_did_not_see(is_due: bool) -> None:
    dbos.schedules.create("hourly", report, every=HOUR)
    store, session = get_store(), get_store().session()
    next_at = utc(row("hourly").next_at)
    since = next_at - timedelta(microseconds=1) if is_due else next_at
    seconds = store.next_schedule(session, since)
    # From the look on it is the next one, even if it is over by now.
    assert (seconds is not None) is is_due
