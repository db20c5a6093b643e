"""@workflow(permission=…): the user of a start is asked, outside of workflows and for a child."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.test import override_settings

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db

PERMISSION = "auth.delete_user"


@dbos.workflow(permission=PERMISSION)
def refund(order: int) -> str:
    return f"{order} refunded"


@dbos.workflow(permission=PERMISSION)
async def arefund(order: int) -> str:
    return f"{order} refunded"


@dbos.workflow
def starts_child() -> str:
    return refund.start(1).get_result()


@dbos.workflow
def calls_child() -> str:
    return refund(1)


@dbos.workflow
def maps_children() -> list[str]:
    return refund.map([1, 2])


@dbos.workflow
async def astarts_child() -> str:
    handle = await arefund.astart(1)
    return await handle.aget_result()


@dbos.workflow
async def amaps_children() -> list[str]:
    return await arefund.amap([1, 2])


@dbos.workflow
def survives_refusal(user: str) -> str:
    try:
        refund.using(user=user).start(1)
    except PermissionDenied as error:
        dbos.recv("go", timeout=None)
        return type(error).__name__
    return "started"


@dbos.step
def starts_in_step() -> None:
    refund.using(user="1").start(1)


@dbos.workflow
def starts_from_step() -> None:
    starts_in_step()


class EvenUsers:
    """A backend by which users with an even pk may do anything."""

    def authenticate(self, request: Any, **credentials: Any) -> None:
        return None

    def has_perm(self, user: Any, permission: str, obj: Any = None) -> bool:
        return bool(user.pk % 2 == 0)


def make_user(name: str, *, may: bool = True, **values: Any) -> User:
    user = User.objects.create(username=name, **values)
    if may:
        user.user_permissions.add(Permission.objects.get(codename="delete_user"))
    return user


ways = pytest.mark.parametrize(
    "start",
    [
        lambda user: refund.using(user=user).start(1),
        lambda user: refund.using(user=user)(1),
        lambda user: refund.using(user=user).start_many([(1,), (2,)]),
        lambda user: refund.using(user=user, debounce_key="k", delay=9).start(1),
        lambda user: dbos.start_by_name(refund.name, 1, using={"user": user}),
        lambda user: arefund.using(user=user).start(1),
    ],
    ids=["start", "call", "start_many", "debounced", "by name", "async function"],
)


@ways
def test_a_user_without_the_permission_is_refused_and_leaves_nothing(start: Any) -> None:
    refused = [
        make_user("plain", may=False),
        make_user("gone", is_active=False),
        None,
        "system",
        "99999",
    ]
    for user in refused:
        with pytest.raises(dbos.NotPermitted) as caught:
            start(user)
        assert isinstance(caught.value, PermissionDenied | dbos.DbosError)
        assert caught.value.permission == PERMISSION
    assert not Workflow.objects.exists()


@ways
def test_a_user_with_the_permission_may_start_it(start: Any) -> None:
    start(make_user("boss"))
    assert Workflow.objects.exists()


@ways
def test_a_superuser_may_start_it_also_by_the_pk(start: Any) -> None:
    start(make_user("root", may=False, is_superuser=True).pk)
    assert Workflow.objects.exists()


def test_the_refusal_says_who_needs_what() -> None:
    user = make_user("plain", may=False)

    with pytest.raises(
        dbos.NotPermitted, match=f"User '{user.pk}' can't start workflow '.*refund'"
    ):
        refund.using(user=user).start(1)
    with pytest.raises(dbos.NotPermitted, match=r"was started without one. Start it with using"):
        refund.start(1)


@pytest.mark.parametrize(
    "parent",
    [starts_child, calls_child, maps_children, astarts_child, amaps_children],
    ids=lambda parent: parent.__name__,
)
def test_a_child_is_asked_for_again_with_its_parents_user(parent: Any) -> None:
    refused = parent.using(user=make_user("plain", may=False)).start()
    permitted = parent.using(user=make_user("boss")).start()
    run_until_idle()

    with pytest.raises(dbos.NotPermitted):
        refused.get_result(timeout=0)
    assert "refunded" in str(permitted.get_result(timeout=0))
    children = Workflow.objects.filter(parent_id__isnull=False)
    assert set(children.values_list("parent_id", flat=True)) == {permitted.workflow_id}


def test_a_refusal_in_a_workflow_is_recorded() -> None:
    user = make_user("plain", may=False)
    handle = survives_refusal.start(str(user.pk))
    run_until_idle()
    user.user_permissions.add(Permission.objects.get(codename="delete_user"))
    handle.send("yes", "go")
    run_until_idle()

    assert handle.get_result(timeout=0) == "NotPermitted"
    assert [step.error is None for step in handle.steps()] == [False, True]


def test_a_start_in_a_step_is_asked_for() -> None:
    handle = starts_from_step.start()
    run_until_idle()

    with pytest.raises(dbos.NotPermitted):
        handle.get_result(timeout=0)


def test_the_backends_decide() -> None:
    users = [make_user(name, may=False) for name in ("a", "b")]
    even = next(user for user in users if user.pk % 2 == 0)
    odd = next(user for user in users if user.pk % 2)

    with override_settings(AUTHENTICATION_BACKENDS=["tests.versions.test_permissions.EvenUsers"]):
        refund.using(user=even).start(1)
        with pytest.raises(dbos.NotPermitted):
            refund.using(user=odd).start(1)


@pytest.mark.django_db(transaction=True)
async def test_async_code_is_asked_too(async_db: None) -> None:
    users = get_user_model().objects
    plain = await users.acreate(username="plain")
    boss = await users.acreate(username="boss", is_superuser=True)

    with pytest.raises(dbos.NotPermitted):
        await arefund.using(user=plain).astart(1)
    with pytest.raises(dbos.NotPermitted):
        await arefund.using(user=plain).acall(1)
    with pytest.raises(dbos.NotPermitted):
        await arefund.using(user=plain).astart_many([(1,)])
    assert await arefund.using(user=boss).acall(1) == "1 refunded"


def test_what_continues_a_workflow_asks_nobody() -> None:
    boss = make_user("boss")
    handle = refund.using(user=boss, run_after=60).start(1)
    handle.cancel()
    boss.delete()

    assert handle.resume()
    run_until_idle()
    assert handle.get_result(timeout=0) == "1 refunded"


def test_a_fork_for_another_user_asks_that_one() -> None:
    boss, plain = make_user("boss"), make_user("plain", may=False)
    handle = refund.using(user=boss).start(1)
    run_until_idle()

    with pytest.raises(dbos.NotPermitted) as caught:
        handle.fork(from_step=1, user=plain)
    assert caught.value.user_id == str(plain.pk)
    with pytest.raises(dbos.NotPermitted):
        handle.fork(from_step=1, user=None)
    assert Workflow.objects.count() == 1
    handle.fork(from_step=1, user=make_user("another"))
    boss.delete()
    handle.fork(from_step=1)
    assert Workflow.objects.count() == 3


def test_a_fork_in_a_workflow_records_the_refusal() -> None:
    handle = refund.using(user=make_user("boss")).start(1)
    run_until_idle()
    plain = make_user("plain", may=False)

    forking = forks_for.start(handle.workflow_id, plain.pk)
    run_until_idle()

    assert forking.get_result(timeout=0) == "refused"
    assert Workflow.objects.count() == 2


@dbos.workflow
def forks_for(workflow_id: str, user_id: int) -> str:
    try:
        dbos.retrieve_workflow(workflow_id).fork(from_step=1, user=user_id)
    except dbos.NotPermitted:
        return "refused"
    return "forked"


def test_a_permission_is_a_text() -> None:
    with pytest.raises(TypeError, match="A permission must be a str"):
        dbos.workflow(permission=1)  # type: ignore[call-overload]
