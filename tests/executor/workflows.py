"""Workflows for executors in tests, in this process and in others."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection

import django_dbos as dbos


@dbos.step
def add(one: int, other: int) -> int:
    return one + other


@dbos.step
async def aadd(one: int, other: int) -> int:
    return one + other


@dbos.workflow
def counts(number: int) -> int:
    total = 0
    for _ in range(number):
        total = add(total, 1)
    return total


@dbos.workflow
async def acounts(number: int) -> int:
    total = 0
    for _ in range(number):
        total = await aadd(total, 1)
    return total


@dbos.workflow
async def adds_side_by_side(number: int) -> int:
    return sum(await asyncio.gather(*(add.acall(0, 1) for _ in range(number))))


@dbos.workflow
def nested(depth: int) -> int:
    return 0 if depth == 0 else nested(depth - 1) + 1


@dbos.workflow
async def anested(depth: int) -> int:
    return 0 if depth == 0 else await anested(depth - 1) + 1


@dbos.workflow
def waits() -> Any:
    return dbos.recv(timeout=None)


@dbos.workflow
async def awaits() -> Any:
    return await dbos.arecv(timeout=None)


@dbos.workflow
def naps(seconds: float) -> str:
    dbos.sleep(seconds)
    return "awake"


@dbos.step
def work_for(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@dbos.workflow
def works(steps: int, seconds: float) -> list[int]:
    """Return the process ids of the workers that ran the steps."""
    return [work_for(seconds) for _ in range(steps)]


@dbos.step(atomic=True)
def create_group(name: str) -> None:
    Group.objects.create(name=name)


@dbos.step(atomic=True)
def create_group_slowly(name: str, seconds: float) -> None:
    Group.objects.create(name=name)
    time.sleep(seconds)


@dbos.workflow
def creates(prefix: str, count: int, seconds: float = 0.0) -> int:
    for number in range(count):
        create_group(f"{prefix}-{number}")
        dbos.write_stream("made", number)
        if seconds:
            work_for(seconds)
    return count


@dbos.workflow
def creates_slowly(name: str, seconds: float) -> str:
    create_group_slowly(name, seconds)
    return name


@dbos.step
def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dbos.workflow
def kills(survives: int) -> str:
    """Kill its own process."""
    kill_self()
    return "survived"


@dbos.step
def close_connection() -> None:
    connection.close()
    raise ConnectionError("broken")


@dbos.workflow
def breaks_connection() -> str:
    try:
        close_connection()
    except ConnectionError:
        return str(Group.objects.count())
    return "not broken"


@dbos.step(atomic=True, using="other")
def spends_once(name: str) -> int:
    """Fail if it was done before; with the row locked, wait for the file in LINGER."""
    groups = Group.objects.using("other").select_for_update()
    group = groups.get(name=f"{name}, full")
    group.name = f"{name}, spent"
    group.save(using="other")
    dbos.write_stream("spent", os.getpid())
    while (path := os.environ.get("LINGER")) and not Path(path).exists():
        time.sleep(0.05)
    return os.getpid()


@dbos.workflow
def spends_elsewhere(name: str) -> int:
    return spends_once(name)
