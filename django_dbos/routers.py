"""Where the engine's tables live: add `django_dbos.routers.DbosRouter` to DATABASE_ROUTERS."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import models

from django_dbos.conf import get_settings

APP_LABEL = "django_dbos"
STEP_MODEL = "atomiccheckpoint"


class DbosRouter:
    """Sends the engine's tables to DBOS["DATABASE"], the step table to STEP_DATABASES."""

    def db_for_read(self, model: type[models.Model], **notifications: Any) -> str | None:
        return self._home(model)

    def db_for_write(self, model: type[models.Model], **notifications: Any) -> str | None:
        return self._home(model)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **notifications: Any
    ) -> bool | None:
        if app_label != APP_LABEL:
            return None
        try:
            settings = get_settings()
        except ImproperlyConfigured:
            # Django's checks of models ask as well: the engine's own say what is wrong.
            return False
        if model_name == STEP_MODEL:
            return db in settings.step_databases
        return db == settings.database

    def _home(self, model: type[models.Model]) -> str | None:
        if model._meta.app_label != APP_LABEL or model._meta.model_name == STEP_MODEL:
            return None
        return get_settings().database
