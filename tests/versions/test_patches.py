"""patched() and deprecate_patch(): changes of code beside workflows that run with the old code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation

import django_dbos as dbos
from django_dbos.models import Checkpoint
from django_dbos.operations import replaying
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.crashing import Crash, crash_after, recover
from tests.operations.conftest import run_through_crashes
from tests.versions.conftest import Deploy

__all__ = ["run_through_crashes"]

pytestmark = pytest.mark.django_db


@dbos.step
def does(name: str) -> str:
    return name


def steps_of(handle: Any) -> list[str]:
    found = Checkpoint.objects.filter(workflow_id=handle.workflow_id).order_by("step_number")
    return list(found.values_list("step_name", flat=True))


# The code before and after a change, in both colours. The change is before the wait or after it.


def old() -> list[str]:
    made = [does("a")]
    dbos.recv("go", timeout=None)
    return [*made, does("b")]


def changed_before() -> list[str]:
    made = [does("new") if dbos.patched("p") else does("a")]
    dbos.recv("go", timeout=None)
    return [*made, does("b")]


def changed_after() -> list[str]:
    made = [does("a")]
    dbos.recv("go", timeout=None)
    if dbos.patched("p"):
        made.append(does("new"))
    return [*made, does("b")]


async def aold() -> list[str]:
    made = [await does.acall("a")]
    await dbos.arecv("go", timeout=None)
    return [*made, await does.acall("b")]


async def achanged_before() -> list[str]:
    made = [await does.acall("new" if await dbos.apatched("p") else "a")]
    await dbos.arecv("go", timeout=None)
    return [*made, await does.acall("b")]


async def achanged_after() -> list[str]:
    made = [await does.acall("a")]
    await dbos.arecv("go", timeout=None)
    if await dbos.apatched("p"):
        made.append(await does.acall("new"))
    return [*made, await does.acall("b")]


@pytest.mark.rule(99)
@pytest.mark.parametrize(
    ("before", "after"),
    [(changed_before, changed_after), (achanged_before, achanged_after)],
    ids=["sync", "async"],
)
def test_a_waiting_workflow_takes_the_old_path_before_its_wait_and_the_new_one_after_it(
    deploy: Deploy, before: Any, after: Any
) -> None:
    def run(code: Any) -> tuple[list[str], list[str]]:
        handle = deploy(aold if asyncio.iscoroutinefunction(code) else old).start()
        run_until_idle()
        deploy(code)
        handle.send("yes", "go")
        run_until_idle()
        return handle.get_result(timeout=0), steps_of(handle)

    assert run(before) == (["a", "b"], ["does", "dbos.recv(go)", "does"])
    assert run(after) == (
        ["a", "new", "b"],
        ["does", "dbos.recv(go)", "dbos.patch(p)", "does", "does"],
    )


@pytest.mark.parametrize("code", [changed_before, achanged_before], ids=["sync", "async"])
def test_a_new_workflow_takes_the_new_path_also_in_replays(deploy: Deploy, code: Any) -> None:
    handle = deploy(code).start()
    run_until_idle()
    handle.send("yes", "go")
    run_until_idle()

    assert handle.get_result(timeout=0) == ["new", "b"]
    assert steps_of(handle) == ["dbos.patch(p)", "does", "dbos.recv(go)", "does"]


def test_a_patched_workflow_continues_after_a_crash_at_any_write(
    deploy: Deploy, run_through_crashes: Callable[..., int]
) -> None:
    def code() -> list[str]:
        made = [does("a")]
        if dbos.patched("p"):
            made.append(does("new"))
        dbos.set_event("made", made)
        if dbos.patched("q"):
            made.append(does("newer"))
        return made

    current = deploy(code)

    def check(handle: Any) -> None:
        assert handle.get_result(timeout=0) == ["a", "new", "newer"]
        names = ["does", "dbos.patch(p)", "does", "dbos.set_event(made)", "dbos.patch(q)", "does"]
        assert steps_of(handle) == names

    assert run_through_crashes(current.start, check) >= 3


@pytest.mark.rule(99)
@pytest.mark.parametrize("writes", range(1, 9))
def test_code_that_is_patched_at_any_point_of_a_run_fits_the_history(
    deploy: Deploy, writes: int
) -> None:
    def before() -> list[str]:
        return [does(str(number)) for number in range(4)]

    def after() -> list[str]:
        made = []
        for number in range(4):
            if dbos.patched("p"):
                made.append(does(f"new {number}"))
            made.append(does(str(number)))
        return made

    handle = deploy(before).start()
    has_crashed = run_with_crash_and(writes, lambda: deploy(after))

    made = handle.get_result(timeout=0)
    assert [name for name in made if "new" not in name] == ["0", "1", "2", "3"]
    new = [name for name in made if "new" in name]
    # Once it has taken the new path, it stays on it.
    assert new == [f"new {number}" for number in range(4 - len(new), 4)]
    assert steps_of(handle).count("dbos.patch(p)") == bool(new)
    assert has_crashed or not new


def run_with_crash_and(writes: int, change: Callable[[], object]) -> bool:
    """Run with a crash after a number of writes; change the code before the recovery."""
    try:
        with crash_after(writes):
            run_until_idle()
    except Crash:
        change()
        recover()
        run_until_idle()
        return True
    return False


def test_many_calls_record_one_marker(deploy: Deploy) -> None:
    def code() -> int:
        return sum(dbos.patched("p") for _ in range(100))

    handle = deploy(code).start()
    run_until_idle()

    assert handle.get_result(timeout=0) == 100
    assert steps_of(handle) == ["dbos.patch(p)"]


@pytest.mark.rule(99)
@pytest.mark.parametrize("writes", range(3))
def test_branches_take_their_paths_apart_and_repeat_them(deploy: Deploy, writes: int) -> None:
    async def branch(name: str, made: list[str]) -> None:
        for number in range(3):
            made += [await does.acall(f"{name}{number}")]

    async def changed_branch(name: str, made: list[str]) -> None:
        for number in range(3):
            if await dbos.apatched(f"{name} at {number}"):
                made.append(await does.acall(f"{name}{number} new"))
            made.append(await does.acall(f"{name}{number}"))

    async def before() -> list[str]:
        made: list[str] = []
        await asyncio.gather(branch("x", made), branch("y", made))
        return made

    async def after() -> list[str]:
        made: list[str] = []
        await asyncio.gather(changed_branch("x", made), changed_branch("y", made))
        await dbos.arecv("go", timeout=None)
        return made

    handle = deploy(before).start()
    assert run_with_crash_and(writes, lambda: deploy(after))
    assert handle.get_status() == "WAITING", handle.describe()
    made = [step.output for step in handle.steps() if step.step_name == "does"]
    handle.send("yes", "go")
    run_until_idle()

    assert sorted(handle.get_result(timeout=0)) == sorted(made)
    for name in ("x", "y"):
        paths = [one for one in handle.get_result(timeout=0) if one.startswith(name)]
        assert [one for one in paths if "new" not in one] == [f"{name}{n}" for n in range(3)]
    assert any("new" in one for one in made)


# The life of a patch


def deprecated() -> list[str]:
    dbos.deprecate_patch("p")
    made = [does("new")]
    dbos.recv("go", timeout=None)
    return [*made, does("b")]


async def adeprecated() -> list[str]:
    await dbos.adeprecate_patch("p")
    made = [await does.acall("new")]
    await dbos.arecv("go", timeout=None)
    return [*made, await does.acall("b")]


def removed() -> list[str]:
    made = [does("new")]
    dbos.recv("go", timeout=None)
    return [*made, does("b")]


@pytest.mark.parametrize(
    ("patched", "deprecated"),
    [(changed_before, deprecated), (achanged_before, adeprecated)],
    ids=["sync", "async"],
)
def test_a_deprecated_patch_passes_markers_and_records_none(
    deploy: Deploy, patched: Any, deprecated: Any
) -> None:
    marked = deploy(patched).start()
    run_until_idle()
    current = deploy(deprecated)
    unmarked = current.start()
    for handle in (marked, unmarked):
        run_until_idle()
        handle.send("yes", "go")
        run_until_idle()
        assert handle.get_result(timeout=0) == ["new", "b"]

    assert steps_of(marked)[0] == "dbos.patch(p)"
    assert steps_of(unmarked) == ["does", "dbos.recv(go)", "does"]


def test_code_without_the_patch_that_a_workflow_has_recorded_is_told_its_name(
    deploy: Deploy,
) -> None:
    handle = deploy(changed_before).start()
    run_until_idle()
    deploy(removed)
    handle.send("yes", "go")
    run_until_idle()

    with pytest.raises(dbos.NondeterminismError, match=r"call patched\(\) or deprecate_patch\(\)"):
        handle.describe() and handle.get_result(timeout=0)

    assert "with 'p' there, then resume() it" in str(handle.describe().error)
    deploy(deprecated)
    assert handle.resume()
    run_until_idle()
    assert handle.get_result(timeout=0) == ["new", "b"]


def test_another_mismatch_is_told_of_patches(deploy: Deploy) -> None:
    handle = deploy(old).start()
    run_until_idle()
    deploy(lambda: dbos.recv("go", timeout=None))
    handle.send("yes", "go")
    run_until_idle()

    assert "where patched() returns False, then resume() it." in str(handle.describe().error)


def test_a_check_of_an_ended_workflow_takes_no_new_path(deploy: Deploy) -> None:
    handle = deploy(removed).start()
    run_until_idle()
    handle.send("yes", "go")
    run_until_idle()

    def code() -> list[str]:
        made = removed()
        if dbos.patched("p"):
            made = [*made, does("newer")]
        return made

    deploy(code)

    assert replaying.replay(get_store(), handle.workflow_id).fits


def test_two_patches_are_told_apart(deploy: Deploy) -> None:
    def both() -> list[str]:
        made = []
        if dbos.patched("q"):
            made.append(does("q"))
        if dbos.patched("p"):
            made.append(does("new"))
        dbos.recv("go", timeout=None)
        return made

    def first() -> list[str]:
        made = [does("new")] if dbos.patched("p") else []
        dbos.recv("go", timeout=None)
        return made

    handle = deploy(first).start()
    run_until_idle()
    deploy(both)
    handle.send("yes", "go")
    run_until_idle()

    assert handle.get_result(timeout=0) == ["new"]


# Where it may be called


@dbos.step
def patches_in_step() -> bool:
    return dbos.patched("p")


@dbos.workflow
def asks_in_step() -> bool:
    return patches_in_step()


@dbos.workflow
async def asks_on_loop() -> bool:
    return dbos.patched("p")


@dbos.workflow
def asks_badly(name: Any) -> bool:
    return dbos.patched(name)


def test_a_patch_belongs_in_workflow_code() -> None:
    for call in (dbos.patched, dbos.deprecate_patch):
        with pytest.raises(dbos.NotInWorkflow):
            call("p")
    for workflow, error in (
        (asks_in_step, dbos.NotAllowedInStep),
        (asks_on_loop, SynchronousOnlyOperation),
    ):
        handle = workflow.start()
        run_until_idle()
        with pytest.raises(error):
            handle.get_result(timeout=0)


@pytest.mark.parametrize(
    ("name", "error"), [(1, TypeError), ("", ValueError), ("x" * 201, ValueError)]
)
def test_the_name_of_a_patch_is_checked(name: Any, error: type[Exception]) -> None:
    handle = asks_badly.start(name)
    run_until_idle()

    with pytest.raises(error, match="The name of a patch"):
        handle.get_result(timeout=0)
