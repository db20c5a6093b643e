"""The app: registers the checks and finds every app's `workflows.py`. Starts nothing."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class DbosConfig(AppConfig):
    """`django_dbos` in INSTALLED_APPS."""

    name = "django_dbos"
    label = "django_dbos"
    verbose_name = _("Durable workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        autodiscover_modules("workflows")
