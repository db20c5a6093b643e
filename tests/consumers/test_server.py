"""The websockets behind a real server that is killed, restarted and stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import django_dbos as dbos
from django_dbos.consumers.base import INTERNAL_ERROR, NORMAL, REFUSALS, TOO_BIG
from django_dbos.executor import Executor
from tests.consumers.servers import SERVERS, Server, log_in, next_frame, read_all
from tests.waiting import LIMIT

pytestmark = pytest.mark.process


@dbos.workflow
def counts(last: int) -> None:
    for number in range(last):
        dbos.write_stream("s", number)
        time.sleep(0.005)
    dbos.close_stream("s")


@dbos.workflow
def echoes() -> None:
    while (value := dbos.recv(timeout=None)) is not None:
        dbos.write_stream("s", value)


def code_of(websocket: ClientConnection) -> int | None:
    with websocket, pytest.raises(ConnectionClosed) as caught:
        read_all(websocket)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


@pytest.mark.parametrize("name", SERVERS)
def test_a_client_survives_a_killed_server(
    start_server: Callable[..., Server], worker: Executor, viewer: str, name: str
) -> None:
    server = start_server(name)
    query = {"workflow_id": counts.start(300).workflow_id, "key": "s", "cookie": viewer}

    found: list[Any] = []
    for _ in range(2):
        with server.open("streams", **query, offset=len(found)) as websocket:
            found += [next_frame(websocket) for _ in range(50)]
            server.stop(signal.SIGKILL)
            server.start()
    found += server.read_to_the_end(**query, offset=len(found))

    assert found == [*({"offset": n, "value": n} for n in range(300)), {"closed": True}]


def test_a_stopped_server_closes_its_sockets_without_errors(
    start_server: Callable[..., Server], viewer: str
) -> None:
    server = start_server()
    workflow_id = echoes.start().workflow_id
    websockets = [
        server.open(kind, cookie=viewer, workflow_id=workflow_id, key="s")
        for kind in ("streams", "events")
        for _ in range(5)
    ]

    code, output = server.stop(signal.SIGTERM)

    # Code 1012: service restart.
    assert {code_of(websocket) for websocket in websockets} == {1012}
    assert code in (0, -signal.SIGTERM)
    for complaint in ("Traceback", "Warning", "destroyed", "never", "ERROR"):
        assert complaint not in output, output


def test_the_session_authenticates_the_user(
    start_server: Callable[..., Server], worker: Executor
) -> None:
    owner, other = (User.objects.create_user(name) for name in ("owner", "other"))
    workflow_id = counts.using(user=owner).start(1).workflow_id
    server = start_server()

    codes = [
        code_of(server.open("events", cookie=cookie, workflow_id=asked))
        for cookie in (log_in(owner), log_in(other), "")
        for asked in (workflow_id, "unknown")
    ]

    assert codes == [1000, 4403, 4403, 4403, 4401, 4401]


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_closes_a_socket_with_our_codes(
    start_server: Callable[..., Server], viewer: str, name: str
) -> None:
    server = start_server(name)
    workflow_id = echoes.start().workflow_id

    with server.open("streams", cookie=viewer, workflow_id=workflow_id, key="s") as websocket:
        websocket.send("x" * 5_000)
        with pytest.raises(ConnectionClosed) as caught:
            read_all(websocket)

    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == TOO_BIG
    # Daphne's library refuses the others, and keeps the socket open.
    assert all(
        code == NORMAL or 3_000 <= code < 5_000 for code in (*REFUSALS.values(), INTERNAL_ERROR)
    )


def test_a_page_of_another_site_gets_no_socket(start_server: Callable[..., Server]) -> None:
    server = start_server()
    address = f"ws://127.0.0.1:{server.port}/ws/dbos/events/?workflow_id=x"

    with pytest.raises(InvalidStatus) as caught:
        connect(address, origin="https://evil.example", open_timeout=LIMIT)

    assert caught.value.response.status_code == 403


@pytest.mark.skipif(
    not settings.REDIS_URL or connection.vendor != "postgresql",
    reason="needs a channel layer, and a database that is only watched through LISTEN",
)
def test_notifications_alone_deliver_the_writes_of_another_process(
    start_server: Callable[..., Server], worker: Executor, viewer: str
) -> None:
    server = start_server(LISTEN=False, POLL_INTERVAL=60)
    handle = echoes.start()

    with server.open("streams", cookie=viewer, workflow_id=handle.workflow_id, key="s") as stream:
        for number in range(5):
            handle.send(number)
            assert next_frame(stream) == {"offset": number, "value": number}
        handle.send(None)
        assert next_frame(stream) == {"closed": True}


@pytest.mark.skipif(find_spec("channels_redis") is None, reason="channels-redis isn't installed")
def test_sockets_work_without_a_layer_that_is_down(
    start_server: Callable[..., Server],
    worker: Executor,
    viewer: str,
    process_environment: dict[str, str],
) -> None:
    process_environment["REDIS_URL"] = "redis://127.0.0.1:1"
    server = start_server(LISTEN=False, POLL_INTERVAL=0.1)
    handle = echoes.start()

    with server.open("streams", cookie=viewer, workflow_id=handle.workflow_id, key="s") as stream:
        for number in range(3):
            handle.send(number)
            assert next_frame(stream) == {"offset": number, "value": number}
    _, output = server.stop(signal.SIGTERM)

    assert output.count("The channel layer delivers no notifications") == 1
    assert "Traceback" not in output
