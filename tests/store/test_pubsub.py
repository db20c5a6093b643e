"""Notifications of commits to waits, in this process and from other processes."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import select
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection

import django_dbos as dbos
from django_dbos import store as store_module
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import Lane, NewMessage
from django_dbos.core.status import Status
from django_dbos.models import Workflow
from django_dbos.store import get_store, listener
from django_dbos.store.base import Store
from django_dbos.store.listener import MAX_PAYLOAD, Listener, pack_keys
from django_dbos.store.pubsub import Wakeups, Watch
from django_dbos.store.sqlite.listener import SqliteListener
from django_dbos.store.sqlite.sessions import WorkerConnection
from django_dbos.store.sqlite.socket_notifier import SocketNotifier
from tests.store.conftest import new_workflow
from tests.waiting import LIMIT, eventually

IS_POSTGRESQL = connection.vendor == "postgresql"
postgresql = pytest.mark.skipif(not IS_POSTGRESQL, reason="PostgreSQL's own")


def file_name() -> str:
    return str(connection.settings_dict["NAME"])


def new_listener() -> Listener:
    if IS_POSTGRESQL:
        # This imports psycopg, which SQLite's environments don't have.
        from django_dbos.store.postgresql.listener import PostgresListener

        return PostgresListener("default")
    return SqliteListener("default", WorkerConnection("default"), SocketNotifier(file_name))


@pytest.fixture(autouse=True)
def _no_watch_is_left() -> None:
    """Wait for the watches of earlier tests: an iterator that was left open may be in a cycle."""
    gc.collect()
    eventually(lambda: not get_store().wakeups.is_used)


@pytest.fixture
def elsewhere(transactional_db: None) -> Iterator[Wakeups]:
    """Simulate the waits of another process, which share only the database with this one."""
    wakeups = Wakeups(new_listener())
    # Its first notification is for all keys.
    told: list[Any] = []
    wakeups.add_lane_listener(told.append)
    wakeups.start_listening()
    eventually(lambda: wakeups.is_listening and told)
    wakeups.remove_lane_listener(told.append)
    yield wakeups
    wakeups.stop_listening()


def listeners() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "dbos-listener"]


# In one process


def test_a_notification_before_the_wait_is_not_missed() -> None:
    wakeups = Wakeups()
    with wakeups.watch("a", "b") as watch:
        wakeups.notify(["b"])

        assert watch.wait(0)
        assert not watch.wait(0)


def test_only_watchers_of_the_key_are_woken() -> None:
    wakeups = Wakeups()
    with wakeups.watch("a") as one, wakeups.watch("b") as other:
        wakeups.notify(["a"])

        assert one.wait(0)
        assert not other.wait(0)
    assert not wakeups.is_used


def test_a_waiting_thread_is_woken() -> None:
    wakeups = Wakeups()
    with wakeups.watch("a") as watch:
        timer = threading.Timer(0.02, wakeups.notify, [["a"]])
        timer.start()

        assert watch.wait(LIMIT)
        timer.join()


async def test_a_waiting_task_is_woken_from_another_thread() -> None:
    wakeups = Wakeups()
    with wakeups.watch("a") as watch:
        waiting = asyncio.create_task(watch.await_(LIMIT))
        await asyncio.sleep(0)
        await asyncio.to_thread(wakeups.notify, ["a"])

        assert await waiting
        assert not await watch.await_(0.01)


async def test_a_cancelled_wait_leaves_the_watch_usable() -> None:
    wakeups = Wakeups()
    with wakeups.watch("a") as watch:
        waiting = asyncio.create_task(watch.await_(LIMIT))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        wakeups.notify(["a"])

        assert await watch.await_(0)


@pytest.mark.rule(16)
def test_without_a_free_descriptor_to_listen_a_wait_continues(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(listener, "Stop", fail)
    wakeups = Wakeups(new_listener())

    with wakeups.watch("key") as watch:
        assert not wakeups.is_listening
        wakeups.notify(["key"])
        assert watch.wait(0)

    assert not wakeups.is_used
    assert "Not listening" in caplog.text


def test_executors_are_notified_of_lanes_and_keys() -> None:
    wakeups, lanes, keys = Wakeups(), [], []  # type: ignore[var-annotated]
    wakeups.add_lane_listener(lanes.append)
    wakeups.add_key_listener(keys.append)

    wakeups.notify_lanes([Lane("q", 1)])
    wakeups.notify_lanes([])
    wakeups.notify_everything()
    wakeups.remove_lane_listener(lanes.append)
    wakeups.notify_lanes([Lane("q", 2)])

    assert lanes == [[("q", 1)], None]
    assert keys == [["*"]]


# From other processes


@pytest.mark.rule(14)
def test_a_commit_wakes_the_watchers_of_another_process(store: Store, elsewhere: Wakeups) -> None:
    with elsewhere.watch("result:x:") as watch:
        store.start_workflows([new_workflow(workflow_id="x")])
        watch.wait(0.2)
        store.cancel_workflows(["x"])

        assert watch.wait(LIMIT)


@pytest.mark.rule(14)
def test_a_start_notifies_the_executors_of_another_process(
    store: Store, elsewhere: Wakeups
) -> None:
    told: list[Any] = []
    elsewhere.add_lane_listener(told.append)

    store.start_workflows([new_workflow(queue_name="größe", priority=-3)])

    eventually(lambda: bool(told))
    # SQLite only notifies that something has changed.
    assert told[0] == ([("größe", -3)] if IS_POSTGRESQL else None)


@postgresql
@pytest.mark.rule(14)
@pytest.mark.parametrize(("partition_key", "priority"), [("", -3), ("one", None)])
@pytest.mark.parametrize("listens", [True, False])
def test_a_message_notifies_the_executors_of_its_receivers_lane(
    store: Store,
    elsewhere: Wakeups,
    settings: Any,
    partition_key: str,
    priority: int | None,
    listens: bool,
) -> None:
    queue_name, told = 'größe "1"', list[Any]()
    new = new_workflow(queue_name=queue_name, priority=-3, partition_key=partition_key)
    # Nobody is notified of the start.
    settings.DBOS = {**settings.DBOS, "LISTEN": False}
    store.start_workflows([new])
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_workflow SET status = 'WAITING', wake_kind = 'message', wake_name = 't', "
            "wake_workflow_id = workflow_id"
        )
    elsewhere.add_lane_listener(told.append)
    settings.DBOS = {**settings.DBOS, "LISTEN": listens}

    store.send_messages([NewMessage(workflow_id=new.workflow_id, topic="t", message="1")])
    settings.DBOS = {**settings.DBOS, "LISTEN": True}
    # Notifications keep their order: this one comes last.
    store.start_workflows([new_workflow(queue_name="last")])

    eventually(lambda: told and told[-1] == [("last", 0)])
    assert Workflow.objects.get(pk=new.workflow_id).status == Status.ENQUEUED
    assert ([(queue_name, priority)] in told) is listens


@postgresql
@pytest.mark.rule(14)
def test_a_key_is_notified_once_per_commit(store: Store, elsewhere: Wakeups) -> None:
    heard: list[list[str]] = []
    elsewhere.add_key_listener(heard.append)

    store.announce(store.session(), Notifications(keys=["b", "a", "b"]))

    # Later notifications arrive later.
    store.announce(store.session(), Notifications(keys=["c"]))
    eventually(lambda: ["c"] in heard)
    assert heard == [["a", "b"], ["c"]]


@postgresql
@pytest.mark.rule(14)
def test_many_and_long_keys_are_packed_below_the_limit(store: Store, elsewhere: Wakeups) -> None:
    heard: list[list[str]] = []
    elsewhere.add_key_listener(heard.append)
    long = '"' + "\U0001f600" * 254
    keys = [f"event:{long}:{long}{number}" for number in range(5)]
    keys += [f"result:{number}:" for number in range(1_000)]

    store.announce(store.session(), Notifications(keys=keys))

    eventually(lambda: sum(map(len, heard)) >= len(keys))
    assert sorted(key for some in heard for key in some) == sorted(keys)
    assert len(heard) < 20


@postgresql
def test_an_unknown_notification_of_another_release_causes_a_poll(
    store: Store, elsewhere: Wakeups
) -> None:
    told: list[Any] = []
    elsewhere.add_lane_listener(told.append)

    with connection.cursor() as cursor:
        cursor.execute("NOTIFY dbos_enqueued, 'in another way'")

    eventually(lambda: bool(told))
    assert told == [None]
    assert elsewhere.is_listening


@postgresql
@pytest.mark.rule(16)
def test_a_lost_connection_causes_a_poll(store: Store, elsewhere: Wakeups) -> None:
    told: list[Any] = []
    elsewhere.add_lane_listener(told.append)
    with elsewhere.watch("result:x:") as watch:
        for _ in range(2):
            told.clear()
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
                )
                store.announce(
                    store.session(), Notifications(keys=["result:x:"], lanes=[Lane("q", 0)])
                )

            assert watch.wait(LIMIT)
            eventually(lambda: None in told)
    assert elsewhere.is_listening


@pytest.mark.rule(16)
@postgresql
def test_a_notification_that_arrives_with_an_answer_is_received(
    elsewhere: Wakeups, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener without notifications for long checks whether the server still answers."""
    psycopg = pytest.importorskip("psycopg")
    heard: list[str] = []
    elsewhere.add_key_listener(heard.extend)
    execute = psycopg.Connection.execute

    def execute_late(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        """Answer the check just as a notification arrives."""
        return execute(self, query or "NOTIFY dbos_changed, '[\"news\"]'", *args, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", execute_late)
    monkeypatch.setattr(listener, "LISTEN_TIMEOUT", 0.02)
    settings.DBOS = {**settings.DBOS, "LEASE": 2, "HEARTBEAT_INTERVAL": 0.5}
    elsewhere.stop()
    elsewhere.start_listening()

    eventually(lambda: "news" in heard)
    elsewhere.stop_listening()


@pytest.mark.rule(14)
def test_without_listen_nothing_is_started(store: Store, settings: Any) -> None:
    if not IS_POSTGRESQL:
        pytest.skip("SQLite's file is looked at whatever LISTEN says")
    for off in ({"LISTEN": False}, {"TRANSACTION_POOLER": True}):
        settings.DBOS = {**settings.DBOS, **off}
        with store.wakeups.watch("a") as watch:
            store.announce(store.session(), Notifications(keys=["a"]))

            # Waits in the same process are notified anyway.
            assert watch.wait(0)
            assert not store.wakeups.is_listening
            assert listeners() == []


def test_a_watch_may_leave_the_source_to_the_others() -> None:
    started: list[bool] = []

    class Counted:
        is_connected = False

        def start(self, wakeups: Wakeups) -> None:
            started.append(True)

        def rest(self, wakeups: Wakeups) -> None:
            """Nothing."""

        stop: Any = None

    wakeups = Wakeups(Counted())

    wakeups.ensure_listening()
    with Watch(wakeups, ("key",), starts_source=False):
        assert started == []
        wakeups.ensure_listening()
        assert started == [True]
    with wakeups.watch("key"):
        assert started == [True, True]


def test_nothing_is_left_without_watches(store: Store) -> None:
    with store.wakeups.watch("a"), store.wakeups.watch("a"):
        eventually(lambda: store.wakeups.is_listening)
        assert len(listeners()) == 1

    assert listeners() == []
    assert not store.wakeups.is_listening
    if IS_POSTGRESQL:
        eventually(lambda: _listening_connections() == 0)


def _listening_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
        )
        (count,) = cursor.fetchone()
    return int(count)


def test_a_watch_that_begins_while_another_ends_has_a_source(store: Store) -> None:
    with store.wakeups.watch("a"):
        eventually(lambda: store.wakeups.is_listening)

        # As if the last watch had just ended, before this one began.
        source: Any = store.wakeups._source
        source.rest(store.wakeups)

        assert store.wakeups.is_listening
        assert len(listeners()) == 1


def test_a_source_that_is_unused_for_long_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "is_testing", lambda: False)
    monkeypatch.setattr(listener, "LINGER", 600.0)
    monkeypatch.setattr(listener, "LISTEN_TIMEOUT", 0.02)
    with store.wakeups.watch("a"):
        eventually(lambda: store.wakeups.is_listening)
        monkeypatch.setattr(listener, "LINGER", 0.1)
        time.sleep(0.2)
        assert store.wakeups.is_listening
        monkeypatch.setattr(listener, "LINGER", 600.0)

    assert listeners()
    monkeypatch.setattr(listener, "LINGER", 0.1)
    eventually(lambda: not listeners())
    with store.wakeups.watch("a"):
        eventually(lambda: store.wakeups.is_listening)
    store.wakeups.stop()


@postgresql
def test_many_open_files_do_not_disturb_the_listener(store: Store) -> None:
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[1], 4096), limit[1]))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    heard = Wakeups(new_listener())
    try:
        with heard.watch("a") as watch:
            watch.wait(LIMIT)
            watch.wait(0.05)
            store.announce(store.session(), Notifications(keys=["a"]))

            assert watch.wait(LIMIT)
            assert not watch.wait(0.3)
            assert heard.is_listening
    finally:
        heard.stop()
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


# Processes and tests


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.rule(35)
def test_a_forked_process_has_its_own_store_and_listener(store: Store) -> None:
    with store.wakeups.watch("result:x:") as watch:
        eventually(lambda: store.wakeups.is_listening)
        watch.wait(0.2)
        receiver, sender = os.pipe()
        with warnings.catch_warnings():
            # Python warns of a fork while there are threads; there is one.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _live_in_a_fork(store, sender)
        assert select.select([receiver], [], [], LIMIT)[0]
        watch.wait(0)

        store.start_workflows([new_workflow(workflow_id="x")])
        store.cancel_workflows(["x"])

        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert watch.wait(LIMIT)
    os.close(receiver)
    os.close(sender)


def _live_in_a_fork(parents: Store, sender: int) -> None:
    code = 1
    try:
        own = get_store()
        with own.wakeups.watch("result:x:") as watch:
            eventually(lambda: own.wakeups.is_listening)
            watch.wait(0.2)
            os.write(sender, b"ready")
            if own is not parents and watch.wait(LIMIT):
                code = 0
    finally:
        os._exit(code)


def test_all_threads_get_the_same_store(transactional_db: None) -> None:
    before = dict(store_module._stores)
    store_module._stores.clear()
    barrier, found = threading.Barrier(8), []  # type: ignore[var-annotated]

    def get() -> None:
        barrier.wait()
        found.append(get_store())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store_module._stores.update(before)

    assert len({id(one) for one in found}) == 1


@pytest.mark.rule(36)
@pytest.mark.rule(40)
def test_in_a_tests_transaction_no_thread_is_started(db: None) -> None:
    with get_store().wakeups.watch("a"):
        assert listeners() == []


@dbos.workflow
async def naps() -> None:
    await dbos.asleep(0.05)


@pytest.mark.rule(36)
@pytest.mark.rule(40)
def test_an_inline_async_workflow_in_a_tests_transaction_starts_no_thread(db: None) -> None:
    source: Any = get_store().wakeups._source
    stopped = source._stopped

    async def call() -> None:
        await naps()

    # Its event loop has its own thread, whose connections aren't in the transaction.
    async_to_sync(call)()

    assert source._stopped is stopped


@pytest.mark.parametrize("name", ["plain", "é" * 9, 'a"b', "a\\b", "a\nb", "\x7f", "😀"])
def test_keys_are_packed_into_payloads_that_the_database_takes(name: str) -> None:
    keys = [f"event:{number}:{name}" for number in range(1_500)]

    payloads = pack_keys(keys)

    assert [key for payload in payloads for key in json.loads(payload)] == keys
    assert max(len(payload.encode()) for payload in payloads) <= MAX_PAYLOAD
    assert min(len(payload.encode()) for payload in payloads[:-1]) > MAX_PAYLOAD - 200
