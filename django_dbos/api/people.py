"""Questions of workflows to people and other services: forms, and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async

from django_dbos import serializers
from django_dbos.core import durations, names
from django_dbos.core.durations import Duration
from django_dbos.exceptions import DbosError
from django_dbos.operations import (
    answering,
    audiences,
    awaited,
    callbacks,
    context,
    form_classes,
    forms,
)
from django_dbos.operations._sync import callbacks as sync_callbacks
from django_dbos.operations._sync import forms as sync_forms
from django_dbos.operations.awaited import Awaited
from django_dbos.operations.entry import (
    aenter_workflow,
    enter_workflow,
    refuse_on_loop,
    workflow_run,
)
from django_dbos.operations.form_requests import FormAnswer, FormRequest
from django_dbos.operations.reminders import check_reminders
from django_dbos.operations.timeouts import NO_DEFAULT
from django_dbos.step_functions import StepFunction

D = TypeVar("D")


@overload
def wait_for_form(
    form: Any,
    *,
    title: str = "",
    description: str = "",
    initial: Mapping[str, Any] | None = None,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    permission: str | None = None,
    timeout: Duration = None,
    reminders: Iterable[Any] = (),
    on_reminder: Callable[..., Any] | None = None,
) -> FormAnswer: ...
@overload
def wait_for_form(
    form: Any,
    *,
    title: str = "",
    description: str = "",
    initial: Mapping[str, Any] | None = None,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    permission: str | None = None,
    timeout: Duration = None,
    default: D,
    reminders: Iterable[Any] = (),
    on_reminder: Callable[..., Any] | None = None,
) -> FormAnswer | D: ...
def wait_for_form(
    form: Any,
    *,
    title: str = "",
    description: str = "",
    initial: Mapping[str, Any] | None = None,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    permission: str | None = None,
    timeout: Duration = None,
    default: Any = NO_DEFAULT,
    reminders: Iterable[Any] = (),
    on_reminder: Callable[..., Any] | None = None,
) -> Any:
    """Ask people to fill in a form, and wait for the answer.

    The form waits in the admin, and at `django_dbos.urls`, until somebody answers it. Holders of
    the permission `django_dbos.answer_form` may; so may those who are named here, and nobody else.
    One answer is accepted, once the form's own validation accepts it.

    Args:
        form: A form class, or the dotted path to one. Web processes import it, and call it with
            data and `initial` alone.
        title: A heading for people, at most 255 characters. Default: the class's name.
        description: A text above the form. It is escaped.
        initial: Initial values of the fields. The serializer must be able to store them.
        users: Users, or their pks, who may answer.
        groups: Groups, or their names, whose members may answer.
        permission: A permission, "app_label.codename", whose holders may answer.
        timeout: The maximum wait, in seconds or as a timedelta; no answer is accepted afterwards.
            Default: no limit.
        default: The value to return after the timeout.
        reminders: Durations, each counted from the call, after which people are reminded unless
            somebody has answered. 0 tells them at once.
        on_reminder: A function that is called with the form's row, an Inquiry, and the number of
            the reminder, in a step: as often as a step, so at least once. An error is logged, and
            the wait goes on. A step is called with its own options. Without a function, receivers
            of the signal `form_reminder` are called alone.

    Returns:
        A pair, FormAnswer(data, user_id), or `default`. The data are the form's cleaned data.

    Raises:
        WaitTimeout: The timeout has passed, and no default was given.
        TypeError: The form needs other arguments, or has fields that can't be stored: files, or
            model instances that no `clean` method turns into values.
        ValueError: The form can't be imported by other processes.
        NotInWorkflow: The call is made outside a workflow.
        NotAllowedInStep: The call is made inside a step.

    Example:
        @dbos.workflow
        def refund(order_id: int) -> bool:
            answer = dbos.wait_for_form(
                RefundForm,
                title=f"Refund order {order_id}?",
                permission="shop.approve_refund",
                timeout=timedelta(days=7),
                reminders=[timedelta(days=2)],
                default=None,
            )
            return answer is not None and answer.data["approved"]
    """
    request = _request(
        form, title, description, initial, (users, groups, permission), timeout, reminders,
        on_reminder,
    )  # fmt: skip
    if iscoroutinefunction(request.on_reminder):
        raise TypeError("on_reminder is async, so the workflow must be: use `await_for_form()`.")
    return enter_workflow(
        "wait_for_form", sync_forms.wait_for_form, forms.await_for_form, request, default
    )


@overload
async def await_for_form(
    form: Any,
    *,
    title: str = "",
    description: str = "",
    initial: Mapping[str, Any] | None = None,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    permission: str | None = None,
    timeout: Duration = None,  # noqa: ASYNC109
    reminders: Iterable[Any] = (),
    on_reminder: Callable[..., Any] | None = None,
) -> FormAnswer: ...
@overload
async def await_for_form(
    form: Any,
    *,
    title: str = "",
    description: str = "",
    initial: Mapping[str, Any] | None = None,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    permission: str | None = None,
    timeout: Duration = None,  # noqa: ASYNC109
    default: D,
    reminders: Iterable[Any] = (),
    on_reminder: Callable[..., Any] | None = None,
) -> FormAnswer | D: ...
async def await_for_form(
    form: Any,
    *,
    title: str = "",
    description: str = "",
    initial: Mapping[str, Any] | None = None,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    permission: str | None = None,
    timeout: Duration = None,  # noqa: ASYNC109
    default: Any = NO_DEFAULT,
    reminders: Iterable[Any] = (),
    on_reminder: Callable[..., Any] | None = None,
) -> Any:
    """See wait_for_form(). The function for reminders may be async, too."""
    request = _request(
        form, title, description, initial, (users, groups, permission), timeout, reminders,
        on_reminder,
    )  # fmt: skip
    return await aenter_workflow("await_for_form", forms.await_for_form, request, default)


def form(
    form: Any,
    *,
    title: str = "",
    description: str = "",
    initial: Mapping[str, Any] | None = None,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    permission: str | None = None,
) -> Awaited[FormAnswer]:
    """Return an alternative for wait_any(): a form that people may answer until another one wins.

    The arguments are those of wait_for_form(). Its value is a FormAnswer. An answer that comes
    while another alternative wins isn't received.

    Example:
        name, value = dbos.wait_any(
            answered=dbos.form(RefundForm, groups=["managers"]),
            withdrawn=dbos.message("withdraw"),
            late=dbos.until(timedelta(days=7)),
        )
    """
    audience = (users, groups, permission)
    return awaited.of_form(_request(form, title, description, initial, audience, None, (), None))


def answer_form(form_id: int, data: Mapping[str, Any], user: Any = None) -> None:
    """Answer a form that a workflow waits for, in the caller's transaction.

    The admin and the view of `django_dbos.urls` do the same; this is for pages and tests of your
    own.

    Args:
        form_id: The primary key of the form's row, an Inquiry.
        data: The fields' values as a browser would send them.
        user: The user who answers. With one, the rule who may answer is applied.

    Raises:
        ValidationError: Django's; the form refuses the data. The errors are in `error_dict`.
        PermissionDenied: Django's; the user may not answer.
        FormDoesNotExist: There is no such form.
        FormNotPending: It was answered, has expired, or its workflow doesn't ask any more.
        SerializationError: A cleaned value can't be stored.

    Example:
        (form,) = Inquiry.objects.pending().filter(workflow_id="refund-7")
        dbos.answer_form(form.pk, {"approved": "on"}, user=request.user)
    """
    refuse_on_loop("answer_form")
    _refuse_in_workflow("answer_form")
    answering.answer_form(form_id, data, user)


async def aanswer_form(form_id: int, data: Mapping[str, Any], user: Any = None) -> None:
    """See answer_form()."""
    _refuse_in_workflow("aanswer_form")
    await sync_to_async(answering.answer_form)(form_id, data, user)


def callback_url(topic: str, max_age: Duration = 7 * 86_400) -> str:
    """Return an address by which somebody else sends this workflow one message.

    Anybody who has the address may send it once, without a login, by a POST of JSON or of a form;
    `recv(topic)` returns the value. DBOS["BASE_URL"] and `django_dbos.urls` are needed. A
    replay returns the same address.

    Args:
        topic: The topic of the message.
        max_age: How long the address is valid, in seconds or as a timedelta; None means as long as
            the workflow is active. Default: 7 days.

    Returns:
        The address, which is a secret.

    Raises:
        ImproperlyConfigured: Django's; DBOS["BASE_URL"] isn't set, or the URLs aren't included.
        NotInWorkflow: The call is made outside a workflow.
        NotAllowedInStep: The call is made inside a step. Pass the address to the step.
        ValueError: `max_age` is 0.

    Example:
        @dbos.workflow
        def pay(order_id: int) -> str:
            create_payment(order_id, notify=dbos.callback_url("paid"))
            return dbos.recv("paid", timeout=timedelta(days=7))["status"]
    """
    arguments = _callback(topic, max_age)
    return enter_workflow(
        "callback_url", sync_callbacks.callback_url, callbacks.acallback_url, *arguments
    )


async def acallback_url(topic: str, max_age: Duration = 7 * 86_400) -> str:
    """See callback_url()."""
    arguments = _callback(topic, max_age)
    return await aenter_workflow("acallback_url", callbacks.acallback_url, *arguments)


def _request(
    form: Any,
    title: str,
    description: str,
    initial: Mapping[str, Any] | None,
    audience: tuple[Any, Any, str | None],
    timeout: Duration,
    reminders: Iterable[Any],
    on_reminder: Any,
) -> FormRequest:
    path = form_classes.path_of(form)
    seconds = durations.to_seconds(timeout, label="timeout")
    due = check_reminders(reminders, seconds)
    if on_reminder is not None and not due:
        raise TypeError("on_reminder is never called without reminders=[...].")
    if on_reminder is not None and not callable(on_reminder):
        raise TypeError(f"on_reminder must be a function, not {on_reminder!r}.")
    is_step = isinstance(on_reminder, StepFunction)
    label = f"The initial values of form {path!r}"
    return FormRequest(
        path=path,
        title=names.check_text(title, label="A title", allow_empty=True),
        description=names.check_text(
            description, label="A description", max_length=100_000, allow_empty=True
        ),
        initial=None if not initial else serializers.dumps(dict(initial), label=label),
        audience=audiences.of_options(*audience),
        timeout=seconds,
        reminders=due,
        on_reminder=on_reminder._definition.function if is_step else on_reminder,
        reminder_options=on_reminder._definition if is_step else None,
    )


def _refuse_in_workflow(operation: str) -> None:
    if workflow_run(context.current()) is not None:
        raise DbosError(
            f"{operation}() can't be called in a workflow's own code, where a replay would answer "
            "twice. Call it in a step, or send() a message."
        )


def _callback(topic: str, max_age: Duration) -> tuple[str, float | None]:
    checked = names.check_topic(topic)
    if checked is None:
        raise TypeError("callback_url() needs a topic, on which the workflow receives.")
    seconds = durations.to_seconds(max_age, label="max_age")
    if seconds == 0:
        raise ValueError("max_age must be more than 0: the address would never be valid.")
    return checked, seconds
