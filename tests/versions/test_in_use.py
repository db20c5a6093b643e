"""What may be removed: manage.py dbos_versions, and the page of versions in the admin."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Q, QuerySet
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.core.records import Wake
from django_dbos.core.status import ACTIVE
from django_dbos.models import Workflow
from django_dbos.operations.versions import VersionUse, _parts, read_patches, read_versions
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.admin.conftest import get, log_in
from tests.store.conftest import register
from tests.versions import code
from tests.versions.conftest import NAME, Deploy

pytestmark = pytest.mark.django_db

KNOWN = f'["{NAME}", "{NAME}@1", "{NAME}@2"]'


def use_of(version: str | None) -> VersionUse:
    (found,) = [
        use for use in read_versions(get_store()) if (use.name, use.version) == (NAME, version)
    ]
    return found


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("dbos_versions", *arguments, stdout=output)
    return output.getvalue()


def test_a_version_may_be_removed_once_no_workflow_needs_it(deploy: Deploy) -> None:
    old = deploy(code.one, "1").start("a")
    run_until_idle()
    deploy(code.two, "2", older={"1": code.one}).start("b")
    register(get_store(), workflow_names=KNOWN)

    assert (use_of("1").active, use_of("1").workers, use_of("1").oldest is not None) == (1, 1, True)
    assert not use_of("1").may_be_removed
    old.send("yes", "paid")
    run_until_idle()

    assert (use_of("1").active, use_of("1").may_be_removed) == (0, True)
    assert (use_of("2").active, use_of("2").is_current, use_of("2").may_be_removed) == (
        1,
        True,
        False,
    )


def test_quarantined_workflows_need_their_version(deploy: Deploy) -> None:
    handle = deploy(code.one, "1").start("a")
    run_until_idle()
    deploy(code.two, "1")
    handle.send("yes", "paid")
    run_until_idle()

    deploy(code.two, "2", older={"1": code.one})

    assert (use_of("1").active, use_of("1").quarantined) == (0, 1)
    assert not use_of("1").may_be_removed
    assert not use_of("1").is_stuck


def test_the_command_prints_what_is_in_use_and_fails_for_what_nobody_has(deploy: Deploy) -> None:
    deploy(code.three, "3").start("a")
    deploy(code.two, "2", older={"1": code.one})
    register(get_store(), workflow_names=KNOWN)

    with pytest.raises(CommandError, match=f"{NAME}@3") as caught:
        run()
    assert caught.value.returncode == 1
    register(get_store(), workflow_names=f'["{NAME}", "{NAME}@3"]')
    lines = {line.split()[1]: line for line in run().splitlines() if f"{NAME} " in line}

    assert lines["1"].endswith("may be removed")
    assert lines["2"].endswith("current")
    assert lines["3"].endswith("in use")
    found = json.loads(run("--format", "json"))
    (third,) = [use for use in found["versions"] if use["version"] == "3"]
    assert (third["active"], third["workers"], third["is_stuck"]) == (1, 1, False)
    assert found["patches"] == []


def test_a_workflow_without_a_version_is_listed(
    deploy: Deploy, withdraw: Callable[[], None]
) -> None:
    deploy(code.one).start("a")
    withdraw()
    dbos.start_by_name(NAME, "b")
    register(get_store())

    rows = map(str.split, run().splitlines())
    lines = [row[1:5] for row in rows if row[:1] == [NAME]]

    assert lines == [["none", "1", "1", "0"], ["the", "newest", "1", "1"]]


@dbos.step
def does(name: str) -> str:
    return name


def before() -> None:
    does("a")
    dbos.recv("go", timeout=None)


def patched() -> None:
    if dbos.patched("p"):
        does("new")
    does("a")
    dbos.recv("go", timeout=None)


def patch_uses() -> list[tuple[str, int, int, bool]]:
    uses = read_patches(get_store())
    return [(use.patch, use.marked, use.unmarked, use.may_be_deprecated) for use in uses]


def test_a_patch_may_be_deprecated_once_no_workflow_can_be_on_the_old_path(deploy: Deploy) -> None:
    old = deploy(before).start()
    run_until_idle()
    current = deploy(patched)
    current.start_many([(), ()])
    run_until_idle()
    register(get_store())
    current.start()  # It hasn't begun.

    assert patch_uses() == [("p", 2, 1, False)]
    assert "ON THE NEW PATH" in run()
    assert old.describe().created_at.strftime("%Y-%m-%d %H:%M:%S") in run().split("WITHOUT IT")[1]
    old.send("yes", "go")
    run_until_idle()
    assert patch_uses() == [("p", 3, 0, True)]
    assert "may become deprecate_patch()" in run()
    Workflow.objects.filter(status="WAITING").cancel()
    assert patch_uses() == []


def waits_before() -> None:
    dbos.recv("begin", timeout=None)
    before()


def waits_patched() -> None:
    dbos.recv("begin", timeout=None)
    patched()


def test_a_later_workflow_may_be_on_the_old_path_of_an_older_ones_patch(deploy: Deploy) -> None:
    current = deploy(waits_before)
    older, later = current.start(), current.start()
    later.send("yes", "begin")
    run_until_idle()
    deploy(waits_patched)
    older.send("yes", "begin")
    run_until_idle()

    assert patch_uses() == [("p", 1, 1, False)]
    later.fork(from_step=3)
    later.send("yes", "go")
    run_until_idle()
    assert later.get_status() == "SUCCESS"
    assert patch_uses() == [("p", 1, 1, False)]


# The admin


def test_the_page_of_versions_shows_the_same(client: Client, deploy: Deploy) -> None:
    log_in(client, "view_workflow")
    deploy(patched, "2", older={"1": before}).start()
    run_until_idle()
    register(get_store(), workflow_names=KNOWN)

    page = get(client, reverse("admin:django_dbos_workflow_versions"))

    versions = [row[:4] for row in page.body("versions")]
    assert [NAME, "1", "1", "0"] in versions
    assert [NAME, "2", "1", "1"] in versions
    assert page.body("patches") == [[NAME, "p", "1", "0", "", "may become deprecate_patch()"]]


def test_the_page_of_versions_needs_the_permission_to_view(client: Client) -> None:
    log_in(client)

    assert client.get(reverse("admin:django_dbos_workflow_versions")).status_code == 403


def test_the_admin_shows_the_version_and_why_it_waits(client: Client, deploy: Deploy) -> None:
    log_in(client, "view_workflow")
    handle = deploy(code.three, "3").start("a")
    register(get_store(), workflow_names=KNOWN)

    html: Any = get(
        client, reverse("admin:django_dbos_workflow_change", args=[handle.workflow_id])
    ).html

    assert "knows version &#x27;3&#x27; of its function" in html
    assert "<dt>Version</dt>" in html or "Version" in html


@dbos.workflow(name="use.waits")
def waits(how: str) -> None:
    match how:
        case "message":
            dbos.recv("note", timeout=None)
        case "message in time":
            dbos.recv("note", timeout=3_600)
        case "time":
            dbos.sleep(3_600)
        case "any":
            dbos.wait_any(note=dbos.until(3_600), other=dbos.until(7_200))
        case "child":
            waits.start("message").get_result()
        case "map":
            list(waits.map(["message"] * 3, concurrency=1))
        case "nothing":
            return
        case "bug":
            dbos.current_workflow()
            raise ValueError


def test_the_parts_are_all_unfinished_workflows_once(settings: Any) -> None:
    """A workflow in none of them would be missing, and its code be removed too early."""
    kinds = ("message", "message in time", "time", "any", "child", "map", "nothing", "bug")
    waits.start_many([(kind,) for kind in kinds])
    run_until_idle()
    waits.using(run_after=3_600).start("nothing")
    waits.start("nothing")
    rows = QuerySet(Workflow)
    rows.filter(status="ERROR").update(is_quarantined=True)
    # One that runs, and one that waits for its key.
    register(get_store())
    rows.filter(pk=waits.start("nothing").workflow_id).update(status="PENDING")
    wake = Wake.of_key("2025")
    rows.filter(pk=waits.start("nothing").workflow_id).update(
        status="WAITING",
        wake_kind=wake.kind,
        wake_workflow_id=wake.workflow_id,
        wake_name=wake.name,
    )
    unfinished = Q(status__in=ACTIVE) | Q(status="ERROR", is_quarantined=True)
    expected = sorted(rows.filter(unfinished).values_list("pk", flat=True))
    assert {row.status for row in rows.filter(unfinished)} == {*ACTIVE, "ERROR"}
    assert rows.filter(status="WAITING").count() >= 10

    found = [pk for part in _parts(get_store()) for pk in part.values_list("pk", flat=True)]

    assert sorted(found) == expected
