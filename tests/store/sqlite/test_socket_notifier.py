"""Notifications between processes that share an SQLite file."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from django_dbos.store.sqlite.file_locks import FileLocks
from django_dbos.store.sqlite.socket_notifier import SocketNotifier, drain


def notifier(folder: Path, name: str = "db.sqlite3") -> SocketNotifier:
    return SocketNotifier(lambda: str(folder / name))


def is_notified(receiver: socket.socket | None) -> bool:
    assert receiver is not None
    return bool(select.select([receiver], [], [], 0)[0])


def test_a_notification_reaches_all_other_processes(tmp_path: Path) -> None:
    sender, others = notifier(tmp_path), [notifier(tmp_path), notifier(tmp_path)]
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(sender.received())
        receivers = [stack.enter_context(other.received()) for other in others]

        sender.send()

        assert [is_notified(receiver) for receiver in receivers] == [True, True]
        assert not is_notified(own)


def test_many_notifications_are_drained_at_once(tmp_path: Path) -> None:
    sender = notifier(tmp_path)
    with notifier(tmp_path).received() as receiver:
        # A receiver that pauses doesn't delay senders.
        for _ in range(2_000):
            sender.send()
        assert is_notified(receiver)
        assert receiver is not None
        drain(receiver)

        assert not is_notified(receiver)


def test_a_notification_of_another_database_is_not_received(tmp_path: Path) -> None:
    with notifier(tmp_path).received() as receiver:
        notifier(tmp_path, "other.sqlite3").send()

        assert not is_notified(receiver)


def test_sockets_of_killed_processes_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "db.sqlite3-dbos-listeners"
    with notifier(tmp_path).received() as receiver:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
            killed.bind(str(folder / "0dead000.sock"))
        notifier(tmp_path).send()

        assert is_notified(receiver)
        assert len(list(folder.iterdir())) == 1
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
            killed.bind(str(folder / "0dead000.sock"))
    # The last process removes the folder with all remaining files.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [":memory:", "missing/db.sqlite3"])
def test_without_sockets_there_are_no_notifications(tmp_path: Path, name: str) -> None:
    with notifier(tmp_path, name).received() as receiver:
        notifier(tmp_path, name).send()

        assert receiver is None


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Create a private folder with files whose names don't protect them."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for name in ("thesis.txt", "a.key", "0dead000.sock"):
        (private / name).write_text("precious")
    return private


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path, private: Path) -> None:
    link = tmp_path / "db.sqlite3-dbos-listeners"
    link.symlink_to(private)
    before = contents(private)

    notifier(tmp_path).send()
    with notifier(tmp_path).received() as receiver:
        assert receiver is None

    assert contents(private) == before
    assert link.is_symlink()


def test_only_sockets_of_killed_processes_are_removed(tmp_path: Path, private: Path) -> None:
    folder = tmp_path / "db.sqlite3-dbos-listeners"
    with notifier(tmp_path).received():
        (folder / "thesis.txt").write_text("precious")
        (folder / "0dead001.sock").write_text("precious")
        (folder / "0dead002.sock").symlink_to(private / "thesis.txt")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(folder / "postgres.sock"))
        notifier(tmp_path).send()
    left = {"thesis.txt", "0dead001.sock", "0dead002.sock", "postgres.sock"}

    assert contents(folder) == left
    assert (private / "thesis.txt").read_text() == "precious"


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "db.sqlite3-dbos-listeners"
    folder.mkdir()
    folder.chmod(0o777)

    with notifier(tmp_path).received() as receiver:
        assert receiver is None
    assert folder.is_dir()


def test_a_link_in_place_of_a_socket_keeps_the_mode_of_its_target(
    tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = private / "thesis.txt"
    secret.chmod(0o600)
    folder = tmp_path / "db.sqlite3-dbos-listeners"
    chmod, put = os.chmod, []

    def raced(path: Any, mode: int, **options: Any) -> None:
        # After the creation of the socket and before the change of its mode.
        (folder / path).unlink()
        (folder / path).symlink_to(secret)
        put.append(path)
        chmod(path, mode, **options)

    monkeypatch.setattr(os, "chmod", raced)
    with notifier(tmp_path).received():
        pass

    assert put
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o770, 0o777])
def test_only_the_group_of_the_databases_folder_may_notify(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with notifier(tmp_path).received():
        folder = tmp_path / "db.sqlite3-dbos-listeners"

        assert stat.S_IMODE(folder.stat().st_mode) == mode & 0o770
    tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="paths are limited elsewhere")
def test_the_length_of_the_databases_path_does_not_matter(tmp_path: Path) -> None:
    name = "d" * 150
    with notifier(tmp_path, name).received() as receiver:
        notifier(tmp_path, name).send()

        assert is_notified(receiver)


def test_a_lock_does_not_follow_a_link(tmp_path: Path, private: Path) -> None:
    locks = FileLocks(lambda: str(tmp_path / "db.sqlite3"))
    assert locks.hold("one")
    (path,) = tmp_path.glob("*.lock")
    locks.release("one")
    path.symlink_to(private / "a.key")

    assert not locks.hold("one")
    assert not locks.is_free("one")
    path.unlink()
    path.symlink_to(private / "new")
    assert not locks.hold("one")
    assert not (private / "new").exists()
