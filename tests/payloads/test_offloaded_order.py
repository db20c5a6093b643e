"""Large values are saved while branches wait; the recorded order is that of a replay."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage

import django_dbos as dbos
from django_dbos.testing import run_until_idle
from tests.crashing import run_with_crash

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.rule(21),
]
LARGE = "large value " * 200


class Slow(FileSystemStorage):
    """A storage whose first writes take the longest."""

    saves = 0

    def _save(self, name: str, content: Any) -> str:
        Slow.saves += 1
        time.sleep(0.1 if Slow.saves % 2 else 0.0)
        return super()._save(name, content)


@pytest.fixture(autouse=True)
def slow_storage(settings: Any, tmp_path: Path) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "values": {
            "BACKEND": "tests.payloads.test_offloaded_order.Slow",
            "OPTIONS": {"location": str(tmp_path)},
        },
    }
    settings.DBOS = {**settings.DBOS, "OFFLOAD": {"STORAGE": "values", "ABOVE": 1_024}}
    Slow.saves = 0


@dbos.step
async def echo(value: str) -> str:
    return value


async def telling(name: str) -> list[str]:
    await dbos.aset_event(name, LARGE + name)
    await dbos.awrite_stream("log", LARGE + name)
    await dbos.awrite_stream("log", name)
    first = await echo(f"{name}1")
    await dbos.awrite_stream("log", first)
    return [first, await echo(f"{name}2")]


@dbos.workflow
async def tells() -> list[list[str]]:
    return list(await asyncio.gather(telling("a"), telling("b")))


def test_a_branch_goes_on_after_a_large_event_as_in_a_replay() -> None:
    for writes in range(1, 60):
        handle = tells.start()
        crashed = run_with_crash(writes)

        assert handle.get_result(timeout=0) == [["a1", "a2"], ["b1", "b2"]]
        own = [
            value.removeprefix(LARGE) for value in handle.read_stream("log") if "a" in value[-2:]
        ]
        assert own == ["a", "a", "a1"]
        if not crashed:
            return
    raise AssertionError("The workflow wrote too often.")


async def returning(name: str, is_large: bool) -> list[str]:
    first = await echo(LARGE + name if is_large else name)
    second = await echo(f"{name}2")
    return [first[-1], second]


@dbos.workflow
async def returns() -> list[list[str]]:
    return list(await asyncio.gather(returning("a", True), returning("b", False)))


def test_a_large_result_is_recorded_in_the_order_of_its_delivery() -> None:
    for writes in range(1, 60):
        handle = returns.start()
        crashed = run_with_crash(writes)

        assert handle.get_result(timeout=0) == [["a", "a2"], ["b", "b2"]]
        if not crashed:
            return
    raise AssertionError("The workflow wrote too often.")


@dbos.workflow
async def tells_and_steps() -> str:
    await dbos.awrite_stream("log", LARGE)
    await tells_in_step.acall()
    await dbos.awrite_stream("log", LARGE)
    await dbos.aset_event("last", LARGE)
    return "done"


@dbos.step
def tells_in_step() -> None:
    dbos.write_stream("log", "in the step")


def test_writes_are_made_in_their_order_and_before_the_end() -> None:
    handle = tells_and_steps.start()
    run_until_idle()

    assert handle.get_result(timeout=0) == "done"
    assert list(handle.read_stream("log")) == [LARGE, "in the step", LARGE]
    assert handle.get_event("last", timeout=0) == LARGE


class Full(Slow):
    """A storage that is away at first, for some arguments of the next run."""

    failures = 0

    def _save(self, name: str, content: Any) -> str:
        if Full.failures:
            Full.failures -= 1
            raise OSError("the storage is away")
        return super()._save(name, content)


@dbos.workflow
def goes_on(text: str = "") -> int:
    if not text:
        Full.failures = 2
        dbos.continue_as_new(LARGE)
    return len(text)


@dbos.workflow
async def agoes_on(text: str = "") -> int:
    if not text:
        Full.failures = 2
        await dbos.aset_event("last", LARGE)
        await dbos.acontinue_as_new(LARGE)
    return len(text)


@pytest.mark.parametrize("workflow", [goes_on, agoes_on])
def test_a_run_that_continues_as_new_waits_for_the_storage(workflow: Any, settings: Any) -> None:
    path = "tests.payloads.test_offloaded_order.Full"
    storage = {**settings.STORAGES["values"], "BACKEND": path}
    settings.STORAGES = {**settings.STORAGES, "values": storage}
    handle = workflow.start()
    run_until_idle()

    assert Full.failures == 0
    assert handle.get_result(timeout=0) == len(LARGE)
