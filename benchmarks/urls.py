"""The addresses of the pages: the admin, and one page with an element that follows a stream."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import include, path

PAGE = Template("""{% load dbos %}<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Live</title><link rel="icon" href="data:,">{% dbos_live %}</head>
<body>{% dbos_stream workflow_id "times" token=token limit=20 %}</body>
</html>
""")


def live(request: HttpRequest) -> HttpResponse:
    """Show the stream of the workflow in the query string, to holders of its token."""
    return HttpResponse(PAGE.render(RequestContext(request, request.GET.dict())))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("dbos/", include("django_dbos.urls")),
    path("live/", live),
]
