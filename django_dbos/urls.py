"""The addresses for people and other services: `path("dbos/", include("django_dbos.urls"))`."""

from django.urls import path

from django_dbos.views import AnswerFormView, callback

app_name = "dbos"

urlpatterns = [
    path("forms/<int:form_id>/", AnswerFormView.as_view(), name="form"),
    path("callbacks/<str:signed>/", callback, name="callback"),
]
