"""The protocol's own clients and real servers, which are killed and started again in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

import django_dbos as dbos
from django_dbos.executor import Executor
from tests.live_http.client import address
from tests.live_http.processes import ClientProcess, Server, install_node_packages
from tests.live_http.workflows import echoes
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.process

StartServer = Callable[..., Server]


@pytest.fixture
def start_server(
    transactional_db: None, process_environment: dict[str, str], tmp_path: Path
) -> Iterator[StartServer]:
    servers: list[Server] = []
    environment = {**process_environment, "DJANGO_SETTINGS_MODULE": "tests.live_http.settings"}

    def start(name: str, **variables: str) -> Server:
        servers.append(Server(name, environment | variables, tmp_path / "server.log"))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module", autouse=True)
def _node_packages() -> None:
    install_node_packages()


@pytest.fixture
def session(transactional_db: None) -> str:
    """Return the session key of a superuser."""
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    return browser.cookies["sessionid"].value


def send(workflow_id: str, values: range) -> list[int]:
    dbos.send_many([{"workflow_id": workflow_id, "message": value} for value in values])
    return list(values)


@pytest.mark.rule(80)
@pytest.mark.parametrize("live", ["sse", "long-poll"])
@pytest.mark.parametrize("language", ["node", "python"])
def test_a_client_of_the_protocol_survives_a_killed_server(
    start_server: StartServer, worker: Executor, session: str, language: str, live: str
) -> None:
    server = start_server("uvicorn")
    handle = echoes.start()
    url = server.url + address("streams", handle.workflow_id, key="s")

    with ClientProcess(language, url, live, session) as client:
        sent = send(handle.workflow_id, range(40))
        found = client.values(40)
        for start in (40, 80):
            server.kill()
            sent += send(handle.workflow_id, range(start, start + 20))
            server.start()
            sent += send(handle.workflow_id, range(start + 20, start + 40))
            found += client.values(40)
        handle.send(None)
        found += client.rest()

    assert found == sent


@pytest.mark.parametrize("name", ["daphne", "hypercorn", "gunicorn"])
def test_every_server_serves_both_ways_of_waiting(
    start_server: StartServer, worker: Executor, session: str, name: str
) -> None:
    server = start_server(name)
    handle = echoes.start()
    url = server.url + address("streams", handle.workflow_id, key="s")
    clients = [ClientProcess("node", url, live, session) for live in ("sse", "long-poll")]

    with clients[0], clients[1]:
        sent = send(handle.workflow_id, range(20))
        found = [client.values(20) for client in clients]
        server.kill()
        server.start()
        sent += send(handle.workflow_id, range(20, 40))
        handle.send(None)
        rests = [client.rest() for client in clients]

    for values, rest in zip(found, rests, strict=True):
        assert values + rest == sent
    assert "Traceback" not in server.output


@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_a_sync_middleware_is_no_hindrance(
    start_server: StartServer, worker: Executor, session: str, live: str
) -> None:
    server = start_server("uvicorn", DBOS_TEST_SYNC_MIDDLEWARE="1")
    handle = echoes.start()
    url = server.url + address("streams", handle.workflow_id, key="s")
    clients = [ClientProcess("node", url, live, session) for _ in range(3)]

    with clients[0], clients[1], clients[2]:
        sent = send(handle.workflow_id, range(5))
        assert [client.values(5) for client in clients] == [sent] * 3
        handle.send(None)
        assert [client.rest() for client in clients] == [[]] * 3


def test_without_listen_a_waiting_reader_looks_by_itself(
    start_server: StartServer, worker: Executor, session: str
) -> None:
    options = json.dumps({"LISTEN": False, "POLL_INTERVAL": 0.1})
    server = start_server("uvicorn", DBOS_TEST_SETTINGS=options)
    handle = echoes.start()
    url = server.url + address("streams", handle.workflow_id, key="s")

    with ClientProcess("node", url, "sse", session) as client:
        for number in range(3):
            handle.send(number)
            assert client.values(1) == [number]
        handle.send(None)
        assert client.rest() == []


def test_readers_that_come_back_all_at_once_each_get_every_value_once(
    start_server: StartServer, worker: Executor, session: str
) -> None:
    server = start_server("uvicorn", DBOS_TEST_SETTINGS=json.dumps({"SOCKETS_PER_USER": None}))
    handle = echoes.start()
    url = server.url + address("streams", handle.workflow_id, key="s", live="long-poll")
    readers: list[list[int]] = [[] for _ in range(50)]

    async def read(client: httpx.AsyncClient, found: list[int]) -> None:
        offset = "-1"
        while True:
            try:
                answer = await client.get(f"{url}&offset={offset}")
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            assert answer.status_code in (200, 204), answer.text
            found += answer.json() if answer.status_code == 200 else []
            offset = answer.headers["Stream-Next-Offset"]
            if "Stream-Closed" in answer.headers:
                return

    async def read_all() -> None:
        headers, limits = {"Cookie": f"sessionid={session}"}, httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=LIMIT) as client:
            await asyncio.gather(*(read(client, found) for found in readers))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(asyncio.run, read_all())
        sent = send(handle.workflow_id, range(5))
        eventually(lambda: all(found == sent for found in readers))
        server.kill()
        sent += send(handle.workflow_id, range(5, 10))
        server.start()
        handle.send(None)
        reading.result(2 * LIMIT)

    assert readers == [sent] * 50


@pytest.mark.parametrize("name", ["uvicorn", "daphne", "hypercorn", "gunicorn"])
def test_an_entry_is_sent_while_the_response_goes_on(
    start_server: StartServer, worker: Executor, session: str, name: str
) -> None:
    server = start_server(name)
    handle = echoes.start()
    path = address("streams", handle.workflow_id, key="s", live="sse", offset="-1")

    with httpx.stream(
        "GET", server.url + path, headers={"Cookie": f"sessionid={session}"}, timeout=LIMIT
    ) as response:
        lines = response.iter_lines()
        for number in range(3):
            handle.send(number)
            assert next(line for line in lines if line.startswith("data:[")) == f"data:[{number}]"
