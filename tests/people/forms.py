"""Forms, good and bad ones, and the workflows that ask for them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import Group, User

import django_dbos as dbos


class ApprovalForm(forms.Form):
    approved = forms.BooleanField(required=False)
    amount = forms.DecimalField(max_value=1000)
    day = forms.DateField(required=False)
    note = forms.CharField(required=False)


class NeedsUser(forms.Form):
    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class PopsUser(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.user = kwargs.pop("user")
        super().__init__(*args, **kwargs)


class UploadForm(forms.Form):
    document = forms.FileField()


class OwnerForm(forms.Form):
    owner = forms.ModelChoiceField(User.objects.all())


class GroupsForm(forms.Form):
    groups = forms.ModelMultipleChoiceField(Group.objects.all())


class OwnerPkForm(OwnerForm):
    def clean_owner(self) -> Any:
        return self.cleaned_data["owner"].pk


class SneakyForm(forms.Form):
    """Its cleaned data can't be stored, which only its answer reveals."""

    name = forms.CharField()

    def clean(self) -> dict[str, Any]:
        kind = self.cleaned_data["name"]
        values: dict[str, Any] = {"user": User(username="x"), "object": object(), "list": [Group()]}
        return {"name": values.get(kind, kind)}


class Outer:
    class Inner(forms.Form):
        name = forms.CharField()


@dbos.workflow
def approve(**options: Any) -> Any:
    answer = dbos.wait_for_form(ApprovalForm, **options)
    return answer if isinstance(answer, str | None) else list(answer)


@dbos.workflow
async def aapprove(**options: Any) -> Any:
    answer = await dbos.await_for_form(ApprovalForm, **options)
    return answer if isinstance(answer, str | None) else list(answer)


@dbos.workflow
def ask_with(path: str, **options: Any) -> Any:
    return dbos.wait_for_form(path, **options).data


def _alternatives() -> dict[str, Any]:
    return {
        "first": dbos.form(ApprovalForm, title="first", groups=["managers"]),
        "second": dbos.form(ApprovalForm, title="second"),
        "withdrawn": dbos.message("withdraw"),
        "late": dbos.until(86_400),
    }


@dbos.workflow
def decide() -> Any:
    name, value = dbos.wait_any(**_alternatives())
    note = dbos.recv("note", timeout=None)
    return [name, value[0]["note"] if isinstance(value, dbos.FormAnswer) else value, note]


@dbos.workflow
async def adecide() -> Any:
    name, value = await dbos.await_any(**_alternatives())
    note = await dbos.arecv("note", timeout=None)
    return [name, value[0]["note"] if isinstance(value, dbos.FormAnswer) else value, note]
