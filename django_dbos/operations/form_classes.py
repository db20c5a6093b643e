"""The classes of forms that people answer: found by dotted path, and checked before one is asked.

`django.forms` is imported when it is needed: `import django_dbos` must stay quick.
"""

from __future__ import annotations

import inspect
import logging
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from django_dbos import serializers
from django_dbos.core import names
from django_dbos.exceptions import SerializationError
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.views")

WANTED = "a subclass of django.forms.Form, or its dotted path"


def path_of(form: Any) -> str:
    """Return the dotted path of a form class, by which every process can make the form.

    Raises:
        TypeError: It is no form class, its constructor needs arguments, or it has a field whose
            value can't be stored.
        ValueError: The class can't be imported.
    """
    form_class = find(form) if isinstance(form, str) else form
    if not _is_form_class(form_class):
        raise TypeError(f"wait_for_form() takes {WANTED}, not {form!r}.")
    path = f"{form_class.__module__}.{form_class.__qualname__}"
    if _find(path) is not form_class:
        raise ValueError(
            f"Form {path!r} can't be imported, so a web process can't show it. Define the class at "
            "the top of a module."
        )
    _check_constructor(path, form_class)
    _check_fields(path, form_class)
    return names.check_text(path, label="The path of a form")


def find(path: str) -> type[Any]:
    """Return the form class at a dotted path; raise ValueError if there is none."""
    found = _find(path)
    if not _is_form_class(found):
        raise ValueError(
            f"Form {path!r} can't be imported here, or is no form class. Check the path; a process "
            "with older code may lack it."
        )
    return found  # type: ignore[no-any-return]


def make(path: str, initial: Mapping[str, Any], data: Any = None, **options: Any) -> Any:
    """Return a form, bound if there are data.

    Raises:
        ValueError: The class can't be imported here.
        TypeError: The class can't be called with data and initial values alone.
    """
    form_class = find(path)
    try:
        return form_class(data=data, initial=dict(initial), **options)
    except (TypeError, KeyError, AttributeError) as error:
        raise TypeError(_needs_arguments(path, error)) from error


def make_for(inquiry: Any, data: Any = None) -> Any:
    """Return the form of an Inquiry; raise FormUnusable if this process can't make it."""
    try:
        return make(str(inquiry.form_name), inquiry.initial, data)
    except (TypeError, ValueError, SerializationError) as error:
        shown = concealing.shown("", error)
        logger.error("Form %d can't be shown", inquiry.pk, exc_info=shown)
        raise FormUnusable(str(error)) from error


class FormUnusable(Exception):
    """The form can't be made in this process, which may have older code than the worker."""


def dump_answer(form: Any, user_id: str | None) -> tuple[str, str]:
    """Return the message and the answer of a valid form, serialized.

    Raises:
        SerializationError: A cleaned value can't be stored; PayloadTooLarge if all are too large.
    """
    path = f"{type(form).__module__}.{type(form).__qualname__}"
    for name, value in form.cleaned_data.items():
        _refuse_reference(path, name, value)
    label = f"The cleaned data of form {path!r}"
    answer = serializers.dumps(form.cleaned_data, label=label)
    return serializers.dumps([form.cleaned_data, user_id], label=label), answer


@cache
def _find(path: str) -> Any:
    """Return the object at a dotted path, or None. A class may be nested in another one."""
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError):
        return None


def _is_form_class(value: Any) -> bool:
    from django.forms import BaseForm

    return isinstance(value, type) and issubclass(value, BaseForm)


def _check_constructor(path: str, form_class: type[Any]) -> None:
    try:
        inspect.signature(form_class).bind(data=None, initial={})
    except TypeError as error:
        raise TypeError(_needs_arguments(path, error)) from error


def _needs_arguments(path: str, error: Exception) -> str:
    return (
        f"Form {path!r} can't be made of data and initial values alone ({error!r}). Web processes "
        "have nothing else: give its constructor's arguments defaults, and pass what differs in "
        "initial=."
    )


def _check_fields(path: str, form_class: type[Any]) -> None:
    """Refuse fields whose cleaned values are files or model instances."""
    from django.forms import FileField, Form, ModelChoiceField

    for name, field in form_class.base_fields.items():
        cleans = hasattr(form_class, f"clean_{name}") or form_class.clean is not Form.clean
        if isinstance(field, FileField):
            raise TypeError(
                f"Field {name!r} of form {path!r} is a file, which can't be stored with the "
                "workflow. Let people upload it elsewhere, and ask for its name or key."
            )
        if isinstance(field, ModelChoiceField) and not cleans:
            raise TypeError(_is_reference(path, name, "model instances"))


def _refuse_reference(path: str, name: str, value: Any) -> None:
    from django.core.files.base import File
    from django.db.models import Model, QuerySet

    if isinstance(value, Model | QuerySet | File):
        raise SerializationError(_is_reference(path, name, f"a {type(value).__name__}"))
    if isinstance(value, Mapping):
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for part in value:
            if isinstance(part, Model | QuerySet | File):
                raise SerializationError(_is_reference(path, name, f"a {type(part).__name__}"))


def _is_reference(path: str, name: str, kind: str) -> str:
    return (
        f"Field {name!r} of form {path!r} has {kind} as its value, which may change or be deleted "
        f"before the workflow reads it. Return a primary key from clean_{name}(), or use a "
        "TypedChoiceField of primary keys."
    )
