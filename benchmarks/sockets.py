"""Clients of the websockets: many in one process, which notes when each frame arrives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.systems.system import PATIENCE, BenchmarkError, Worker, module

# Handshakes at a time: a storm of them is another measurement.
AT_ONCE = 50


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def allow_files(count: int) -> None:
    """Raise the limit on open files, of which each socket is one; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count * 2 + 500, hard)), hard))


@contextlib.contextmanager
def server(
    module_name: str = "benchmarks.asgi", environment: dict[str, str] | None = None
) -> Iterator[tuple[Worker, int]]:
    """Run uvicorn for the length of a block; yield it and its port."""
    port = free_port()
    options = f"--host 127.0.0.1 --port {port} --lifespan off --log-level warning"
    command = module(f"uvicorn {module_name}:application {options}")
    worker = Worker([*command, "--ws-per-message-deflate", "false"], environment or {})
    try:
        wait_for_port(port, worker)
        yield worker, port
    finally:
        worker.stop()


def wait_for_port(port: int, worker: Worker) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        worker.check()
        if time.monotonic() > until:
            raise BenchmarkError("The server didn't start.")
        time.sleep(0.05)


class Sockets:
    """Open websockets on streams, served by a thread with a loop of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.delays: list[float] = []
        self.frames = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def open(self, workflow_ids: Sequence[str], users: Sequence[int]) -> None:
        """Open a socket for each, and return once all are open."""
        opening = self._open_all(list(zip(workflow_ids, users, strict=True)))
        asyncio.run_coroutine_threadsafe(opening, self._loop).result(10 * PATIENCE)

    async def _open_all(self, wanted: list[tuple[str, int]]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def open_one(workflow_id: str, user: int) -> None:
            query = urlencode({"workflow_id": workflow_id, "key": "times", "user": user})
            address = f"ws://127.0.0.1:{self.port}/ws/dbos/streams/?{query}"
            async with turns:
                found = await connect(
                    address, compression=None, open_timeout=None, ping_interval=None, proxy=None
                )
            self._tasks.append(asyncio.create_task(self._listen(found)))

        await asyncio.gather(*(open_one(*one) for one in wanted))

    async def _listen(self, websocket: object) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in websocket:  # type: ignore[attr-defined]
                frame = json.loads(text)
                if "value" in frame:
                    self.delays.append(time.time() - frame["value"])
                    self.frames += 1

    def close(self) -> None:
        async def close_all() -> None:
            for task in self._tasks:
                task.cancel()

        asyncio.run_coroutine_threadsafe(close_all(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
