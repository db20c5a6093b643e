"""The backfill of a schedule: a form with a range, what it would start, and the start of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos import schedules
from django_dbos.admin.act_forms import ActForm
from django_dbos.admin.asking import ANSWER
from django_dbos.admin.named import NamedAdmin, log
from django_dbos.admin.values import instant
from django_dbos.exceptions import DbosError
from django_dbos.models import Schedule
from django_dbos.operations.schedules import PastInstant, preview_backfill

# The number of instants that the page which asks lists.
MAX_LISTED = 20


def _moment() -> forms.DateTimeInput:
    return forms.DateTimeInput(
        attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S"
    )


class Range(ActForm):
    """The first and the last instant, both included."""

    first = forms.DateTimeField(
        label=_("First instant"), help_text=_("In the time zone of the admin."), widget=_moment()
    )
    last = forms.DateTimeField(
        label=_("Last instant"), help_text=_("Included, and not later than now."), widget=_moment()
    )

    def clean(self) -> None:
        """Refuse a range that ends before it begins, or in the future."""
        first, last = self.cleaned_data.get("first"), self.cleaned_data.get("last")
        if last is not None and last > timezone.now():
            self.add_error("last", _("This is in the future: the schedule will start it itself."))
        elif first is not None and last is not None and last < first:
            self.add_error("last", _("This is before the beginning."))

    @property
    def range(self) -> tuple[datetime, datetime]:
        """The first and the last instant of a valid form."""
        return self.cleaned_data["first"], self.cleaned_data["last"]


def backfill_page(
    model_admin: NamedAdmin, request: HttpRequest, schedule: Schedule
) -> HttpResponse:
    """Ask for a range; show what it would start; start that once it is confirmed."""
    is_sent = request.method == "POST"
    now = timezone.now()
    initial = {"first": now - timedelta(days=1), "last": now}
    form = Range(request.POST if is_sent else None, initial=initial)
    page = _of_form(form)
    if is_sent and form.is_valid():
        try:
            if ANSWER in request.POST:
                _backfill(model_admin, request, schedule, form)
                return HttpResponseRedirect(model_admin.address("change", schedule))
            found = preview_backfill(str(schedule.name), *form.range)
        except (DbosError, ValueError) as error:
            form.add_error(None, str(error))
        else:
            page = _of_preview(found, request)
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "media": model_admin.media,
        "title": gettext("Backfill %s") % schedule.name,
        "original": schedule,
        "change": True,
        "has_view_permission": True,
        "form_url": request.get_full_path(),
        "back_url": model_admin.address("change", schedule),
        **page,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "admin/django_dbos/act.html", context)


def _of_form(form: Range) -> dict[str, Any]:
    """Return what the page which asks for the range shows."""
    question = _(
        "The workflows of past instants that haven't been started are started, also while others "
        "are active: the overlap rule isn't applied."
    )
    act = {"confirm": _("Show the instants")}
    return {"question": question, "has_any": True, "act": act, "form": form}


def _of_preview(found: list[PastInstant], request: HttpRequest) -> dict[str, Any]:
    """Return what the page which asks for the confirmation shows."""
    missing = [one.instant for one in found if not one.has_started]
    already = len(found) - len(missing)
    kept = [(name, request.POST[name]) for name in Range.base_fields]
    return {
        "question": _question(len(missing), is_empty=not found),
        "left": _had_one(already) if already else "",
        "has_any": bool(missing),
        "act": {"confirm": _("Yes, start them")},
        "listed": [(instant(one),) for one in missing[:MAX_LISTED]],
        "unlisted": max(len(missing) - MAX_LISTED, 0),
        "hidden": [(ANSWER, "yes"), *kept],
    }


def _backfill(
    model_admin: NamedAdmin, request: HttpRequest, schedule: Schedule, form: Range
) -> None:
    """Start what is missing; log it, and tell how many were started."""
    first, last = form.range
    count = len(schedules.backfill(str(schedule.name), first, last))
    if count:
        text = gettext("Backfilled from %(first)s to %(last)s; workflows started: %(count)d.")
        values = {"first": instant(first), "last": instant(last), "count": count}
        log(request, [schedule], text % values)
    said = ngettext("%d workflow was started.", "%d workflows were started.", count) % count
    level = messages.SUCCESS if count else messages.WARNING
    model_admin.message_user(request, said, level)


def _question(count: int, *, is_empty: bool) -> str:
    if is_empty:
        return gettext("The schedule has no instant in this range.")
    if not count:
        return gettext("There is nothing to start.")
    text = ngettext("%d workflow will be started.", "%d workflows will be started.", count)
    return text % count


def _had_one(count: int) -> str:
    text = ngettext(
        "%d instant has started its workflow already.",
        "%d instants have started their workflows already.",
        count,
    )
    return text % count
