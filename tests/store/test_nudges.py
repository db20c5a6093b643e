"""How processes that share an SQLite file have each other look at it."""

from __future__ import annotations

import contextlib
import select
import socket
from pathlib import Path

import pytest

from django_dbos.store.nudges import Nudges, drain


def nudges(folder: Path, name: str = "db.sqlite3") -> Nudges:
    return Nudges(lambda: str(folder / name))


def is_nudged(receiver: socket.socket | None) -> bool:
    assert receiver is not None
    return bool(select.select([receiver], [], [], 0)[0])


def test_a_nudge_reaches_all_other_processes(tmp_path: Path) -> None:
    sender, others = nudges(tmp_path), [nudges(tmp_path), nudges(tmp_path)]
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(sender.received())
        receivers = [stack.enter_context(one.received()) for one in others]

        sender.send()

        assert [is_nudged(one) for one in receivers] == [True, True]
        assert not is_nudged(own)


def test_many_nudges_are_one_look(tmp_path: Path) -> None:
    sender = nudges(tmp_path)
    with nudges(tmp_path).received() as receiver:
        # Whoever doesn't look for a while holds up nobody.
        for _ in range(2_000):
            sender.send()
        assert is_nudged(receiver)
        assert receiver is not None
        drain(receiver)

        assert not is_nudged(receiver)


def test_a_nudge_of_another_database_reaches_nobody(tmp_path: Path) -> None:
    with nudges(tmp_path).received() as receiver:
        nudges(tmp_path, "other.sqlite3").send()

        assert not is_nudged(receiver)


def test_sockets_of_killed_processes_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "db.sqlite3-dbos-listeners"
    with nudges(tmp_path).received() as receiver:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
            killed.bind(str(folder / "killed.sock"))
        nudges(tmp_path).send()

        assert is_nudged(receiver)
        assert len(list(folder.iterdir())) == 1
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
            killed.bind(str(folder / "killed.sock"))
    # The last one takes the folder away, whatever others left in it.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["d" * 100, ":memory:", "missing/db.sqlite3"])
def test_where_there_can_be_no_socket_there_are_no_nudges(tmp_path: Path, name: str) -> None:
    with nudges(tmp_path, name).received() as receiver:
        nudges(tmp_path, name).send()

        assert receiver is None
