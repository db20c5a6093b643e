"""SocketNotifier: datagrams to Unix sockets beside an SQLite file, which announce its changes.

They only save time. A process that they don't reach, because of permissions, of the platform or of
a path's length, detects the change a little later by the file's version.

The folder of a database may belong to several users, so its contents aren't trusted: the folder of
the sockets is opened once, without following a link, and only if this user or the database's owner
owns it and others can't write to it. All further calls are relative to that descriptor and touch
only sockets whose names match NAME.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path

from django_dbos.store.sqlite.file_locks import file_path

# The message for a change of the file, and the largest message in bytes.
CHANGED, MAX_MESSAGE = b"x", 8_192
NAME = re.compile(r"[0-9a-f]{8}\.sock")
# Where a path can begin at a descriptor: sockets have no calls like openat().
DESCRIPTORS = Path("/proc/self/fd")


class Folder:
    """Holds the folder of a database's sockets open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def close(self) -> None:
        """Close the descriptor; the sockets stay."""
        os.close(self._descriptor)

    def names(self) -> list[str]:
        """Return the names of its sockets."""
        with os.scandir(self._descriptor) as entries:
            return [entry.name for entry in entries if self._is_socket(entry.name)]

    def address(self, name: str) -> str:
        """Return the address that a socket here is bound to."""
        at_descriptor = DESCRIPTORS / str(self._descriptor)
        return str((at_descriptor if at_descriptor.exists() else self._path) / name)

    def open_to_all(self, name: str) -> None:
        """Let everyone who may enter the folder send; where chmod can't, the umask decides."""
        with contextlib.suppress(OSError, ValueError, NotImplementedError):
            os.chmod(name, 0o666, dir_fd=self._descriptor, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Remove a socket, and nothing else."""
        if self._is_socket(name):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._descriptor)

    def _is_socket(self, name: str) -> bool:
        if NAME.fullmatch(name) is None:
            return False
        try:
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISSOCK(found.st_mode)


class SocketNotifier:
    """Notifies the other processes of a database through a folder with a socket for each listener.

    The last listener removes the folder.
    """

    def __init__(self, database: Callable[[], str]) -> None:
        self._database = database
        self._own: set[str] = set()

    @contextlib.contextmanager
    def received(self) -> Iterator[socket.socket | None]:
        """Yield a socket that receives notifications; None where there can't be one."""
        path = _path(self._database())
        with _opened(path, is_made=True) as folder:
            name = f"{secrets.token_hex(4)}.sock"
            receiver = None if folder is None else self._bind(folder, name)
            try:
                yield receiver
            finally:
                if folder is not None and receiver is not None:
                    self._unbind(receiver, folder, name)
        if path is not None and receiver is not None:
            # A link in its place is no folder, and stays.
            with contextlib.suppress(OSError):
                path.rmdir()

    def send(self, messages: Sequence[bytes] = ()) -> None:
        """Send messages to all other listeners; without any, only that the file has changed."""
        with _opened(_path(self._database())) as folder:
            if folder is not None:
                self._send(folder, messages)

    def _send(self, folder: Folder, messages: Sequence[bytes] = ()) -> None:
        others = [name for name in folder.names() if name not in self._own]
        if others:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                for name, message in product(others, messages or [CHANGED]):
                    _send_to(sender, folder, name, message)

    def _bind(self, folder: Folder, name: str) -> socket.socket | None:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        try:
            receiver.bind(folder.address(name))
        except OSError:
            receiver.close()
            return None
        folder.open_to_all(name)
        self._own.add(name)
        return receiver

    def _unbind(self, receiver: socket.socket, folder: Folder, name: str) -> None:
        receiver.close()
        self._own.discard(name)
        folder.remove(name)
        # This removes those of killed processes.
        self._send(folder)


def drain(receiver: socket.socket) -> list[bytes]:
    """Receive everything that has arrived; return the messages other than CHANGED."""
    messages: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            message = receiver.recv(MAX_MESSAGE)
            if message != CHANGED:
                messages.append(message)
    return messages


def _send_to(sender: socket.socket, folder: Folder, name: str, message: bytes) -> None:
    try:
        sender.sendto(message, folder.address(name))
    except ConnectionRefusedError:
        # Its process was killed.
        folder.remove(name)
    except OSError:
        # Its queue is full, so it is awake; or it has just gone, or we may not send to it.
        return


@cache
def _path(database: str) -> Path | None:
    path = file_path(database)
    # Windows has neither.
    if path is None or not (hasattr(socket, "AF_UNIX") and hasattr(os, "O_NOFOLLOW")):
        return None
    return path.with_name(f"{path.name}-dbos-listeners")


@contextlib.contextmanager
def _opened(path: Path | None, *, is_made: bool = False) -> Iterator[Folder | None]:
    """Open the folder for the length of a block; yield None if none can be trusted."""
    folder = None if path is None else _open(path, is_made)
    try:
        yield folder
    finally:
        if folder is not None:
            folder.close()


def _open(path: Path, is_made: bool) -> Folder | None:
    try:
        is_new = is_made and _make(path)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except OSError:
        # There is no listener, or something else is in the folder's place.
        return None
    if is_new:
        _share(descriptor, path.parent)
    if _is_trusted(descriptor, path):
        return Folder(path, descriptor)
    os.close(descriptor)
    return None


def _make(path: Path) -> bool:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _share(descriptor: int, parent: Path) -> None:
    """Give the group the rights that it has in the folder of the database."""
    made, around = os.fstat(descriptor), parent.stat()
    if made.st_uid == os.geteuid() and made.st_gid == around.st_gid:
        os.fchmod(descriptor, 0o700 | (around.st_mode & 0o070))


def _is_trusted(descriptor: int, path: Path) -> bool:
    """Return whether we or the database's owner own the folder, and others can't write to it."""
    found = os.fstat(descriptor)
    owners = {os.geteuid()}
    with contextlib.suppress(OSError):
        owners.add(path.with_name(path.name.removesuffix("-dbos-listeners")).stat().st_uid)
    return found.st_uid in owners and not found.st_mode & stat.S_IWOTH
