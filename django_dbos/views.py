"""The views that people and other services use: answering a form, and calling back."""

from __future__ import annotations

import json
import logging
from typing import Any, ClassVar, NoReturn

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from django_dbos.exceptions import (
    FormDoesNotExist,
    FormNotPending,
    PayloadTooLarge,
    SerializationError,
)
from django_dbos.models import Inquiry
from django_dbos.operations import answering, form_classes
from django_dbos.telemetry import concealing

__all__ = ["AnswerFormView", "callback"]

logger = logging.getLogger("django_dbos.views")

STATUSES = {
    "accepted": 200,
    "repeated": 200,
    "unknown": 404,
    "answered": 409,
    "expired": 410,
    "ended": 410,
}
"""HTTP's statuses for callbacks; with any other the sender is to try again."""
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


@method_decorator([never_cache, csrf_protect], name="dispatch")
class AnswerFormView(View):
    """The page of one form, for those who may answer it; a login comes first.

    A project may subclass it for another template, or for another page after the answer. Its
    template gets `form`, the Django form; `inquiry`, the form's row, with its `state`;
    `is_pending`; `is_refused` after an answer that came too late; and `is_unusable` if the form
    can't be shown.
    """

    template_name: ClassVar[str] = "django_dbos/form.html"
    success_url: ClassVar[str] = ""
    """The page after the answer; empty for the same page, which then says that it has arrived."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer the request; 503 if this process can't make the form, which is logged."""
        try:
            return super().dispatch(request, *args, **kwargs)
        except form_classes.FormUnusable:
            context = {"inquiry": Inquiry(title=gettext("Form")), "is_unusable": True}
            return render(request, self.template_name, context, status=503)

    def get(self, request: HttpRequest, form_id: int) -> HttpResponse:
        """Show the form, or what has become of it."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return self.show(request, self._find(request, form_id))

    def post(self, request: HttpRequest, form_id: int) -> HttpResponse:
        """Validate and accept an answer, or show the form with its errors."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        inquiry = self._find(request, form_id)
        if inquiry.state != Inquiry.State.PENDING:
            return self.show(request, inquiry, status=409)
        form = form_classes.make_for(inquiry, request.POST)
        if not (form.is_valid() and accept(inquiry, form, request.user)):
            status = 200 if form.errors else 409
            return self.show(request, self._find(request, form_id), form, status=status)
        return HttpResponseRedirect(self.success_url or request.get_full_path())

    def show(
        self, request: HttpRequest, inquiry: Inquiry, form: Any = None, *, status: int = 200
    ) -> HttpResponse:
        """Return the page, with a new form unless one is given."""
        is_pending = inquiry.state == Inquiry.State.PENDING
        if is_pending and form is None:
            form = form_classes.make_for(inquiry)
        is_refused = not is_pending and status == 409
        context = {
            "inquiry": inquiry,
            "form": form,
            "is_pending": is_pending,
            "is_refused": is_refused,
        }
        return render(request, self.template_name, context, status=status)

    def _find(self, request: HttpRequest, form_id: int) -> Inquiry:
        """Return the row; raise the same Http404 for an unknown form and a forbidden one."""
        try:
            inquiry = answering.read_form(form_id)
        except FormDoesNotExist:
            # The same queries as for a form that exists.
            inquiry = Inquiry(audience={"groups": [""]})
        if not inquiry.may_be_answered_by(request.user) or inquiry.pk is None:
            raise Http404(gettext("There is no such form, or you may not answer it."))
        return inquiry


def accept(inquiry: Inquiry, form: Any, user: Any) -> bool:
    """Answer with a valid form; return False if that failed.

    The form then has an error, unless it can't be answered any more.
    """
    try:
        answering.submit(inquiry, form, user)
    except FormNotPending:
        return False
    except (SerializationError, PayloadTooLarge) as error:
        shown = concealing.shown("", error)
        logger.error("The answer to form %d can't be stored", inquiry.pk, exc_info=shown)
        form.add_error(None, str(error))
        return False
    return True


@csrf_exempt
@never_cache
@require_POST
def callback(request: HttpRequest, signed: str) -> JsonResponse:
    """Deliver the value of a callback to its workflow, once.

    | status | meaning |
    | --- | --- |
    | 200 | accepted now, or before with the same value |
    | 400, 413, 415 | the body can't be read; the callback is still open |
    | 404 | the address is forged, or its workflow was deleted |
    | 409 | accepted before with another value |
    | 410 | too late: expired, or the workflow has ended |
    """
    try:
        outcome = answering.call_back(signed, lambda: read_value(request))
    except UnreadableError as error:
        return JsonResponse({"error": str(error)}, status=error.status)
    except (SerializationError, PayloadTooLarge) as error:
        status = 413 if isinstance(error, PayloadTooLarge) else 400
        return JsonResponse({"error": str(error)}, status=status)
    return JsonResponse({"status": outcome}, status=STATUSES.get(outcome, 503))


class UnreadableError(Exception):
    """A body that isn't accepted, with HTTP's status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_value(request: HttpRequest) -> Any:
    """Return the value in a body: JSON, a form's fields as a dict, or text; None for no body.

    Raises:
        UnreadableError: It is malformed, too large, or of another type.
    """
    kind = (request.content_type or "").lower()
    try:
        if kind in FORM_TYPES:
            return _read_fields(request)
        if not request.body:
            return None
        if kind == "application/json" or kind.endswith("+json"):
            return json.loads(request.body, parse_constant=_refuse_constant)
        if kind == "text/plain":
            return request.body.decode()
    except RequestDataTooBig as error:
        raise UnreadableError(413, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(400, f"The body can't be read: {error}") from error
    raise UnreadableError(
        415, f"The body is {kind or 'without a type'}. Send application/json, text/plain or a form."
    )


def _read_fields(request: HttpRequest) -> dict[str, Any]:
    if request.FILES:
        raise UnreadableError(415, "Files can't be sent here.")
    fields = request.POST.lists()
    return {name: values[0] if len(values) == 1 else values for name, values in fields}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't JSON")
