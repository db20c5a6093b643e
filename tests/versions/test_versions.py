"""Versions of a workflow function: each workflow ends with the code that it began with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.core import registry
from django_dbos.core.queues import Visit
from django_dbos.core.records import Lane
from django_dbos.executor.unknown_names import UnknownNames
from django_dbos.models import Workflow
from django_dbos.operations import replaying
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.executors import register_dead
from tests.versions import code
from tests.versions.conftest import NAME, Deploy

pytestmark = pytest.mark.django_db

colours = pytest.mark.parametrize(
    ("one", "two"), [(code.one, code.two), (code.aone, code.atwo)], ids=["sync", "async"]
)


def versions() -> dict[str, str | None]:
    return dict(Workflow.objects.values_list("workflow_id", "version"))


def finish(handle: Any) -> Any:
    handle.send("yes", "paid")
    run_until_idle()
    return handle.get_result(timeout=0)


@colours
def test_a_workflow_ends_with_the_code_that_it_began_with(
    deploy: Deploy, one: Any, two: Any
) -> None:
    old = deploy(one, "1").start("a")
    run_until_idle()

    current = deploy(two, "2", older={"1": one})
    new = current.start("b")
    run_until_idle()

    assert (finish(old), finish(new)) == ("a packed by one", "b weighed by two")
    assert versions() == {old.workflow_id: "1", new.workflow_id: "2"}
    assert (old.describe().version, new.describe().version) == ("1", "2")


@colours
@pytest.mark.rule(98)
def test_an_unknown_version_waits_and_is_never_failed(deploy: Deploy, one: Any, two: Any) -> None:
    old = deploy(one, "1").start("a")
    run_until_idle()
    deploy(two, "2")
    old.send("yes", "paid")

    run_until_idle()

    assert old.get_status() == "ENQUEUED"
    deploy(two, "2", older={"1": one})
    run_until_idle()
    assert old.get_result(timeout=0) == "a packed by one"


@pytest.mark.django_db(transaction=True)
def test_an_unknown_version_is_told_by_name(
    deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    handle = deploy(code.three, "3").start("a")
    deploy(code.two, "2")
    unknown = UnknownNames(get_store())

    with caplog.at_level(logging.WARNING, "django_dbos.executor"):
        unknown.explain("default")
        unknown.explain("default")

    (record,) = caplog.records
    assert handle.workflow_id in record.getMessage()
    assert "version '3' of its function 'shop.checkout'" in record.getMessage()


def test_a_worker_without_the_version_is_named_as_the_reason(deploy: Deploy) -> None:
    from tests.store.conftest import register

    handle = deploy(code.three, "3").start("a")
    register(get_store(), workflow_names='["shop.checkout", "shop.checkout@2"]')

    reason = handle.describe().why_not_running

    assert reason is not None
    assert "knows version '3' of its function 'shop.checkout'" in reason
    register(get_store(), workflow_names='["shop.checkout", "shop.checkout@3"]')
    assert handle.describe().why_not_running is None


# Workflows without a version


@pytest.mark.rule(98)
def test_code_without_versions_is_continued_by_the_current_code_which_they_keep(
    deploy: Deploy,
) -> None:
    handle = deploy(code.one).start("a")
    run_until_idle()
    assert versions() == {handle.workflow_id: None}
    deploy(code.one, "1")
    handle.send("yes", "other")
    handle.cancel()
    handle.resume()

    run_until_idle()

    assert versions() == {handle.workflow_id: "1"}
    deploy(code.two, "2", older={"1": code.one})
    assert finish(handle) == "a packed by one"


def test_code_from_before_the_versions_can_be_declared(deploy: Deploy) -> None:
    handle = deploy(code.one).start("a")
    waiting = deploy(code.one).start("b")
    run_until_idle()

    deploy(code.two, "2", older={None: code.one})

    assert finish(handle) == "a packed by one"
    assert finish(waiting) == "b packed by one"
    assert set(versions().values()) == {None}


def test_a_start_by_name_begins_with_the_current_version_of_the_worker(
    deploy: Deploy, withdraw: Callable[[], None]
) -> None:
    withdraw()
    handle = dbos.start_by_name(NAME, "a")
    assert versions() == {handle.workflow_id: ""}

    deploy(code.two, "2", older={None: code.one, "1": code.one})
    run_until_idle()

    assert versions() == {handle.workflow_id: "2"}
    assert finish(handle) == "a weighed by two"


def test_a_start_by_name_of_a_function_without_versions_has_none(
    deploy: Deploy, withdraw: Callable[[], None]
) -> None:
    withdraw()
    handle = dbos.start_by_name(NAME, "a")
    deploy(code.three)

    run_until_idle()

    assert versions() == {handle.workflow_id: None}
    assert handle.describe().version is None


# Ways to start


def test_every_way_to_start_records_the_current_version(deploy: Deploy) -> None:
    current = deploy(code.three, "3", older={"1": code.one})

    @dbos.workflow(name="shop.parent")
    def parent() -> list[str]:
        child = current.start("child")
        return [current("called"), child.get_result(), *current.map(["mapped", "too"])]

    current.start("one")
    current.start_many([("two",), ("three",)])
    current.using(run_after=60).start("later")
    current.using(debounce_key="k", delay=60).start("burst")
    dbos.start_by_name(NAME, "by name")
    current("inline")
    parent.start()
    run_until_idle()

    found = Workflow.objects.filter(name=NAME).values_list("version", flat=True)
    assert list(found) == ["3"] * 11


def test_a_debounced_start_has_the_version_of_the_last_call(deploy: Deploy) -> None:
    burst = {"debounce_key": "k", "delay": 60}
    deploy(code.one, "1").using(**burst).start("a")
    handle = deploy(code.three, "3").using(**burst).start("b")

    assert versions() == {handle.workflow_id: "3"}


def test_a_schedule_starts_the_current_version_also_beside_code_from_before(
    deploy: Deploy,
) -> None:
    deploy(code.three, "3", older={None: code.one})

    assert registry.find(NAME).function is code.three
    assert registry.find_version(NAME, None).function is code.one
    assert registry.find_version(NAME, registry.NEWEST).function is code.three


def test_an_older_version_can_be_started_and_called(deploy: Deploy) -> None:
    current = deploy(code.three, "3")

    @current.version("2")
    def older(order: str) -> str:
        return f"{order} by two"

    assert older("a") == "a by two"
    handle = older.start("b")
    run_until_idle()

    assert handle.get_result(timeout=0) == "b by two"
    assert set(versions().values()) == {"2"}
    assert repr(older) == "<workflow shop.checkout, version '2'>"


def test_an_inline_call_of_a_known_id_is_finished_by_its_own_version(deploy: Deploy) -> None:
    started = deploy(lambda order: f"{order} by one", "1").using(workflow_id="w").start("a")
    current = deploy(code.three, "3", older={"1": lambda order: f"{order} by one"})
    run_until_idle()

    assert current.using(workflow_id="w")("a") == started.get_result(timeout=0) == "a by one"


def test_the_next_run_of_a_workflow_that_continues_as_new_has_the_current_version(
    deploy: Deploy,
) -> None:
    def again(number: int) -> str:
        code.pack(str(number))
        dbos.recv("go", timeout=None)
        dbos.continue_as_new(number + 1)

    def last(number: int) -> str:
        return f"{code.weigh(str(number))} by two"

    handle = deploy(again, "1").start(1)
    run_until_idle()
    deploy(last, "2", older={"1": again})
    handle.send("yes", "go")
    run_until_idle()

    assert handle.get_result(timeout=0) == "2 weighed by two"
    assert versions() == {handle.workflow_id: "2"}


@pytest.mark.rule(98)
def test_a_fork_a_retry_and_a_rewind_keep_the_version_of_the_history(deploy: Deploy) -> None:
    old = deploy(code.one, "1").start("a")
    run_until_idle()
    deploy(code.two, "2", older={"1": code.one})

    fork = old.fork(from_step=2)
    old.rewind(to_step=2)
    run_until_idle()

    assert versions() == {old.workflow_id: "1", fork.workflow_id: "1"}
    assert (finish(old), finish(fork)) == ("a packed by one", "a packed by one")


def test_a_replay_checks_a_history_against_its_own_version(deploy: Deploy) -> None:
    old = deploy(code.one, "1").start("a")
    run_until_idle()
    deploy(code.two, "2", older={"1": code.one})

    assert replaying.replay(get_store(), old.workflow_id).fits
    deploy(code.two, "2")
    with pytest.raises(dbos.UnknownWorkflow, match="Version '1'"):
        replaying.replay(get_store(), old.workflow_id)


# Claims


@pytest.mark.rule(98)
def test_no_claim_takes_a_version_that_its_process_does_not_have(deploy: Deploy) -> None:
    current = deploy(code.three, "3")
    for queue_name, options in (("plain", {}), ("keys", {"partition_key": "k"})):
        current.using(queue_name=queue_name, **options).start("a")
    store, executor_id = get_store(), register_dead(has_lock=False)
    session = store.session()

    def claim(names: list[str]) -> int:
        claims, _ = store.claim_workflows(
            session, executor_id, Lane("plain", 0), names=names, above=-1, limit=9
        )
        visit = Visit(queue_name="keys", names=names, limit=9)
        of_keys, _ = store.claim_in_turn(session, executor_id, visit)
        return len(claims) + len(of_keys)

    unfit: list[list[str]] = [[NAME], [f"{NAME}@2"], [NAME, f"{NAME}@2"], [f"{NAME}@3"]]
    assert [claim(names) for names in unfit] == [0, 0, 0, 0]
    for names in unfit:
        assert not store.list_claimable(Lane("plain", 0), names=names, above=-1, limit=9)
        assert store.find_unknown("plain", names) is not None
    fit = [NAME, f"{NAME}@3"]
    assert len(store.list_claimable(Lane("plain", 0), names=fit, above=-1, limit=9)) == 1
    assert store.find_unknown("plain", fit) is None
    assert claim(fit) == 2


@pytest.mark.rule(98)
def test_no_suspect_is_claimed_in_a_version_that_its_process_does_not_have(
    deploy: Deploy, withdraw: Callable[[], None]
) -> None:
    from django.db import connection

    deploy(code.three, "3").start("a")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dbos_workflow SET recovery_attempts = 3")
    store, executor_id = get_store(), register_dead(has_lock=False)
    session = store.session()

    def claim(names: list[str]) -> int:
        found = store.find_suspects(session, ["default"], names=names, limit=9)
        assert found == store.list_suspects(["default"], names=names, limit=9)
        claims = store.claim_suspect(session, executor_id, queue_names=["default"], names=names)
        assert len(claims) == len(found)
        return len(claims)

    assert claim([NAME, f"{NAME}@2"]) == 0
    assert claim([NAME, f"{NAME}@3"]) == 1


# Declarations


def test_a_declaration_that_makes_no_sense_is_refused(deploy: Deploy) -> None:
    current = deploy(code.two, "2", older={"1": code.one})

    with pytest.raises(ValueError, match="is the current version of"):
        current.version("2")
    with pytest.raises(ValueError, match="Two functions are version '1'"):
        current.version("1")(code.three)
    with pytest.raises(TypeError, match="an older version itself"):
        current.version("0")(code.three).version("00")
    with pytest.raises(TypeError, match="A version must be a str, not int 1"):
        current.version(1)
    with pytest.raises(ValueError, match="can't contain '@'"):
        current.version("1@2")
    with pytest.raises(TypeError, match="decorated already"):
        current.version("0.1")(current)
    with pytest.raises(TypeError, match="Give its current code one first"):
        deploy(code.two).version("1")


def test_a_version_can_be_declared_again_when_its_module_is_reloaded(deploy: Deploy) -> None:
    current = deploy(code.two, "2", older={"1": code.one})
    again = dbos.workflow(name=NAME, version="2")(code.two)
    current.version("1")(code.one)

    assert registry.find_version(NAME, "1").function is code.one
    assert registry.find(NAME).function is code.two
    assert again.name == current.name


def test_an_unknown_version_is_an_error_of_its_own(deploy: Deploy) -> None:
    deploy(code.two, "2")

    with pytest.raises(dbos.UnknownWorkflow, match=r"Version '1' of workflow 'shop.checkout'"):
        registry.find_version(NAME, "1")
