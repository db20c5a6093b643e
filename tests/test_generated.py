"""The generated sync twins in django_dbos/operations/_sync are up to date."""

from __future__ import annotations

import ast
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


def test_a_source_has_no_handwritten_sync_twin() -> None:
    """A handwritten twin beside an async function would hide the generated one."""
    for module in generator.MODULES:
        names = generator.defined_names(module)

        assert not names & generator.twin_names(module)


# Modules in which the sync and async forms differ, so that both are handwritten.
BY_HAND = {
    "atomic_steps",  # a transaction stays on one thread
    "attempts",  # a sync function runs on a thread, an async one within a timeout
    "entry",  # sync code of an async run is handed to the loop
    "inline",  # either colour's caller runs workflows of either colour
    "inline_calls",  # a cancelled caller must release the claim
    "posting",  # an async run saves large values beside its branches
    "reading",  # the call that makes a reader awaits nothing
    "runner",  # a workflow's thread, or its task
    "runtime",  # the protocol of a host
    "step_writes",  # an atomic step on SQLite writes on its own connection
}


def test_operations_are_written_once() -> None:
    """A new operation adds no pair: two public functions call its one async function."""
    by_hand = set()
    for path in generator.SOURCES.glob("*.py"):
        for scope in ast.walk(ast.parse(path.read_text())):
            functions = getattr(scope, "body", None)
            functions = functions if isinstance(functions, list) else []
            names = {getattr(function, "name", "") for function in functions}
            if any(generator.renamed(name) in names for name in names & set(async_names())):
                by_hand.add(path.stem)

    assert by_hand == BY_HAND


def async_names() -> dict[str, str]:
    names: dict[str, str] = generator.sync_names()
    return names | {"aread_stream": "read_stream"}


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


def test_a_twin_imports_twins_and_names_of_its_source() -> None:
    text = generator.generate("retries")

    assert "from django_dbos.operations.retries import _postponed" in text
    assert "aretry" not in text
    assert "await" not in text
