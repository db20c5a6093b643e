"""The forms of actions that need more than a confirmation: a queue, a time or a message."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos import serializers
from django_dbos.admin.base import rows_of
from django_dbos.conf import get_settings
from django_dbos.core import names
from django_dbos.core.durations import LAST_YEAR
from django_dbos.core.numbers import LARGEST_INT
from django_dbos.core.records import WakeKind
from django_dbos.core.status import Status
from django_dbos.exceptions import DbosError
from django_dbos.models import Queue, Workflow
from django_dbos.operations import attributes
from django_dbos.operations.options import check_run_after

# The number of queues that the form suggests.
MAX_SUGGESTED = 100
# A time that is never reached: the workflow starts when somebody runs it.
NEVER = datetime.max.replace(tzinfo=UTC)

QUEUE_INPUT = forms.TextInput(attrs={"list": "dbos-queues", "autocomplete": "off"})
"""Each field copies it."""


class ActForm(forms.Form):
    """A form whose cleaned values are the options of an action, as a dict of stored values."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})

    @classmethod
    def initial_of(cls, workflow: Workflow) -> dict[str, Any]:
        """Return what the form of a single workflow suggests."""
        return {}

    @property
    def options(self) -> dict[str, Any]:
        """The options of the action."""
        return dict(self.cleaned_data)


class QueueForm(ActForm):
    """The base of forms with a queue, for which the existing ones are suggested."""

    def clean_queue_name(self) -> str:
        """Return the name if it may be the name of a queue."""
        name: str = self.cleaned_data["queue_name"]
        try:
            return names.check_queue_name(name) if name else ""
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    @property
    def suggestions(self) -> dict[str, list[str]]:
        """The queues that exist, by the id of the list that the field names."""
        known = rows_of(Queue).order_by("name").values_list("name", flat=True)[:MAX_SUGGESTED]
        return {"dbos-queues": sorted({get_settings().default_queue, *known})}


class QueueChoice(QueueForm):
    """Another queue for workflows that are resumed."""

    queue_name = forms.CharField(
        label=_("Queue"),
        max_length=255,
        help_text=_("The queue in which the workflows continue, from now on."),
        widget=QUEUE_INPUT,
    )

    @classmethod
    def initial_of(cls, workflow: Workflow) -> dict[str, Any]:
        """Return the queue that it has."""
        return {"queue_name": workflow.queue_name}


class WithChildren(ActForm):
    """The option to delete the workflows that others have started with them."""

    children = forms.BooleanField(
        label=_("Delete the workflows that they started, too"),
        required=False,
        help_text=_("At any depth. Without this, workflows that would need it stay as they are."),
    )


class ForkPoint(QueueForm):
    """The step from which forks run, and their queue."""

    step = forms.IntegerField(
        label=_("From step"),
        min_value=1,
        max_value=LARGEST_INT,
        required=False,
        help_text=_("The first step that runs again. Empty: the step that failed."),
    )
    queue_name = forms.CharField(
        label=_("Queue"),
        max_length=255,
        required=False,
        help_text=_("Empty: the queue of the original."),
        widget=QUEUE_INPUT,
    )
    # Under it each workflow is forked once, however often the form is sent.
    form_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)

    def clean_form_id(self) -> str:
        """Return it as text; a new one if the form has none."""
        return str(self.cleaned_data["form_id"] or uuid4())


class RewindPoint(WithChildren):
    """The step from which workflows run again."""

    step = forms.IntegerField(
        label=_("To step"),
        min_value=1,
        max_value=LARGEST_INT,
        help_text=_("The first step that runs again. It and the later ones are deleted."),
    )
    field_order = ("step", "children")


class StartTime(ActForm):
    """When delayed workflows start: an instant, or when somebody runs them."""

    run_after = forms.DateTimeField(
        label=_("Start"),
        required=False,
        help_text=_("In the time zone of the admin. A time that has passed starts them at once."),
        widget=forms.DateTimeInput(
            attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S"
        ),
    )
    is_held = forms.BooleanField(
        label=_("Hold them until somebody runs them"),
        required=False,
    )

    @classmethod
    def initial_of(cls, workflow: Workflow) -> dict[str, Any]:
        """Return when it starts, unless it is held."""
        due_at: Any = workflow.due_at
        is_held = due_at is None or due_at.year >= LAST_YEAR - 1
        return {"is_held": True} if is_held else {"run_after": due_at}

    def clean(self) -> None:
        """Refuse both or neither, and a time that no database can hold."""
        run_after, is_held = self.cleaned_data.get("run_after"), self.cleaned_data.get("is_held")
        if self.errors:
            return
        if (run_after is None) != bool(is_held):
            raise forms.ValidationError(_("Give a time, or hold the workflows."))
        if run_after is not None:
            try:
                self.cleaned_data["run_after"] = check_run_after(run_after)
            except ValueError as error:
                self.add_error("run_after", str(error))

    @property
    def options(self) -> dict[str, Any]:
        """The instant, as `run_after`."""
        is_held = self.cleaned_data["is_held"]
        return {"run_after": NEVER if is_held else self.cleaned_data["run_after"]}


class MessageText(ActForm):
    """A message, written as JSON, and its topic."""

    topic = forms.CharField(
        label=_("Topic"),
        max_length=255,
        required=False,
        strip=False,
        help_text=_("The topic that recv() names. Empty: a message without a topic."),
    )
    message = forms.CharField(
        label=_("Message"),
        strip=False,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text=_('As JSON: {"approved": true}, "a text", 5 or null.'),
    )
    # Under it each receiver gets one message at most, however often the form is sent.
    idempotency_key = forms.CharField(
        max_length=255, widget=forms.HiddenInput, initial=lambda: f"admin-{uuid4()}"
    )

    @classmethod
    def initial_of(cls, workflow: Workflow) -> dict[str, Any]:
        """Return the topic of the message that it waits for, if it does."""
        if workflow.status != Status.WAITING or workflow.wake_kind != WakeKind.MESSAGE:
            return {}
        return {"topic": workflow.wake_name}

    def clean_topic(self) -> str | None:
        """Return the topic, or None for none."""
        topic: str = self.cleaned_data["topic"]
        if not topic:
            return None
        try:
            return names.check_topic(topic)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean_message(self) -> Any:
        """Return the value that the JSON stands for, if it can be stored."""
        text = self.cleaned_data["message"]
        limit = get_settings().max_payload_bytes
        if len(text) > limit:
            said = gettext("The message can't be longer than %d bytes.")
            raise forms.ValidationError(said % limit)
        value = _json(text)
        try:
            serializers.dumps(value, label="The message")
        except (ValueError, RecursionError, DbosError) as error:
            raise forms.ValidationError(gettext("This can't be sent: %s") % error) from error
        return value


class AttributesText(ActForm):
    """Attributes, written as JSON."""

    attributes = forms.CharField(
        label=_("Attributes"),
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text=_('As JSON, by their names: {"order": 17, "stage": "packed"}.'),
    )
    merge = forms.BooleanField(
        label=_("Keep the attributes that aren't named"), required=False, initial=True
    )

    def clean_attributes(self) -> dict[str, Any]:
        """Return the attributes, if they can be stored."""
        value = _json(self.cleaned_data["attributes"])
        try:
            attributes.to_text(value)
        except (TypeError, ValueError, DbosError) as error:
            raise forms.ValidationError(str(error)) from error
        if value is None:
            raise forms.ValidationError(gettext("Without attributes, write {}."))
        return dict(value)


def _json(text: str) -> Any:
    """Return the value that JSON stands for; raise ValidationError."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = {"line": error.lineno, "column": error.colno, "what": error.msg}
        said = gettext(
            "This isn't JSON: %(what)s, in line %(line)d, column %(column)d. Texts need quotes."
        )
        raise forms.ValidationError(said % where) from error
    except (ValueError, RecursionError) as error:
        raise forms.ValidationError(gettext("This can't be sent: %s") % error) from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(gettext("%s isn't JSON") % name)
