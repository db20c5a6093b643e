"""Workers that start during a database outage."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection

from tests.executor import workflows
from tests.process.conftest import Worker
from tests.store.proxies import Proxy, of_server
from tests.waiting import LIMIT

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.process,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's file is there"),
]

Start = Callable[..., Worker]


@pytest.fixture
def refusing() -> Iterator[Proxy]:
    """Start a proxy to a server that isn't up yet."""
    proxy = of_server()
    proxy.refuses.set()
    yield proxy
    proxy.close()


def url_by(proxy: Proxy) -> str:
    url = urlsplit(os.environ["DATABASE_URL"])
    user = url.netloc.rpartition("@")[0]
    netloc = f"{user}@127.0.0.1:{proxy.port}" if user else f"127.0.0.1:{proxy.port}"
    return urlunsplit(url._replace(netloc=netloc))


@pytest.mark.rule(45)
@pytest.mark.parametrize("arguments", [(), ("--once",), ("--processes", "2")])
def test_a_worker_that_starts_without_its_database_waits_for_it(
    start_worker: Start, refusing: Proxy, arguments: tuple[str, ...]
) -> None:
    handle = workflows.counts.start(3)
    worker = start_worker(*arguments, wait=False, DATABASE_URL=url_by(refusing))
    worker.wait_for("The database is unavailable, waiting for it")
    assert not worker.has_ended

    refusing.refuses.clear()

    assert handle.get_result(timeout=LIMIT) == 3
    assert "Traceback" not in worker.output
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.rule(37)
def test_a_worker_that_waits_for_its_database_can_be_stopped(
    start_worker: Start, refusing: Proxy
) -> None:
    worker = start_worker(wait=False, DATABASE_URL=url_by(refusing))
    worker.wait_for("The database is unavailable, waiting for it")

    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    assert "Traceback" not in worker.output
