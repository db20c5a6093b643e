"""The shop at the root, Django's admin and the addresses of live pages beside it."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("dbos/", include("django_dbos.urls")),
    path("", include("example_project.shop.urls")),
]
