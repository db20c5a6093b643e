"""Workflows that wait for people: one answer, in time, whatever crashes."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.fields import DatabaseNow
from django_dbos.models import Checkpoint, Inquiry, Message, Workflow
from django_dbos.operations import answering
from django_dbos.signals import form_reminder
from django_dbos.store import get_store
from django_dbos.testing import advance, run_until_idle
from tests.people.forms import ApprovalForm, Outer, aapprove, approve, ask_with

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
FILLED_IN = {"approved": "on", "amount": "12.50", "day": "2026-11-28", "note": "fine"}
CLEANED = {
    "approved": True,
    "amount": Decimal("12.50"),
    "day": date(2026, 11, 28),
    "note": "fine",
}


def pending() -> Inquiry:
    return Inquiry.objects.pending().get()


def state(number: int = -1) -> str:
    return str(list(Inquiry.objects.with_state().order_by("pk"))[number].state)


@pytest.mark.parametrize("workflow", [approve, aapprove])
def test_the_workflow_gets_the_cleaned_data(workflow: Any) -> None:
    handle = workflow.start(title="Refund?", initial={"amount": 5})
    run_until_idle()

    form = pending()
    assert (form.title, form.initial, form.workflow_id) == (
        "Refund?",
        {"amount": 5},
        handle.workflow_id,
    )
    assert handle.get_status() == "WAITING"
    dbos.answer_form(form.pk, FILLED_IN)
    run_until_idle()

    assert handle.get_result() == [CLEANED, None]
    assert state() == "answered"
    assert Inquiry.objects.get().answer == CLEANED
    assert not Inquiry.objects.pending().exists()


def test_an_invalid_answer_is_refused_and_changes_nothing() -> None:
    approve.start()
    run_until_idle()

    with pytest.raises(ValidationError) as caught:
        dbos.answer_form(pending().pk, {"amount": "2000"})

    assert set(caught.value.error_dict) == {"amount"}
    assert state() == "pending"
    assert not Message.objects.exists()


@pytest.mark.rule(82)
def test_a_form_is_answered_once() -> None:
    handle = approve.start()
    run_until_idle()
    form = pending()

    dbos.answer_form(form.pk, FILLED_IN)
    with pytest.raises(dbos.FormNotPending, match="'answered'"):
        dbos.answer_form(form.pk, {"amount": "1"})
    run_until_idle()

    assert handle.get_result() == [CLEANED, None]
    assert Message.objects.count() == 1


@pytest.mark.rule(82)
def test_an_answer_and_its_message_are_one_transaction() -> None:
    handle = approve.start()
    run_until_idle()
    form = pending()

    def fail() -> None:
        with transaction.atomic():
            dbos.answer_form(form.pk, FILLED_IN)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    run_until_idle()

    assert state() == "pending"
    assert not Message.objects.exists()
    assert handle.get_status() == "WAITING"


@pytest.mark.rule(83)
def test_no_answer_is_accepted_after_the_timeout() -> None:
    handle = approve.start(timeout=DAY, default="nobody")
    run_until_idle()
    form = pending()
    advance(DAY + timedelta(seconds=1))

    with pytest.raises(dbos.FormNotPending, match="'expired'"):
        dbos.answer_form(form.pk, FILLED_IN)
    run_until_idle()

    assert handle.get_result() == "nobody"
    assert state() == "expired"
    with pytest.raises(dbos.FormNotPending, match="'expired'"):
        dbos.answer_form(form.pk, FILLED_IN)


def test_without_a_default_the_timeout_is_an_error_that_names_the_form() -> None:
    handle = approve.start(timeout=DAY, title="Refund?")
    run_until_idle()
    advance(2 * DAY)
    run_until_idle()

    with pytest.raises(dbos.WaitTimeout, match=r"an answer to form 'Refund\?'"):
        handle.get_result()


@pytest.mark.rule(83)
def test_an_answer_just_before_the_end_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait has timed out, and before the form is closed its answer is committed."""
    handle = approve.start(timeout=DAY, default="nobody")
    run_until_idle()
    form = pending()
    store: Any = get_store()
    close = store.close_inquiry

    def answered_first(*args: Any) -> bool:
        with transaction.atomic():
            # The wait ends by its own deadline, the form by its row's.
            QuerySet(Inquiry).update(expires_at=None)
            answering.answer_form(form.pk, FILLED_IN)
        return bool(close(*args))

    monkeypatch.setattr(store, "close_inquiry", answered_first, raising=False)
    advance(2 * DAY)
    run_until_idle()

    assert handle.get_result() == [CLEANED, None]
    assert state() == "answered"
    assert not Message.objects.filter(consumed_at=None).exists()


@pytest.mark.rule(82)
@pytest.mark.parametrize("workflow", [approve, aapprove])
def test_an_answer_survives_crashes(workflow: Any, run_through_crashes: Any) -> None:
    def start() -> Any:
        handle = workflow.start(reminders=[1], timeout=DAY)
        run_until_idle()
        advance(2)
        run_until_idle()
        dbos.answer_form(Inquiry.objects.pending().get().pk, FILLED_IN)
        return handle

    run_through_crashes(start, lambda handle: _assert_answered(handle))


def _assert_answered(handle: Any) -> None:
    assert handle.get_result() == [CLEANED, None]


@pytest.mark.rule(83)
@pytest.mark.parametrize("workflow", [approve, aapprove])
def test_the_question_survives_crashes(workflow: Any, run_through_crashes: Any) -> None:
    """One form is asked for, and closed, whichever write the process dies after."""
    handles: list[Any] = []

    def start() -> Any:
        handles.append(workflow.start(reminders=[0], timeout=0.001, default="nobody"))
        return handles[-1]

    def check(handle: Any) -> None:
        advance(1)
        run_until_idle()
        assert handle.get_result() == "nobody"
        assert Inquiry.objects.filter(workflow_id=handle.workflow_id).count() == 1

    assert run_through_crashes(start, check) > 3


@pytest.mark.rule(84)
def test_an_ended_workflow_leaves_no_form_that_can_be_answered() -> None:
    handle = approve.start()
    run_until_idle()
    form = pending()
    handle.cancel()

    assert state() == "ended"
    with pytest.raises(dbos.FormNotPending, match="'ended'"):
        dbos.answer_form(form.pk, FILLED_IN)
    assert not Message.objects.exists()

    handle.resume()
    run_until_idle()
    dbos.answer_form(form.pk, FILLED_IN)
    run_until_idle()
    assert handle.get_result() == [CLEANED, None]


@pytest.mark.rule(84)
def test_a_workflow_past_its_deadline_leaves_no_form_that_can_be_answered() -> None:
    approve.using(timeout=DAY).start()
    run_until_idle()
    form = pending()
    advance(2 * DAY)

    with pytest.raises(dbos.FormNotPending, match="'ended'"):
        dbos.answer_form(form.pk, FILLED_IN)


@pytest.mark.rule(84)
@pytest.mark.parametrize("is_answered", [True, False])
def test_a_workflow_without_an_end_keeps_the_forms_of_two_runs(
    is_answered: bool, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example"}

    @dbos.workflow
    def endless(run: int) -> None:
        dbos.callback_url(f"run {run}")
        timeout = None if is_answered else 0
        dbos.wait_for_form(ApprovalForm, title=f"run {run}", timeout=timeout, default=None)
        dbos.recv("go on", timeout=None)
        dbos.continue_as_new(run + 1)

    handle, other = endless.start(1), approve.start(title="of another workflow")
    run_until_idle()

    for run in range(1, 6):
        if is_answered:
            dbos.answer_form(Inquiry.objects.get(title=f"run {run}").pk, FILLED_IN)
        handle.send(None, topic="go on")
        run_until_idle()

    forms = Inquiry.objects.filter(kind="form").exclude(workflow_id=other.workflow_id)
    assert sorted(form.title for form in forms) == ["run 5", "run 6"]
    # The callbacks can still be called.
    callbacks = Inquiry.objects.filter(kind="callback", workflow_id=handle.workflow_id)
    assert callbacks.count() == 6
    QuerySet(Inquiry).filter(pk__in=callbacks.values("pk")).update(closed_at=DatabaseNow())
    handle.send(None, topic="go on")
    if is_answered:
        dbos.answer_form(Inquiry.objects.get(title="run 6").pk, FILLED_IN)
    run_until_idle()
    assert callbacks.count() == 2
    assert Inquiry.objects.filter(workflow_id=other.workflow_id).count() == 1


def test_a_later_workflow_with_the_same_id_has_a_form_of_its_own() -> None:
    approve.using(workflow_id="again").start(title="first")
    run_until_idle()
    form = pending()
    Workflow.objects.all().cancel()
    # As retention does, but it has not come to the forms.
    QuerySet(Workflow).all().delete()
    QuerySet(Checkpoint).all().delete()
    approve.using(workflow_id="again").start(title="second")
    run_until_idle()

    assert pending().title == "second"
    with pytest.raises(dbos.FormNotPending, match="'ended'"):
        dbos.answer_form(form.pk, FILLED_IN)


def test_reminders_come_once_each_until_somebody_has_answered() -> None:
    reminded: list[tuple[Any, int]] = []

    @dbos.workflow
    def patient() -> Any:
        return dbos.wait_for_form(
            ApprovalForm,
            timeout=10 * DAY,
            reminders=[0, DAY, 3 * DAY],
            on_reminder=lambda form, number: reminded.append((form.pk, number)),
        ).data["note"]

    signalled: list[int] = []

    def receive(sender: Any, form: Any, number: int, **kwargs: Any) -> None:
        signalled.append(number)

    form_reminder.connect(receive)
    try:
        handle = patient.start()
        run_until_idle()
        form = pending()
        assert reminded == [(form.pk, 1)]
        for _ in range(2):
            advance(DAY + timedelta(seconds=1))
            run_until_idle()
        assert [number for _, number in reminded] == [1, 2] == signalled
        dbos.answer_form(form.pk, {"amount": "1", "note": "done"})
        advance(3 * DAY)
        run_until_idle()
    finally:
        form_reminder.disconnect(receive)

    assert handle.get_result() == "done"
    assert [number for _, number in reminded] == [1, 2]
    steps = Checkpoint.objects.filter(step_name__startswith="dbos.remind")
    assert steps.count() == 2


def test_a_reminder_that_fails_is_recorded_and_the_wait_goes_on(caplog: Any) -> None:
    def fails(form: Any, number: int) -> None:
        raise ConnectionError("no mail today")

    @dbos.workflow
    def patient() -> Any:
        return dbos.wait_for_form(ApprovalForm, reminders=[0], on_reminder=fails).user_id

    handle = patient.start()
    run_until_idle()
    dbos.answer_form(pending().pk, FILLED_IN)
    run_until_idle()

    assert handle.get_result() is None
    assert "no mail today" in str(Checkpoint.objects.get(step_name__contains="remind").error)
    assert [r for r in caplog.records if "Reminder 1 of form" in r.message and r.exc_info]
    assert len([r for r in caplog.records if "Reminder 1" in r.message]) == 1


def test_a_reminder_may_be_a_step_with_retries() -> None:
    attempts: list[int] = []

    @dbos.step(max_attempts=3, interval=0)
    def mail(form: Any, number: int) -> None:
        attempts.append(number)
        if len(attempts) < 3:
            raise ConnectionError("busy")

    @dbos.workflow
    def patient() -> Any:
        return dbos.wait_for_form(ApprovalForm, reminders=[0], on_reminder=mail).user_id

    patient.start()
    run_until_idle()

    assert attempts == [1, 1, 1]
    assert pending()


def test_an_async_workflow_may_have_an_async_reminder() -> None:
    reminded: list[int] = []

    async def remind(form: Any, number: int) -> None:
        await asyncio.sleep(0)
        reminded.append(form.pk)

    @dbos.workflow
    async def patient() -> Any:
        return await dbos.await_for_form(ApprovalForm, reminders=[0], on_reminder=remind)

    @dbos.workflow
    def sync() -> Any:
        return dbos.wait_for_form(ApprovalForm, reminders=[0], on_reminder=remind)

    patient.start()
    run_until_idle()
    assert reminded == [pending().pk]
    with pytest.raises(TypeError, match="await_for_form"):
        sync()


BAD_FORMS = [
    ("tests.people.forms.NeedsUser", TypeError, "arguments defaults"),
    ("tests.people.forms.PopsUser", TypeError, "arguments defaults"),
    ("tests.people.forms.UploadForm", TypeError, "'document' of form .* is a file"),
    ("tests.people.forms.OwnerForm", TypeError, "primary key from clean_owner"),
    ("tests.people.forms.GroupsForm", TypeError, "primary key from clean_groups"),
    ("tests.people.forms.Missing", ValueError, "can't be imported"),
    ("nowhere.forms.Form", ValueError, "can't be imported"),
    ("tests.people.forms.approve", ValueError, "no form class"),
    ("", ValueError, "can't be imported"),
]


@pytest.mark.parametrize(("path", "error", "message"), BAD_FORMS, ids=lambda value: str(value)[:40])
def test_a_form_that_cannot_work_is_refused_at_the_caller(
    path: str, error: type[Exception], message: str
) -> None:
    handle = ask_with.start(path)
    run_until_idle()

    with pytest.raises(error, match=message):
        handle.get_result()
    assert not Inquiry.objects.exists()


def test_a_class_that_others_cannot_import_is_refused() -> None:
    class Local(forms.Form):
        """Nobody else can import this."""

    @dbos.workflow
    def asks(kind: str) -> None:
        dbos.wait_for_form({"local": Local, "no form": dict, "number": 5}[kind])

    with pytest.raises(ValueError, match="can't be imported, so a web process can't show it"):
        asks("local")
    with pytest.raises(TypeError, match=r"takes a subclass of django\.forms\.Form"):
        asks("no form")
    with pytest.raises(TypeError, match="not 5"):
        asks("number")


def test_a_nested_class_and_a_form_that_returns_a_key_are_fine() -> None:
    owner = User.objects.create_user("owner")
    nested = ask_with.start("tests.people.forms.Outer.Inner")
    keyed = ask_with.start("tests.people.forms.OwnerPkForm")
    run_until_idle()
    assert Outer.Inner.__qualname__ == "Outer.Inner"

    for handle, data in ((nested, {"name": "x"}), (keyed, {"owner": str(owner.pk)})):
        form = Inquiry.objects.get(workflow_id=handle.workflow_id)
        dbos.answer_form(form.pk, data)
    run_until_idle()

    assert nested.get_result() == {"name": "x"}
    assert keyed.get_result() == {"owner": owner.pk}


@pytest.mark.parametrize("kind", ["user", "object", "list"])
def test_cleaned_data_that_cannot_be_stored_are_an_error_and_the_form_stays(kind: str) -> None:
    handle = ask_with.start("tests.people.forms.SneakyForm")
    run_until_idle()

    with pytest.raises(dbos.SerializationError, match="SneakyForm"):
        dbos.answer_form(pending().pk, {"name": kind})

    assert state() == "pending"
    dbos.answer_form(pending().pk, {"name": "fine"})
    run_until_idle()
    assert handle.get_result() == {"name": "fine"}


BAD_OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"users": "1"}, TypeError, r"users must be a list, not the str '1'\. Write \['1'\]\."),
    ({"groups": "managers"}, TypeError, r"Write \['managers'\]\."),
    ({"groups": 5}, TypeError, "groups must be a list"),
    ({"permission": "approve"}, ValueError, "app_label.codename"),
    ({"timeout": -1}, ValueError, "timeout can't be negative"),
    ({"reminders": 5}, TypeError, "reminders must be a list"),
    ({"reminders": [None]}, TypeError, "not None"),
    ({"reminders": [5, 5]}, ValueError, "twice"),
    ({"reminders": [5], "timeout": 5}, ValueError, "after the timeout"),
    ({"initial": {"amount": float("nan")}}, dbos.SerializationError, "initial values"),
    ({"title": "x" * 256}, ValueError, "A title can't be longer"),
    ({"title": "nul\0"}, ValueError, "NUL"),
    ({"description": 7}, TypeError, "A description must be a str"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_OPTIONS, ids=str)
def test_impossible_options_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    @dbos.workflow
    def asks() -> None:
        dbos.wait_for_form(ApprovalForm, **options)

    with pytest.raises(error, match=message):
        asks()
    assert not Inquiry.objects.exists()


@pytest.mark.parametrize("workflow", [approve, aapprove])
def test_groups_and_users_that_do_not_exist_are_warned_of_once(
    workflow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    Group.objects.create(name="managers")
    anna = User.objects.create_user("anna")
    unknown = [str(anna.pk + 1), f"0{anna.pk}", "anna", str(10**30)]
    handle = workflow.start(groups=["managers", "mangers"], users=[anna, *unknown])
    run_until_idle()
    dbos.answer_form(pending().pk, FILLED_IN)
    run_until_idle()

    assert handle.get_result() == [CLEANED, None]
    groups, users = [line for line in caplog.records if "don't exist" in line.message]
    assert groups.message.endswith("names groups that don't exist: ['mangers']")
    assert all(repr(pk) in users.message for pk in unknown)
    assert repr(str(anna.pk)) not in users.message
    assert users.__dict__["workflow_id"] == handle.workflow_id


def test_people_who_exist_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    group, anna = Group.objects.create(name="managers"), User.objects.create_user("anna")
    approve.start(groups=[group], users=[anna], permission="shop.approve")
    approve.start()
    run_until_idle()

    assert Inquiry.objects.pending().count() == 2
    assert "exist" not in caplog.text


def test_a_hook_without_reminders_is_a_mistake() -> None:
    @dbos.workflow
    def asks(hook: bool) -> None:
        if hook:
            dbos.wait_for_form(ApprovalForm, on_reminder=print)
        dbos.wait_for_form(ApprovalForm, reminders=[1], on_reminder="mail")  # type: ignore[call-overload]

    with pytest.raises(TypeError, match="without reminders"):
        asks(True)
    with pytest.raises(TypeError, match="must be a function"):
        asks(False)


def test_outside_of_a_workflow_it_is_an_error() -> None:
    with pytest.raises(dbos.NotInWorkflow, match="wait_for_form"):
        dbos.wait_for_form(ApprovalForm)


def test_a_workflow_cannot_answer_in_its_own_code() -> None:
    @dbos.workflow
    def answers() -> None:
        dbos.answer_form(1, {})

    with pytest.raises(dbos.DbosError, match="Call it in a step"):
        answers()


@pytest.mark.parametrize("number", [0, -1, 2**63, "1", None, 99])
def test_an_unknown_form_is_an_error(number: Any) -> None:
    with pytest.raises(dbos.FormDoesNotExist, match=r"doesn't exist\. Check the number"):
        dbos.answer_form(number, {})


def test_rows_change_through_the_api_alone() -> None:
    approve.start()
    run_until_idle()

    with pytest.raises(TypeError, match="isn't allowed"):
        Inquiry.objects.update(title="x")
    with pytest.raises(TypeError, match="isn't allowed"):
        pending().save()
