"""The database router: add `django_dbos.routers.DbosRouter` to DATABASE_ROUTERS."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import models

from django_dbos.conf import get_settings

APP_LABEL = "django_dbos"
STEP_MODEL = "atomiccheckpoint"


class DbosRouter:
    """Assigns the engine's tables to DBOS["DATABASE"], and the step table to STEP_DATABASES."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        """Return the alias of the workflow database for its models, and None for all others."""
        return self._home(model)

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str | None:
        """Return the same as db_for_read()."""
        return self._home(model)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """Return whether the database gets the table; None for tables of other apps."""
        if app_label != APP_LABEL:
            return None
        try:
            settings = get_settings()
        except ImproperlyConfigured:
            # Django's model checks call this too. The engine's own checks report the problem.
            return False
        if model_name == STEP_MODEL:
            return db in settings.step_databases
        return db == settings.database

    def _home(self, model: type[models.Model]) -> str | None:
        if model._meta.app_label != APP_LABEL or model._meta.model_name == STEP_MODEL:
            return None
        return get_settings().database
