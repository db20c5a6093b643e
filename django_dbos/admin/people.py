"""The list of what workflows ask of people and services, and the page that answers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.base import rows_of
from django_dbos.admin.look import Look
from django_dbos.admin.named import log
from django_dbos.admin.rows import NumberedAdmin, NumberedList
from django_dbos.admin.section import Label
from django_dbos.admin.values import instant
from django_dbos.exceptions import FormNotPending, PayloadTooLarge, SerializationError
from django_dbos.models import Inquiry
from django_dbos.operations import answering, form_classes

ANSWERED, ALL = "answered", "all"
# The colours of the badges are those of statuses.
BADGES = {
    Inquiry.State.PENDING: "WAITING",
    Inquiry.State.ANSWERED: "SUCCESS",
    Inquiry.State.EXPIRED: "CANCELLED",
    Inquiry.State.ENDED: "CANCELLED",
}


class _Choice(admin.SimpleListFilter):
    """A filter that chooses its first value unless another one is given."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the choices, without one for all."""
        first = self.lookup_choices[0][0]
        for value, title in self.lookup_choices:
            yield {
                "selected": (self.value() or first) == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }


class StateFilter(_Choice):
    """Filters by whether an answer can still be given; the default is what can be answered."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return those states that an index, or the latest rows, find quickly."""
        waiting = (Inquiry.State.PENDING.value, Inquiry.State.PENDING.label)
        return [waiting, (ANSWERED, Inquiry.State.ANSWERED.label), (ALL, _("all"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the rows in the chosen state."""
        match self.value():
            case "answered":
                return queryset.filter(answered_at__isnull=False)
            case "all":
                return queryset
        return queryset.pending()


class KindFilter(_Choice):
    """Filters by kind; the default is forms."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return both kinds."""
        return [
            (Inquiry.Kind.FORM.value, _("forms")),
            (Inquiry.Kind.CALLBACK.value, _("callbacks")),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the rows of the chosen kind."""
        is_callback = self.value() == Inquiry.Kind.CALLBACK
        return queryset.filter(kind=Inquiry.Kind.CALLBACK if is_callback else Inquiry.Kind.FORM)


class InquiryList(NumberedList):
    """The list, with the names of those who have answered."""

    def get_results(self, request: HttpRequest) -> None:
        """Load a page of rows, and the names of their users by one query."""
        super().get_results(request)
        rows = list(self.result_list)
        names = _names_of(rows)
        for row in rows:
            row.answerer = names.get(row.answered_by, row.answered_by or "")
        self.result_list = rows


@admin.register(Inquiry)
class InquiryAdmin(NumberedAdmin):
    """Forms that wait for people, and callbacks that wait for other services."""

    value_column = "answer_text"
    list_display = (
        "name",
        "state_shown",
        "workflow",
        "audience_shown",
        "asked",
        "answer_by",
    )
    list_filter = (StateFilter, KindFilter)
    search_fields = ("workflow_id",)
    search_help_text = _("The id of the workflow.")
    ordering = ("-inquiry_id",)
    older_label = _("Older forms and callbacks")
    view_on_site = False
    list_display_links = ("name",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may see the pages; those who may answer do, too."""
        may_answer = request.user.has_perm("django_dbos.answer_form")
        return may_answer or super().has_view_permission(request, obj)

    # The list

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows with their states, without their values."""
        return super().get_queryset(request).with_state().defer("initial_text", "answer_text")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[InquiryList]:
        """Return the class of the list."""
        return InquiryList

    @admin.display(description=_("question"))
    def name(self, inquiry: Inquiry) -> str:
        """Return the title of a form, or the topic of a callback."""
        return inquiry.title or str(inquiry.topic)

    @admin.display(description=_("state"))
    def state_shown(self, inquiry: Inquiry) -> SafeString:
        """Return the state as a badge."""
        return _badge(inquiry)

    @admin.display(description=_("workflow"))
    def workflow(self, inquiry: Inquiry) -> SafeString:
        """Return a link to the workflow that asks."""
        return self.workflow_link(str(inquiry.workflow_id))

    @admin.display(description=_("who may answer"))
    def audience_shown(self, inquiry: Inquiry) -> str:
        """Return who may answer, besides the holders of the permission."""
        return _audience(inquiry)

    @admin.display(description=_("asked at"))
    def asked(self, inquiry: Inquiry) -> SafeString | str:
        """Return when the workflow has asked, and until when an answer is accepted."""
        asked = _to_minute(inquiry.created_at)
        if inquiry.expires_at is None or inquiry.answered_at is not None:
            return asked
        until = gettext("until %s") % _to_minute(inquiry.expires_at)
        return format_html('{}<p class="dbos-why">{}</p>', asked, until)

    @admin.display(description=_("answered by"))
    def answer_by(self, inquiry: Any) -> SafeString | str:
        """Return the user who has answered, and when."""
        if inquiry.answered_at is None:
            return ""
        answered = _to_minute(inquiry.answered_at)
        return format_html('{}<p class="dbos-why">{}</p>', inquiry.answerer, answered)

    # The page

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Return the page of a form or a callback, or accept an answer."""
        inquiry = self._find(request, object_id)
        may_answer = inquiry.kind == Inquiry.Kind.FORM and inquiry.may_be_answered_by(request.user)
        is_post = request.method == "POST"
        if is_post and not may_answer:
            raise PermissionDenied
        form, problem = None, ""
        if may_answer and inquiry.state == Inquiry.State.PENDING:
            try:
                form = form_classes.make_for(inquiry, request.POST if is_post else None)
            except form_classes.FormUnusable as error:
                problem = str(error)
        elif is_post:
            return self._answered(request, inquiry, is_late=True)
        is_valid = is_post and form is not None and form.is_valid()
        if is_valid and self._answer(request, inquiry, form):
            return self._answered(request, inquiry, is_late=False)
        context = {"form": form, "problem": problem, **(extra_context or {})}
        return self._page(request, inquiry, context)

    def _page(
        self, request: HttpRequest, inquiry: Inquiry, context: dict[str, Any]
    ) -> TemplateResponse:
        form = context["form"]
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            "admin/django_dbos/inquiry.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "original": inquiry,
                "change": True,
                "has_view_permission": True,
                "title": self.name(inquiry),
                "inquiry": inquiry,
                "facts": self._facts(request, inquiry),
                "media": self.media if form is None else self.media + form.media,
                "history_url": self._address("history", inquiry),
                **context,
            },
        )

    def _find(self, request: HttpRequest, object_id: str) -> Inquiry:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            pk = self.model._meta.pk.to_python(unquote(object_id))
            found = rows_of(Inquiry).with_state().filter(pk=pk).first()  # type: ignore[attr-defined]
        except (ValidationError, OverflowError):
            found = None
        if found is None:
            raise Http404(gettext("Form '%s' doesn't exist.") % unquote(object_id))
        return found  # type: ignore[no-any-return]

    def _answer(self, request: HttpRequest, inquiry: Inquiry, form: Any) -> bool:
        """Answer, and note it in the history; return False with an error in the form."""
        try:
            answering.submit(inquiry, form, request.user)
        except (FormNotPending, SerializationError, PayloadTooLarge) as error:
            form.add_error(None, str(error))
            return False
        log(request, [inquiry], gettext("Answered."))
        return True

    def _answered(
        self, request: HttpRequest, inquiry: Inquiry, *, is_late: bool
    ) -> HttpResponseRedirect:
        if is_late:
            text = gettext("The form couldn't be answered any more.")
            self.message_user(request, text, messages.WARNING)
        else:
            self.message_user(request, gettext("The workflow gets the answer."), messages.SUCCESS)
        return HttpResponseRedirect(self._address("change", inquiry))

    def _facts(self, request: HttpRequest, inquiry: Inquiry) -> list[tuple[Label, Any]]:
        names = _names_of([inquiry])
        by = str(inquiry.answered_by or "")
        facts: list[tuple[Label, Any]] = [
            (_("State"), _badge(inquiry)),
            (_("Workflow"), self.workflow_link(str(inquiry.workflow_id))),
            (_("Step"), inquiry.step_number),
            (_("Form"), inquiry.form_name),
            (_("Topic"), inquiry.topic if inquiry.kind == Inquiry.Kind.CALLBACK else ""),
            (_("Who may answer"), _audience(inquiry)),
            (_("Asked"), instant(inquiry.created_at)),
            (_("Until"), instant(inquiry.expires_at)),
            (_("Answered"), instant(inquiry.answered_at)),
            (_("Answered by"), names.get(by, by)),
            (_("Answer"), self._shown_answer(request, inquiry)),
            (_("Closed"), instant(inquiry.closed_at)),
        ]
        return [(label, value) for label, value in facts if value not in (None, "")]

    def _shown_answer(self, request: HttpRequest, inquiry: Inquiry) -> SafeString | str:
        if inquiry.answered_at is None:
            return ""
        inquiry.look = Look.of(request, is_whole=True)  # type: ignore[attr-defined]
        return self.plain_value(inquiry)

    def _address(self, view: str, inquiry: Inquiry) -> str:
        return reverse(
            f"admin:django_dbos_inquiry_{view}",
            args=[quote(inquiry.pk)],
            current_app=self.admin_site.name,
        )


def _badge(inquiry: Inquiry) -> SafeString:
    state = Inquiry.State(inquiry.state)
    badge = '<span class="dbos-status" data-status="{}">{}</span>'
    return format_html(badge, BADGES[state], state.label)


def _audience(inquiry: Inquiry) -> str:
    """Return who may answer as words: users by their pks, groups, the permission."""
    named = inquiry.audience or {}
    parts = []
    if users := named.get("users"):
        parts.append(gettext("users %s") % ", ".join(users))
    if groups := named.get("groups"):
        parts.append(gettext("groups %s") % ", ".join(groups))
    if permission := named.get("permission"):
        parts.append(gettext("permission %s") % permission)
    return "; ".join(parts)


def _names_of(rows: Sequence[Inquiry]) -> dict[str, str]:
    """Return the names of the users who have answered, by their pks as text."""
    pks = {str(row.answered_by) for row in rows if row.answered_by}
    if not pks:
        return {}
    try:
        found = get_user_model()._default_manager.filter(pk__in=pks)
        return {str(user.pk): user.get_username() for user in found}
    except (TypeError, ValueError, ValidationError):
        # Pks of a user model that has been replaced.
        return {}


def _to_minute(value: Any) -> str:
    return instant(value).rpartition(":")[0]
