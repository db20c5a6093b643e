"""Receives timestamps in the measuring process: tasks send one by datagram when they begin."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.environment import TIMESTAMP_SOCKET

RECEIVE_TIMEOUT = 30.0


class TimestampReceiver:
    """Receives what `environment.send_timestamp` sends in workers that start in the block."""

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        os.environ[TIMESTAMP_SOCKET] = str(Path(self.folder.name) / "timestamps")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.environ[TIMESTAMP_SOCKET])
        self.socket.settimeout(RECEIVE_TIMEOUT)
        return self

    def receive(self) -> float:
        """Return the next timestamp, in seconds; raise TimeoutError after RECEIVE_TIMEOUT."""
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
