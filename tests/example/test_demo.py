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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from websockets.sync.client import connect

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
STAGES = ["received", "reserved", "awaiting_payment", "paid", "packed", "booked", "fulfilled"]


class Demo:
    """scripts/demo.py on a free port, and what a visitor does with it."""

    def __init__(self, env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.url = f"http://127.0.0.1:{env['PORT']}"
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "scripts" / "demo.py"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid_file = Path(env["DEMO_DIR"]) / "worker.pid"
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

    def order(self, **fields: Any) -> str:
        order = {"sku": "KETTLE-1", "quantity": 2, **fields}
        response = httpx.post(f"{self.url}/orders/", json=order, timeout=30)
        assert response.status_code in (201, 202), response.text
        return str(response.json()["workflow_id"])

    def pay(self, workflow_id: str) -> None:
        payment = {"workflow_id": workflow_id, "status": "paid"}
        response = httpx.post(f"{self.url}/payments/webhook/", json=payment, timeout=30)
        assert response.status_code == 200, response.text

    def state(self, workflow_id: str) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        response = httpx.get(f"{self.url}/orders/{workflow_id}/", headers=headers, timeout=30)
        return dict(response.json())

    def stock(self) -> int:
        card = httpx.get(self.url).text.split('data-sku="KETTLE-1"')[1]
        found = re.search(r"(\d+) in stock", card)
        assert found is not None
        return int(found[1])

    def follow(self, workflow_id: str, offset: int = 0) -> Any:
        address = self.url.replace("http", "ws")
        query = f"workflow_id={workflow_id}&key=progress&offset={offset}"
        return connect(f"{address}/ws/dbos/streams/?{query}", origin=self.url)

    def kill_worker(self) -> int:
        pid = int(self.pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, number: signal.Signals) -> int:
        """Stop it and everything that it started; the answer is its exit code."""
        children = list_children(self.process.pid)
        assert len(children) >= 2
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        wait_for(lambda: not any(map(is_alive, children)), self)
        return code


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    with demo_database() as database, closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
        probe.close()
        environment = {**os.environ, **database, "DEMO_DIR": str(tmp_path), "PORT": str(port)}
        # Slow enough to be killed between two steps, and no waiting for the payment's address.
        environment |= {"SHOP_STEP_SECONDS": "1", "SHOP_ANSWER_SECONDS": "0"}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        yield environment


@contextmanager
def demo_database() -> Iterator[dict[str, str]]:
    """What to tell the demo, so that it uses the kind of database that these tests run on."""
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
            demo.process.wait(timeout=60)
        demo.reader.join(timeout=10)
        assert demo.process.stdout is not None
        demo.process.stdout.close()
        sys.stdout.write(demo.output)


def wait_for(condition: Callable[[], bool], demo: Demo, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, demo.output
        time.sleep(0.05)


def list_children(pid: int) -> list[int]:
    processes = [row.split() for row in list_processes("pid=,ppid=")]
    return [int(child) for child, parent in processes if int(parent) == pid]


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie, whom nobody has waited for yet, doesn't."""
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
            for text in stream:
                frames.append(json.loads(text))
                stage = frames[-1].get("value", {}).get("stage")
                if stage in ("reserved", "paid"):
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

        with demo.follow(workflow_id, offset=5) as stream:
            again = [json.loads(text) for text in stream]
        assert again == [*frames[5:], {"closed": True}]


def test_ctrl_c_leaves_no_process_behind(environment: dict[str, str]) -> None:
    with running(environment) as demo:
        workflow_id = demo.order()
        with demo.follow(workflow_id) as stream:
            json.loads(stream.recv())

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
        code = second.process.wait(timeout=60)
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
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
