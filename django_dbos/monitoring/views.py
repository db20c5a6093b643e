"""The views of health and metrics. Their answer is at most a few seconds old.

`live` and `ready` answer everyone, with a status and a word. Details, and metrics, are for those
who send `Authorization: Bearer` with DBOS["MONITORING_TOKEN"], and for users who may view
workflows.
"""

from __future__ import annotations

import time
from threading import Lock

from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_dbos.conf import get_settings
from django_dbos.health import Health, check_health

__all__ = ["live", "metrics", "ready"]

# Seconds for which an answer serves other requests.
FRESH = 2.0
VIEW = "django_dbos.view_workflow"
UNAVAILABLE, NOT_IMPLEMENTED = 503, 501


class _Recent:
    """The last answer of this process: many requests cost one check."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: Health | None = None
        self._read_at = 0.0

    def get(self) -> Health:
        """Return the last answer, or a new one if it is too old."""
        with self._lock:
            if self._found is None or time.monotonic() - self._read_at > FRESH:
                self._found = check_health()
                self._read_at = time.monotonic()
            return self._found

    def forget(self) -> None:
        """Have the next request check."""
        self._found = None


recent = _Recent()


@non_atomic_requests
@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Answer with 200 as long as this process and the database do, else 503."""
    found = recent.get()
    return _answer(request, found, is_well=found.is_live)


@non_atomic_requests
@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Answer with 200 while workflows make progress, else 503."""
    found = recent.get()
    return _answer(request, found, is_well=found.is_ready)


@non_atomic_requests
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with the figures of the database in Prometheus's text format."""
    if not _may_see(request):
        return HttpResponseForbidden("Send DBOS['MONITORING_TOKEN'] as a bearer token.")
    try:
        from django_dbos.monitoring import gauges
    except ModuleNotFoundError:
        return HttpResponse("Install django-durable-workflows[prometheus].", status=NOT_IMPLEMENTED)
    found = recent.get()
    if found.figures is None:
        return HttpResponse(found.problems[0].text, status=UNAVAILABLE)
    return HttpResponse(gauges.as_text(found.figures), content_type=gauges.CONTENT_TYPE_LATEST)


def _answer(request: HttpRequest, found: Health, *, is_well: bool) -> JsonResponse:
    shown = {"ok": is_well}
    if _may_see(request):
        shown |= found.as_json()
    return JsonResponse(shown, status=200 if is_well else UNAVAILABLE)


def _may_see(request: HttpRequest) -> bool:
    token = get_settings().monitoring_token
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if token and scheme.lower() == "bearer" and constant_time_compare(given.strip(), token):
        return True
    user = getattr(request, "user", None)
    return user is not None and user.is_authenticated and bool(user.has_perm(VIEW))
