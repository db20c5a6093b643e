"""The sync twins in django_dbos/operations/_sync are what the generator makes of their sources."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


def _load() -> ModuleType:
    path = ROOT / "scripts" / "async_to_sync.py"
    spec = importlib.util.spec_from_file_location("async_to_sync", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generator = _load()


@pytest.mark.parametrize("module", generator.MODULES)
def test_a_twin_is_up_to_date(module: str) -> None:
    assert generator.is_current(module), "run `make sync`"


def test_there_is_no_twin_without_a_source() -> None:
    twins = {path.stem for path in generator.TARGETS.glob("*.py")} - {"__init__"}

    assert twins == set(generator.MODULES)


def test_a_source_has_no_sync_twin_of_its_own() -> None:
    """What is written by hand beside an async function would hide the generated one."""
    for module in generator.MODULES:
        names = generator.defined_names(module)

        assert not names & generator.twin_names(module)


SOURCE = '''
# Why it is there.
async def aread(self, run: AsyncRun) -> None:
    """Read as `arecv` does: see arecv() and asend."""
    if call is not None:
        await run.turn(call)
    async with lock, other:  # both
        value = await asyncio.shield(run.asubmit("arecv", é=await sync_to_async(load)(1)))
    return [one async for one in values]  # noqa: ASYNC109
'''

TWIN = '''
# Why it is there.
def read(self, run: Run) -> None:
    """Read as `recv` does: see recv() and asend."""
    with lock, other:  # both
        value = run.submit("recv", é=load(1))
    return [one for one in values]
'''


def test_the_sync_form_of_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"AsyncRun": "Run", **{name: name[1:] for name in ("aread", "arecv", "asubmit")}}
    monkeypatch.setattr(generator, "sync_names", lambda: names)

    assert generator.to_sync(SOURCE) == TWIN


def test_a_twin_imports_twins_and_what_its_source_defines() -> None:
    text = generator.generate("retries")

    assert "from django_dbos.operations.retries import WAKE, _postponed" in text
    assert "aretry" not in text
    assert "await" not in text
