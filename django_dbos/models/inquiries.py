"""Questions of workflows: to people, by forms, and to other services, by callbacks."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Case, Exists, OuterRef, Q, Value, When
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from django_dbos.conf import absolute_url
from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.core.status import ACTIVE
from django_dbos.fields import DatabaseNow, InstantField, KeyField
from django_dbos.models.base import EngineQuerySet, EngineRow, value_of
from django_dbos.models.workflows import Workflow

ANSWER_FORM = "django_dbos.answer_form"
# The condition of the index on what nobody has answered yet.
IS_UNANSWERED = Q(answered_at__isnull=True, closed_at__isnull=True)


class InquiryQuerySet(EngineQuerySet["Inquiry"]):
    """Forms and callbacks, and whether they can still be answered."""

    def pending(self) -> InquiryQuerySet:
        """Return those that can be answered now.

        Nobody has answered them, their time isn't over, and the workflow still asks: it is active,
        and is neither a later one with the same id nor a later run of it.
        """
        in_time = Q(expires_at=None) | Q(expires_at__gt=DatabaseNow())
        return self.filter(IS_UNANSWERED, in_time, _is_asked())

    def with_state(self) -> InquiryQuerySet:
        """Annotate each with its `state`, by the database's clock."""
        state = Case(
            When(answered_at__isnull=False, then=Value(Inquiry.State.ANSWERED)),
            When(expires_at__lte=DatabaseNow(), then=Value(Inquiry.State.EXPIRED)),
            When(Q(closed_at=None) & _is_asked(), then=Value(Inquiry.State.PENDING)),
            default=Value(Inquiry.State.ENDED),
            output_field=models.CharField(),
        )
        found: Any = self
        return found.annotate(state=state)  # type: ignore[no-any-return]


def _is_asked() -> Q:
    """Return the condition that the workflow may still use an answer.

    A form belongs to the run that waits for it. A callback is a message, and messages outlast
    `continue_as_new()`.
    """
    asking = Workflow._default_manager.filter(
        Q(deadline_at=None) | Q(deadline_at__gt=DatabaseNow()),
        workflow_id=OuterRef("workflow_id"),
        token=OuterRef("token"),
        status__in=sorted(ACTIVE),
    )
    in_same_run = asking.filter(steps_before__lt=OuterRef("step_number"))
    is_callback = Q(kind=Inquiry.Kind.CALLBACK)
    return (is_callback & Q(Exists(asking))) | (~is_callback & Q(Exists(in_same_run)))


class Inquiry(EngineRow):
    """A form that a workflow waits for, or a callback that it has given away.

    Its answer is a message to the workflow, sent by the transaction that marks the row as answered.
    Annotated by `Inquiry.objects.with_state()`, a row has its `state`.
    """

    class Kind(models.TextChoices):
        FORM = "form", _("form")
        CALLBACK = "callback", _("callback")

    class State(models.TextChoices):
        PENDING = "pending", _("waiting")
        ANSWERED = "answered", _("answered")
        EXPIRED = "expired", _("expired")
        ENDED = "ended", _("no longer asked")

    state: str
    """A State; only of rows from `Inquiry.objects.with_state()`."""

    inquiry_id = models.BigAutoField(_("number"), primary_key=True)
    kind = KeyField(_("kind"), max_length=10, choices=Kind.choices)
    workflow_id = KeyField(_("workflow id"), max_length=MAX_ID_LENGTH)
    token = models.UUIDField(_("workflow's token"))
    step_number = models.IntegerField(_("step number"))
    position = models.SmallIntegerField(
        _("position"), db_default=0, help_text=_("Among the alternatives of one wait.")
    )
    secret = models.UUIDField(_("secret"))
    topic = KeyField(_("topic of the answer"), max_length=255)

    form_name = KeyField(_("form"), max_length=255, db_default="")
    title = models.CharField(_("title"), max_length=255, db_default="")
    description = models.TextField(_("description"), db_default="")
    initial_text = models.TextField(_("initial values"), db_column="initial", null=True)
    audience = models.JSONField(
        _("audience"), null=True, help_text=_("Who may answer, besides holders of the permission.")
    )

    created_at = InstantField(_("asked at"))
    expires_at = InstantField(_("expires at"), null=True)
    answered_at = InstantField(_("answered at"), null=True)
    answered_by = KeyField(_("answered by user"), max_length=255, null=True)
    answer_text = models.TextField(_("answer"), db_column="answer", null=True)
    closed_at = InstantField(_("closed at"), null=True)

    objects: ClassVar[InquiryQuerySet] = InquiryQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "dbos_inquiry"
        verbose_name = _("form or callback")
        verbose_name_plural = _("forms and callbacks")
        default_permissions = ("view",)
        permissions = (("answer_form", "Can answer form"),)
        indexes = (
            models.Index(
                fields=("kind", "inquiry_id"),
                name="dbos_inquiry_unanswered",
                condition=IS_UNANSWERED,
            ),
            # For the lists of all, and of those that are answered.
            models.Index(fields=("kind", "inquiry_id"), name="dbos_inquiry_kind"),
            models.Index(fields=("workflow_id", "inquiry_id"), name="dbos_inquiry_workflow"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("token", "step_number", "position"), name="dbos_inquiry_step"
            ),
        )

    def __str__(self) -> str:
        return self.title or f"{self.kind} {self.inquiry_id}"

    def get_absolute_url(self) -> str:
        """Return the path of the page on which the form is answered; needs `django_dbos.urls`."""
        return reverse("dbos:form", args=[self.inquiry_id])

    def may_be_answered_by(self, user: Any) -> bool:
        """Return whether the user is one of the form's audience, or may answer every form.

        That is the permission `django_dbos.answer_form`, which superusers have. Nobody else may
        answer a form without an audience, and anonymous and inactive users none at all. A
        callback isn't a form: nobody answers it on a page.
        """
        if self.kind == self.Kind.CALLBACK:
            return False
        if user is None or not user.is_authenticated or not user.is_active:
            return False
        if user.has_perm(ANSWER_FORM):
            return True
        named = self.audience or {}
        if str(user.pk) in named.get("users", ()):
            return True
        permission, groups = named.get("permission"), named.get("groups")
        if permission is not None and user.has_perm(permission):
            return True
        return bool(groups) and user.groups.filter(name__in=groups).exists()

    @property
    def url(self) -> str:
        """The same as an address to send to people, below DBOS["BASE_URL"]."""
        return absolute_url(self.get_absolute_url())

    @property
    def initial(self) -> dict[str, Any]:
        """The initial values of the form's fields."""
        return value_of(self.initial_text) or {}

    @property
    def answer(self) -> Any:
        """The cleaned data of the form, or the value of the callback; None while there is none."""
        return value_of(self.answer_text)
