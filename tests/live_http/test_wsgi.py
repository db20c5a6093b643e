"""The same views behind a WSGI server: threads wait, a few of them, and others are told to come."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from django_dbos.executor import Executor
from django_dbos.live import waiting
from django_dbos.live.waiting import Threads
from tests.live_http.client import address
from tests.live_http.workflows import counts, echoes, sets
from tests.waiting import LIMIT, eventually


@pytest.fixture
def client(transactional_db: None) -> Client:
    """Return a client whose user may read everything, of a server with threads."""
    client = Client(**{"wsgi.multithread": True})  # type: ignore[arg-type]
    client.force_login(User.objects.create_superuser("root"))
    return client


def get(client: Client, path: str) -> Any:
    """Make a request on a thread that ends, without a server that closes its connections."""
    try:
        return client.get(path)
    finally:
        connections.close_all()


def values_of(body: Any) -> list[Any]:
    """Return the values in the server-sent events of a response, up to its end."""
    text = b"".join(body.streaming_content).decode()
    blocks = [block for block in text.split("\n\n") if block.startswith("event: data")]
    lines = [line for block in blocks for line in block.split("\n")]
    return [
        value
        for line in lines
        if line.startswith("data:")
        for value in json.loads(line.removeprefix("data:"))
    ]


def test_a_stream_and_events_are_read(client: Client, worker: Executor) -> None:
    handle = counts.start(3)
    handle.get_result(timeout=LIMIT)

    stream = client.get(address("streams", handle.workflow_id, key="s"))
    events = client.get(address("events", handle.workflow_id))
    head = client.head(address("streams", handle.workflow_id, key="s"))

    assert stream.json() == [0, 1, 2]
    assert events.json() == [{"key": "done", "value": 3, "version": 1}]
    assert head["Stream-Closed"] == "true"


def test_a_long_poll_waits_in_its_thread(client: Client, worker: Executor) -> None:
    handle = echoes.start()
    query = {"key": "s", "live": "long-poll"}

    with ThreadPoolExecutor(1) as pool:
        for number in range(3):
            path = address("streams", handle.workflow_id, **query, offset=number)
            polling = pool.submit(get, client, path)
            handle.send(number)
            assert polling.result(LIMIT).json() == [number]
        polling = pool.submit(
            get, client, address("streams", handle.workflow_id, **query, offset=3)
        )
        handle.send(None)
        assert polling.result(LIMIT).status_code == 204


def test_events_of_a_server_follow_a_stream(
    client: Client, worker: Executor, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "LONG_POLL": LIMIT}
    handle = sets.start({"a": 1})
    path = address("events", handle.workflow_id, key="a", live="sse", offset="-1")

    def read() -> list[Any]:
        try:
            return values_of(client.get(path))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        handle.send({"a": 2})
        handle.send(None)
        found = reading.result(LIMIT)

    # Changes in quick succession may be merged.
    assert found[-1] == {"key": "a", "value": 2, "version": 2}


def test_without_a_free_thread_nobody_waits(
    client: Client, worker: Executor, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "WAITING_THREADS": 1, "LONG_POLL": LIMIT}
    handle = echoes.start()
    handle.send("one")
    path = address("streams", handle.workflow_id, key="s", live="long-poll")
    eventually(lambda: client.get(address("streams", handle.workflow_id, key="s")).json())

    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(get, client, f"{path}&offset=1")
        eventually(lambda: waiting.threads.waiting)
        refused = client.get(f"{path}&offset=1")
        news = client.get(f"{path}&offset=0")
        handle.send("two")

        assert polling.result(LIMIT).json() == ["two"]
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    # What there is comes at once.
    assert news.json() == ["one"]
    # The thread is free again.
    assert client.get(f"{path}&offset=1").json() == ["two"]


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_server_with_one_thread_never_waits(
    client: Client, worker: Executor, settings: Any, live: str
) -> None:
    settings.DBOS = {**settings.DBOS, "LONG_POLL": 3600}
    handle = echoes.start()
    path = address("streams", handle.workflow_id, key="s", live=live, offset="-1")

    response = client.get(path, **{"wsgi.multithread": False})  # type: ignore[arg-type]

    if live == "sse":
        assert values_of(response) == []
    else:
        assert response.status_code == 429


def test_an_abandoned_response_frees_its_thread(client: Client, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "WAITING_THREADS": 1, "LONG_POLL": 3600}
    path = address("streams", echoes.start().workflow_id, key="s", live="sse", offset="-1")

    for _ in range(2):
        response = client.get(path)
        body = iter(response.streaming_content)
        assert next(body).startswith(b"event: control")
        assert waiting.threads.waiting == 1
        # As a server does whose write has failed.
        response.close()
        assert waiting.threads.waiting == 0


def test_the_count_of_waiting_threads_is_exact(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "WAITING_THREADS": 3}
    threads = Threads()
    most = 0
    lock, now = threading.Lock(), 0

    def wait_often() -> None:
        nonlocal most, now
        for _ in range(200):
            with threads.one_more(True) as may_wait:
                if may_wait:
                    with lock:
                        now += 1
                        most = max(most, now)
                    with lock:
                        now -= 1

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(wait_often) for _ in range(8)]:
            done.result(LIMIT)

    assert 0 < most <= 3
    with threads.one_more(True) as may_wait:
        assert may_wait
