"""Many sockets on a real server: one connection for all, slow readers, a return after a kill."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import StreamEntry
from tests.consumers.servers import SERVERS, Server
from tests.live.workflows import entries
from tests.waiting import LIMIT, aeventually, eventually

pytestmark = pytest.mark.process


@dbos.workflow
def writes(count: int) -> None:
    for number in range(count):
        dbos.write_stream("s", number)
    dbos.close_stream("s")


@dbos.workflow
def writes_on(first: int, count: int) -> None:
    """Write some values, and the others while their readers return."""
    for number in range(count):
        if number == first:
            dbos.recv("go", timeout=None)
        dbos.write_stream("s", number)
        time.sleep(0.02)
    dbos.close_stream("s")


@dbos.workflow
def waits() -> None:
    dbos.recv(timeout=None)


# --- Connections to the database ----------------------------------------------------------


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connections to count")
def test_one_connection_listens_for_all_sockets_of_a_process(
    start_server: Callable[..., Server], worker: Executor, viewer: str
) -> None:
    ids = [waits.start().workflow_id, *(writes.start(1).workflow_id for _ in range(5))]
    server = start_server()

    with ExitStack() as stack:
        sockets = [
            stack.enter_context(server.open(kind, cookie=viewer, workflow_id=one, key="s"))
            for one in ids
            for kind in ("streams", "events")
            for _ in range(5)
        ]
        # Of those whose workflow has ended, all frames have come.
        for websocket in sockets[10:]:
            list(websocket)
        eventually(lambda: listening(server) == 1)
        # The thread that reads for all of them has another one, and that of the logins a third.
        assert count_connections(server) <= 3


def listening(server: Server) -> int:
    return count_connections(server, "AND query LIKE 'LISTEN %%'")


def count_connections(server: Server, condition: str = "") -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM pg_stat_activity WHERE application_name = %s {condition}",
            [server.connections_name],
        )
        return int(cursor.fetchone()[0])


# --- Slow readers -------------------------------------------------------------------------

# The entries of a stream that fits into no buffer: about 60 MB.
LARGE, SIZE = 1_200, 50_000
# What a process may grow by: some pages of a megabyte, as text, as frames, and in the socket.
GROWTH = 30_000_000


class StoppedReader:
    """A client that has asked for a stream, and reads when it is told to."""

    def __init__(self, server: Server, cookie: str, **query: Any) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), LIMIT)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self._protocol = ClientProtocol(parse_uri(server.address("streams", **query)))
        request = self._protocol.connect()
        request.headers["Cookie"] = f"sessionid={cookie}"
        self._protocol.send_request(request)
        self._send()

    def read(self) -> Iterator[Any]:
        """Yield the frames up to the last one, or to the end of the connection."""
        while data := self._receive():
            self._protocol.receive_data(data)
            self._send()
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    frame = json.loads(event.data)
                    if "tag" in frame:
                        continue
                    yield frame
                    if "closed" in frame:
                        return

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1_000_000)
        except ConnectionResetError:
            return b""

    def _send(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def stopped_reader(server: Server, cookie: str, **query: Any) -> Iterator[StoppedReader]:
    reader = StoppedReader(server, cookie, **query)
    try:
        yield reader
    finally:
        reader.close()


def memory(server: Server) -> int:
    """Return the resident bytes of a server's processes."""
    pages = 0
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
        except (OSError, ValueError):
            continue
        # The process group, and the resident pages.
        if int(fields[2]) == server.process.pid:
            pages += int(fields[21])
    return pages * 4_096


@pytest.mark.parametrize("name", SERVERS)
def test_a_reader_that_stops_reading_delays_nobody_and_goes_on_later(
    start_server: Callable[..., Server], viewer: str, name: str
) -> None:
    workflow_id = waits.start().workflow_id
    rows = entries(workflow_id, [f'"{"x" * SIZE}"'] * LARGE, 0, "s")
    QuerySet(StreamEntry).bulk_create(rows)
    QuerySet(StreamEntry).bulk_create(ended(workflow_id, LARGE))
    server = start_server(name)
    query = {"workflow_id": workflow_id, "key": "s"}

    def rest(offset: int) -> list[int | None]:
        frames = server.read_to_the_end(cookie=viewer, **query, offset=offset)
        return [frame.get("offset") for frame in frames]

    assert rest(LARGE) == [None]
    before = memory(server)

    with stopped_reader(server, viewer, **query) as stopped:
        offsets = rest(0)
        grown = memory(server) - before
        found = [frame.get("offset") for frame in stopped.read()]
    if found[-1:] != [None]:
        # Daphne has cut it off.
        assert name == "daphne"
        found += rest(len(found))

    assert offsets == [*range(LARGE), None]
    assert found == offsets
    if name != "daphne":
        # Daphne takes all frames into its memory: no application can know that they wait there.
        assert grown < GROWTH


def ended(workflow_id: str, offset: int) -> list[StreamEntry]:
    (row,) = entries(workflow_id, [""], offset, "s")
    row.value_text, row.is_end = None, True
    return [row]


# --- A storm of readers that return ---------------------------------------------------------

READERS, WORKFLOWS = 240, 8
# The values before the kill, and all of them.
FIRST, VALUES = 20, 120
# Seconds of the first pause before a reader returns, which is random: half of it to three halves.
PAUSE = 0.5


class ReturningReader:
    """A reader that returns after each failure, as the pages' script does, from where it was."""

    def __init__(self, server: Server, cookie: str, workflow_id: str) -> None:
        self._server = server
        self._headers = {"Cookie": f"sessionid={cookie}"}
        self._workflow_id = workflow_id
        self.values: list[int] = []
        self.returns = 0

    async def read_all(self) -> None:
        while not await self._read():
            self.returns += 1
            await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))

    async def _read(self) -> bool:
        """Read until the connection ends; return whether the stream has."""
        offset = len(self.values)
        query = {"workflow_id": self._workflow_id, "key": "s", "offset": offset}
        address = self._server.address("streams", **query)
        try:
            async with connect(
                address, additional_headers=self._headers, open_timeout=LIMIT
            ) as websocket:
                async for text in websocket:
                    frame = json.loads(text)
                    if "closed" in frame:
                        return True
                    if "tag" in frame:
                        continue
                    assert frame["offset"] == len(self.values), "lost or doubled"
                    self.values.append(frame["value"])
        except (OSError, ConnectionClosed, InvalidMessage):
            pass
        return False


def test_all_readers_of_a_killed_server_return_and_miss_nothing(
    start_server: Callable[..., Server], worker: Executor, viewer: str
) -> None:
    server = start_server(SOCKETS_PER_USER=None)
    handles = [writes_on.start(FIRST, VALUES) for _ in range(WORKFLOWS)]
    ids = [handle.workflow_id for handle in handles]
    readers = [ReturningReader(server, viewer, ids[n % WORKFLOWS]) for n in range(READERS)]

    async def kill_once_all_read() -> None:
        await aeventually(lambda: all(reader.values for reader in readers))
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        for handle in handles:
            await handle.asend(None, topic="go")
        await asyncio.to_thread(server.start)

    async def read_all() -> None:
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(kill_once_all_read())
            for reader in readers:
                group.create_task(reader.read_all())

    asyncio.run(read_all())

    assert all(reader.values == [*range(VALUES)] for reader in readers)
    assert all(reader.returns for reader in readers)
