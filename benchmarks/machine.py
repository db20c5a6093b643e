"""Describes the machine of the measurements."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psycopg

DURABILITY = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
ALWAYS = ("Django", "psycopg")


def describe(database_url: str, redis_url: str | None, products: Iterable[str]) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "CPU": cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "PostgreSQL": server_settings(database_url),
        "Redis": redis_settings(redis_url),
        "versions": versions([*ALWAYS, *products]),
    }


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def server_settings(url: str) -> dict[str, str]:
    """Return the settings in force, as the server reports them."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)",
            (list(DURABILITY),),
        )
        return dict(found.fetchall())


def redis_settings(url: str | None) -> dict[str, str] | None:
    if url is None:
        return None
    try:
        import redis
    except ImportError:
        return None
    with redis.Redis.from_url(url) as client:
        info = client.info("server")
        keeps = client.config_get("append*")
    version = info.get("valkey_version") or info["redis_version"]
    return {"version": version, "appendonly": keeps["appendonly"], "fsync": keeps["appendfsync"]}


def versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
