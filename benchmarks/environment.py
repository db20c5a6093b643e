"""The environment variables of a measurement's processes."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PROJECT = Path(__file__).resolve().parent.parent

DATABASE = "BENCHMARK_DATABASE_URL"
REDIS = "BENCHMARK_REDIS_URL"
TIMESTAMP_SOCKET = "BENCHMARK_TIMESTAMP_SOCKET"
# A worker whose environment has this never ends the step `hangs`.
HANG = "BENCHMARK_HANG"
# A worker whose environment has this encrypts values.
ENCRYPT = "BENCHMARK_ENCRYPT"
# One that has this exports to OpenTelemetry, 1 % of its traces.
TRACE = "BENCHMARK_TRACE"
# One that has this deletes old workflows.
RETAIN = "BENCHMARK_RETAIN"
# The concurrency of a worker, where its system has such a setting.
CONCURRENCY = 100
# Few datagrams fit in a socket: if they aren't received, the task fails instead of hanging.
SEND_TIMEOUT = 10.0


def database_url() -> str:
    """Return the database to measure; empty in the process that only inspects systems."""
    return os.environ.get(DATABASE, "")


def redis_url(number: int) -> str:
    """Return the URL of one of the server's numbered databases."""
    return urlsplit(os.environ.get(REDIS, "redis://localhost"))._replace(path=f"/{number}").geturl()


def with_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def django_database(url: str) -> dict[str, Any]:
    """Return an entry of Django's DATABASES; SQLite's as the quickstart recommends."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": parts.path,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
            },
        }
    query: Mapping[str, str] = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(query.get("host", parts.hostname or "")),
        "PORT": str(parts.port or query.get("port", "")),
    }


def send_timestamp() -> None:
    """Send the current time to the measuring process, from the first line of a task."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(SEND_TIMEOUT)
        sender.sendto(struct.pack("d", time.time()), os.environ[TIMESTAMP_SOCKET])
