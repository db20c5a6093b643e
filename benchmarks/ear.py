"""The measuring process's ear: pieces of work tell it by datagram when they begin."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.environment import SOCKET

PATIENCE = 30.0


class Ear:
    """Hears the times that `environment.tell_time` tells in workers started meanwhile."""

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        os.environ[SOCKET] = str(Path(self.folder.name) / "ear")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.environ[SOCKET])
        self.socket.settimeout(PATIENCE)
        return self

    def hear(self) -> float:
        """The next time told."""
        time: float = struct.unpack("d", self.socket.recv(8))[0]
        return time

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()
        self.folder.cleanup()
