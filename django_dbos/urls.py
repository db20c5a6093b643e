"""The addresses for pages, for people and for other services.

A project has them by `path("dbos/", include("django_dbos.urls"))`.
"""

from django.urls import path

from django_dbos.live.message_view import messages
from django_dbos.live.views import events, streams
from django_dbos.monitoring.views import live, metrics, ready
from django_dbos.views import AnswerFormView, callback

app_name = "dbos"

urlpatterns = [
    path("forms/<int:form_id>/", AnswerFormView.as_view(), name="form"),
    path("callbacks/<str:signed>/", callback, name="callback"),
    # Some services drop the last slash, and Django can't redirect a POST.
    path("callbacks/<str:signed>", callback),
    path("streams/", streams, name="streams"),
    path("events/", events, name="events"),
    path("messages/", messages, name="messages"),
    path("health/live/", live, name="live"),
    path("health/ready/", ready, name="ready"),
    path("metrics/", metrics, name="metrics"),
]
