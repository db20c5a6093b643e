"""Rows that only the engine writes: the base of all models."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from django_dbos import serializers

if apps.apps_ready and not apps.is_installed("django_dbos"):
    # Django's own error is about an app_label of the first of these models, which nobody knows.
    raise ImproperlyConfigured(
        "'django_dbos' isn't in INSTALLED_APPS. Add it there, then run `manage.py migrate`."
    )

M = TypeVar("M", bound=models.Model)


def value_of(text: str | None) -> Any:
    """Return the value of a serialized text; None for NULL."""
    return None if text is None else serializers.loads(text)


def error_of(text: str | None) -> BaseException | None:
    """Return the exception of a serialized text; None for NULL."""
    return None if text is None else serializers.load_error_or_stand_in(text)


def _refusal(model: type[models.Model], operation: str) -> TypeError:
    return TypeError(
        f"{model.__name__}: {operation}() isn't allowed. Rows of the engine change through its "
        "functions: start, send, handle.cancel(), handle.resume() and so on."
    )


class EngineQuerySet(models.QuerySet[M]):
    """Rows that can be read and not changed."""

    def _refuse(self, operation: str) -> NoReturn:
        raise _refusal(self.model, operation)

    def create(self, **kwargs: Any) -> M:
        """Raise TypeError."""
        self._refuse("create")

    def get_or_create(self, *args: Any, **kwargs: Any) -> tuple[M, bool]:
        """Raise TypeError."""
        self._refuse("get_or_create")

    def update_or_create(self, *args: Any, **kwargs: Any) -> tuple[M, bool]:
        """Raise TypeError."""
        self._refuse("update_or_create")

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[M]:
        """Raise TypeError."""
        self._refuse("bulk_create")

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        """Raise TypeError."""
        self._refuse("bulk_update")

    def update(self, **kwargs: Any) -> int:
        """Raise TypeError."""
        self._refuse("update")

    def delete(self) -> tuple[int, dict[str, int]]:
        """Raise TypeError."""
        self._refuse("delete")


class EngineRow(models.Model):
    """A row that only the engine writes."""

    objects = EngineQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raise TypeError."""
        raise _refusal(type(self), "save")

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raise TypeError."""
        raise _refusal(type(self), "delete")
