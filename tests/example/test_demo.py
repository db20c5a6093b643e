"""The demo as a visitor runs it: real processes, killed at the worst moments."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from websockets.sync.client import connect

from tests.ports import own_port
from tests.waiting import LIMIT

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
STAGES = [
    "received",
    "reserved",
    "awaiting_payment",
    "paid",
    "packing",
    "packed",
    "booked",
    "fulfilled",
]


class Demo:
    """scripts/demo.py on a free port, and what a visitor does with it."""

    def __init__(self, env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.url = f"http://127.0.0.1:{env['PORT']}"
        # One for all customers: to make one takes longer than a request. Connections aren't kept,
        # as the server may close one just when it is used again.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._http = httpx.Client(base_url=self.url, limits=limits, timeout=LIMIT)
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "scripts" / "demo.py"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid_file = Path(env["DEMO_DIR"]) / f"worker-{env['DB']}.pid"
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_until_open(self) -> None:
        wait_for(lambda: "is open" in self.output or self.process.poll() is not None, self)
        assert self.process.poll() is None, self.output

    def wait_until_works(self, times: int) -> None:
        wait_for(lambda: self.output.count("runs all queues") >= times, self)

    def order(self, sku: str = "KETTLE-1", quantity: int = 2) -> str:
        order = {"sku": sku, "quantity": quantity}
        response = self._http.post("/orders/", json=order)
        assert response.status_code in (201, 202), response.text
        return str(response.json()["workflow_id"])

    def pay(self, workflow_id: str, status: str = "paid") -> None:
        payment = {"workflow_id": workflow_id, "status": status}
        response = self._http.post("/payments/webhook/", json=payment)
        assert response.status_code == 200, response.text

    def state(self, workflow_id: str) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        response = self._http.get(f"/orders/{workflow_id}/", headers=headers)
        return dict(response.json())

    def stock(self, sku: str = "KETTLE-1") -> int:
        card = self._http.get("/").text.split(f'data-sku="{sku}"')[1]
        found = re.search(r"(\d+) in stock", card)
        assert found is not None
        return int(found[1])

    def follow(self, workflow_id: str, offset: int = 0) -> Any:
        address = self.url.replace("http", "ws")
        query = f"workflow_id={workflow_id}&key=progress&offset={offset}"
        return connect(f"{address}/ws/dbos/streams/?{query}", origin=self.url, open_timeout=LIMIT)

    def read_progress(self, workflow_id: str, offset: int = 0) -> list[dict[str, Any]]:
        with self.follow(workflow_id, offset) as stream:
            return list(frames_of(stream))

    def kill_worker(self) -> int:
        pid = int(self.pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, number: signal.Signals) -> int:
        """Stop it and everything that it started; the answer is its exit code."""
        children = list_children(self.process.pid)
        assert len(children) >= 2
        self.process.send_signal(number)
        code = self.process.wait(timeout=LIMIT)
        wait_for(lambda: not any(map(is_alive, children)), self)
        return code


QUICK = {"SHOP_STEP_SECONDS": "0.05", "SHOP_PACKING_SECONDS": "0.05"}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    with demo_database() as database:
        environment = {**os.environ, **database, "DEMO_DIR": str(tmp_path), "PORT": str(own_port())}
        # Slow enough to be killed between two steps, and no waiting for the payment's address.
        environment |= {"SHOP_STEP_SECONDS": "1", "SHOP_PACKING_SECONDS": "1"}
        environment |= {"SHOP_ANSWER_SECONDS": "0"}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        yield environment


@contextmanager
def demo_database() -> Iterator[dict[str, str]]:
    """Yield the environment that selects the database of these tests for the demo."""
    if settings.VENDOR == "sqlite":
        yield {"DB": "sqlite"}
        return
    import psycopg
    from psycopg.conninfo import make_conninfo

    url, name = os.environ["DATABASE_URL"], f"test_dbos_demo_{settings.RUN}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield {"DB": "postgres", "DATABASE_URL": make_conninfo(url, dbname=name)}
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running(environment: dict[str, str]) -> Iterator[Demo]:
    demo = Demo(environment)
    try:
        demo.wait_until_open()
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.terminate()
            demo.process.wait(timeout=LIMIT)
        demo.reader.join(timeout=LIMIT)
        assert demo.process.stdout is not None
        demo.process.stdout.close()
        sys.stdout.write(demo.output)


def frames_of(stream: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """Yield the frames behind the one with the tag."""
    for text in stream:
        frame = json.loads(text)
        if "tag" not in frame:
            yield frame


def wait_for(condition: Callable[[], bool], demo: Demo) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, demo.output
        time.sleep(0.05)


def list_children(pid: int) -> list[int]:
    processes = [row.split() for row in list_processes("pid=,ppid=")]
    return [int(child) for child, parent in processes if int(parent) == pid]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie, not yet waited for, doesn't."""
    processes = [row.split() for row in list_processes("pid=,stat=")]
    return any(int(other) == pid and not state.startswith("Z") for other, state in processes)


def list_processes(columns: str) -> list[str]:
    command = ["ps", "-A", "-o", columns]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_an_order_outlives_its_workers(environment: dict[str, str]) -> None:
    with running(environment) as demo:
        workflow_id = demo.order()
        frames: list[dict[str, Any]] = []
        killed: list[int] = []
        with demo.follow(workflow_id) as stream:
            for frame in frames_of(stream):
                frames.append(frame)
                stage = frame.get("value", {}).get("stage")
                if stage in ("reserved", "packing"):
                    killed.append(demo.kill_worker())
                if stage == "awaiting_payment":
                    demo.pay(workflow_id)
            assert stream.close_code == 1000

        assert frames.pop() == {"closed": True}
        assert [frame["offset"] for frame in frames] == list(range(len(STAGES)))
        assert [frame["value"]["stage"] for frame in frames] == STAGES
        assert len(set(killed)) == 2
        assert frames[-1]["value"]["worker"] not in killed
        assert demo.state(workflow_id)["result"]["status"] == "fulfilled"
        assert demo.stock() == 118

        assert demo.read_progress(workflow_id, offset=5) == [*frames[5:], {"closed": True}]


def test_two_hundred_orders_outlive_ten_killed_workers(environment: dict[str, str]) -> None:
    """Every tenth payment fails; nothing may be lost, doubled or miscounted."""
    with running(environment | QUICK) as demo:
        with ThreadPoolExecutor(200) as customers:
            placed = [customers.submit(demo.order, "MUG-BLUE", 1) for _ in range(200)]
            orders = [order.result() for order in placed]
            fates = {order: "failed" if n % 10 == 0 else "paid" for n, order in enumerate(orders)}
            paid = [customers.submit(demo.pay, *fate) for fate in fates.items()]
            kill_workers(demo, times=10)
            assert [payment.result() for payment in paid] == [None] * 200

        for order in orders:
            wait_for(partial(has_ended, demo, order), demo)
        results = [demo.state(order)["result"] for order in orders]
        assert [result["status"] for result in results].count("fulfilled") == 180
        assert demo.stock("MUG-BLUE") == 400 - 180
        for order, fate in fates.items():
            *entries, end = demo.read_progress(order)
            stages = STAGES if fate == "paid" else [*STAGES[:3], "cancelled"]
            assert [entry["offset"] for entry in entries] == list(range(len(stages)))
            assert [entry["value"]["stage"] for entry in entries] == stages
            assert end == {"closed": True}


def kill_workers(demo: Demo, times: int) -> None:
    """Kill workers at different moments of their lives, from their start to a second later."""
    last = 0
    for number in range(times):
        wait_for(partial(has_other_worker, demo, last), demo)
        demo.wait_until_works(times=number + 1)
        time.sleep(number / times)
        last = demo.kill_worker()


def has_other_worker(demo: Demo, pid: int) -> bool:
    return demo.pid_file.read_text() not in ("", f"{pid}\n")


def has_ended(demo: Demo, order: str) -> bool:
    return bool(demo.state(order)["status"] == "SUCCESS")


def test_ctrl_c_leaves_no_process_behind(environment: dict[str, str]) -> None:
    with running(environment) as demo:
        workflow_id = demo.order()
        with demo.follow(workflow_id) as stream:
            next(frames_of(stream))

            code = demo.stop(signal.SIGINT)

        assert code == 0
        assert "Traceback" not in demo.output
        assert not demo.pid_file.exists()


def test_a_killed_demo_leaves_no_process_and_is_taken_up_again(
    environment: dict[str, str],
) -> None:
    with running(environment) as demo:
        workflow_id = demo.order()

        demo.stop(signal.SIGKILL)

    with running(environment) as demo:
        demo.pay(workflow_id)
        wait_for(lambda: demo.state(workflow_id)["status"] == "SUCCESS", demo)

        assert demo.state(workflow_id)["result"]["status"] == "fulfilled"
        assert demo.stock() == 118


def test_a_second_demo_is_refused(environment: dict[str, str]) -> None:
    with running(environment) as demo:
        second = Demo(environment)
        code = second.process.wait(timeout=LIMIT)
        second.reader.join()
        assert second.process.stdout is not None
        second.process.stdout.close()

        assert code == 1
        assert f"running already: process {demo.process.pid}" in second.output


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PORT": "http"}, "PORT must be a number from 1 to 65535, not 'http'."),
        ({"PORT": "65536"}, "PORT must be a number"),
        ({"DB": "oracle"}, "DB must be 'sqlite' or 'postgres', not 'oracle'."),
    ],
)
def test_a_wrong_choice_is_explained(
    environment: dict[str, str], variables: dict[str, str], message: str
) -> None:
    demo = run_to_its_end(environment | variables)

    assert demo.returncode == 1
    assert demo.stdout.startswith(f"demo: {message}")


def test_a_port_in_use_is_explained(environment: dict[str, str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        demo = run_to_its_end(environment | {"PORT": str(port)})

    assert demo.returncode == 1
    assert (
        demo.stdout == f"demo: Port {port} is in use. Take another one: make demo PORT={port + 1}\n"
    )


def run_to_its_end(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "demo.py"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
