"""How processes on one machine say "look at the file": datagrams to sockets beside the database.

Only to be quick. Who isn't reached, for want of rights, of sockets or of room in a path, sees by
the file's version that it has changed, a little later.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from django_dbos.store.file_locks import file_path


class Nudges:
    """A folder with a socket for each process that listens; it vanishes with the last."""

    def __init__(self, database: Callable[[], str]) -> None:
        self._database = database
        self._own: set[Path] = set()

    @contextlib.contextmanager
    def received(self) -> Iterator[socket.socket | None]:
        """A socket that gets them for the length of a block; None where there can't be one."""
        folder = _folder(self._database())
        receiver = None if folder is None else self._bind(folder / f"{secrets.token_hex(4)}.sock")
        try:
            yield receiver
        finally:
            if receiver is not None:
                self._unbind(receiver)

    def send(self) -> None:
        """Nudge all other processes that listen."""
        folder = _folder(self._database())
        if folder is None:
            return
        try:
            others = [path for path in folder.iterdir() if path not in self._own]
        except OSError:
            # Nobody listens.
            return
        if others:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                for path in others:
                    self._send_to(sender, path)

    def _send_to(self, sender: socket.socket, path: Path) -> None:
        try:
            sender.sendto(b"x", str(path))
        except ConnectionRefusedError:
            # Its process was killed.
            path.unlink(missing_ok=True)
        except OSError:
            # Its queue is full, so it will look; or it has just gone, or isn't ours to nudge.
            return

    def _bind(self, path: Path) -> socket.socket | None:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        try:
            path.parent.mkdir(exist_ok=True)
            receiver.bind(str(path))
            # Who may look into the folder of the database may nudge its users.
            path.chmod(0o666)
        except OSError:
            receiver.close()
            return None
        self._own.add(path)
        return receiver

    def _unbind(self, receiver: socket.socket) -> None:
        path = Path(receiver.getsockname())
        receiver.close()
        self._own.discard(path)
        path.unlink(missing_ok=True)
        # This removes those of killed processes.
        self.send()
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def drain(receiver: socket.socket) -> None:
    """Forget what has come: one look is as good as many."""
    with contextlib.suppress(BlockingIOError):
        while True:
            receiver.recv(16)


@cache
def _folder(database: str) -> Path | None:
    path = file_path(database)
    if path is None or not hasattr(socket, "AF_UNIX"):
        return None
    return path.with_name(f"{path.name}-dbos-listeners")
