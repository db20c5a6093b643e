"""The site that the browser tests visit: pages with the elements, the shop and the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import RequestContext, Template
from django.urls import include, path

# Nothing inline, nothing from elsewhere, and no text that becomes markup in a script.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
PAGE = """{{% load dbos static %}}<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Elements</title>
<link rel="icon" href="data:,">
{{% dbos_live %}}
<link rel="stylesheet" href="{{% static 'shop/shop.css' %}}">
</head>
<body>
<main><h1>Elements</h1>
{{% for workflow_id in workflow_ids %}}{body}{{% endfor %}}
</main>
</body>
</html>
"""
# The arguments that all tags have from the page's address.
HOW = "token=token websocket=websocket"
BODIES = {
    "progress": f"{{% dbos_progress workflow_id key {HOW} %}}",
    "progress-of-stream": f'{{% dbos_progress workflow_id key source="stream" {HOW} %}}',
    "stream": f"{{% dbos_stream workflow_id key {HOW} %}}",
    "short-stream": f"{{% dbos_stream workflow_id key limit=3 {HOW} %}}",
    "text": f'{{% dbos_stream workflow_id key mode="text" {HOW} %}}',
    "event": f'{{% dbos_event workflow_id key default="nothing yet" labels=labels {HOW} %}}',
}
ALL = ("progress", "stream", "text", "event")
BODIES["all"] = "\n".join(f"<h2>{name}</h2>{BODIES[name]}" for name in ALL)
BODIES["both"] = BODIES["stream"] + BODIES["event"]
LABELS = {"awaiting_payment": "Waiting for your payment"}


def show(request: HttpRequest, name: str) -> HttpResponse:
    """Render one of the pages for the workflows, key and token in the query string."""
    values: dict[str, Any] = {
        **request.GET.dict(),
        "workflow_ids": request.GET.getlist("workflow_id"),
        "websocket": "websocket" not in request.GET,
        "labels": LABELS,
    }
    page = Template(PAGE.format(body=BODIES[name]))
    return HttpResponse(page.render(RequestContext(request, values)))


def show_guide(request: HttpRequest, name: str, order_id: str) -> HttpResponse:
    """Render a template of the guide for an order."""
    return render(request, f"orders/{name}.html", {"order_id": order_id})


def receipt(request: HttpRequest, order_id: str) -> HttpResponse:
    return HttpResponse("This is the receipt.")


def headers(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Middleware: a strict Content-Security-Policy for every page, and no events for some.

    Browsers with the cookie `without_events` have a proxy before them that lets none through.
    """

    def answer(request: HttpRequest) -> Any:
        if request.GET.get("live") == "sse" and "without_events" in request.COOKIES:
            return HttpResponse("as of a proxy", status=502)
        response = get_response(request)
        # Libraries of others make markup of texts.
        is_ours = not request.path.startswith(("/guide/", "/admin/"))
        policy = POLICY if is_ours else POLICY.partition("; require-trusted")[0]
        response.headers.setdefault("Content-Security-Policy", policy)
        return response

    return answer


urlpatterns = [
    path("show/<str:name>/", show),
    path("guide/<str:name>/<str:order_id>/", show_guide),
    path("progress/<str:order_id>/", show_guide, {"name": "progress"}, name="progress"),
    path("receipt/<str:order_id>/", receipt, name="receipt"),
    path("admin/", admin.site.urls),
    path("dbos/", include("django_dbos.urls")),
    path("", include("example_project.shop.urls")),
]
