"""The examples of the guide run: psql's, and Node's and Go's where these are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

import django_dbos as dbos
from tests.elsewhere.calling import on_postgresql, run_on
from tests.waiting import LIMIT

pytestmark = [on_postgresql, pytest.mark.django_db(transaction=True)]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "elsewhere.md"
PSQL = ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
ROLE = f"till_{os.getpid()}"
# The guide's own workflow has the name of the guide.
NAME = "till.checkout"
# Where Debian's packages of Go have their sources.
GO_PATH = "/usr/share/gocode"


@dbos.workflow(name=NAME)
def checkout(order_id: int) -> dict[str, Any]:
    payment = dbos.recv("payment")
    return {"order": order_id, "paid": payment["amount"]}


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    named = [re.sub("shop.checkout", NAME, block) for block in found]
    # The role, but not the function.
    return [re.sub(r"\btill\b(?!\.)", ROLE, block) for block in named]


@pytest.fixture
def client(transactional_db: None) -> Iterator[dict[str, str]]:
    """Make the role of the guide; yield the environment of a client that has it."""
    grants = blocks("sql")[0]
    run_on(connection, grants)
    values = connection.get_connection_params()
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    environment = {names[key]: str(values[key]) for key in names if values.get(key)}
    environment |= {"PGDATABASE": str(values["dbname"]), "PGSSLMODE": "disable"}
    yield {**os.environ, **environment, "PGOPTIONS": f"-c role={ROLE}"}
    run_on(connection, f"DROP OWNED BY {ROLE}")
    run_on(connection, f"DROP ROLE {ROLE}")


def run(command: list[str], environment: dict[str, str], text: str | None = None) -> str:
    done = subprocess.run(
        command,
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql isn't installed.")
@pytest.mark.usefixtures("worker")
def test_psql(client: dict[str, str]) -> None:
    (_, calls, _) = blocks("sql")

    output = run(PSQL, client, calls)

    assert output.startswith("order-17\n")
    assert f'"name" : "{NAME}"' in output
    handle = dbos.retrieve_workflow("order-17")
    assert handle.get_result(timeout=LIMIT) == {"order": 17, "paid": 25}
    assert handle.describe().attributes == {"source": ROLE}


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql isn't installed.")
def test_duplicates_and_bursts(client: dict[str, str]) -> None:
    (_, _, starts) = blocks("sql")

    first, first_burst = run(PSQL, client, starts).split()
    second, second_burst = run(PSQL, client, starts).split()

    assert first_burst == second_burst
    ids = (first, second, first_burst)
    rows = [dbos.retrieve_workflow(one).get_status() for one in ids]
    assert rows == ["CANCELLED", "ENQUEUED", "DELAYED"]


@pytest.mark.usefixtures("worker")
def test_node(client: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("node") is None or (packages := node_packages()) is None:
        pytest.skip("Node, or its package pg, isn't installed.")
    (code,) = blocks("javascript")
    program = tmp_path / "client.js"
    program.write_text(code)

    output = run(["node", str(program)], {**client, "NODE_PATH": packages})

    assert output == "SUCCESS 30\n"


@cache
def node_packages() -> str | None:
    """Return the folder of Node's packages if pg is there."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    done = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
    folder = done.stdout.strip()
    return folder if folder and (Path(folder) / "pg").is_dir() else None


@pytest.mark.usefixtures("worker")
def test_go(client: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("go") is None or not Path(GO_PATH, "src/github.com/lib/pq").is_dir():
        pytest.skip("Go, or its package pq, isn't installed.")
    (code,) = blocks("go")
    program = tmp_path / "client.go"
    program.write_text(code)
    environment = {**client, "GO111MODULE": "off", "GOPATH": GO_PATH}
    environment |= {"GOCACHE": str(tmp_path / "cache"), "GOFLAGS": "-p=1"}

    output = run(["go", "run", str(program)], environment)

    assert output == 'SUCCESS {"order":19,"paid":35}\n'
