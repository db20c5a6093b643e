"""The URLs of the test project: the admin, and the pages for people and other services."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("dbos/", include("django_dbos.urls"))]
