"""The forms of the shop, which also check JSON."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from example_project.shop import conf
from example_project.shop.http import RefusalError


def validate_encodable(value: str) -> None:
    """Refuse half of a surrogate pair, which JSON can spell and no database stores."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValidationError("Not valid Unicode.") from error


class TextField(forms.CharField):
    """A text field that refuses the lists and numbers of JSON."""

    default_validators = [validate_encodable]

    def to_python(self, value: Any) -> str:
        if value is not None and not isinstance(value, str):
            raise ValidationError("Enter text.")
        return super().to_python(value)


class OrderForm(forms.Form):
    sku = TextField(max_length=40)
    quantity = forms.IntegerField(min_value=1, max_value=1000)
    idempotency_key = TextField(max_length=200, required=False)


class PaymentForm(forms.Form):
    """The payment provider's report of a payment."""

    workflow_id = TextField(max_length=255)
    status = forms.ChoiceField(choices=[("paid", "paid"), ("failed", "failed")])


class ImportForm(forms.Form):
    file = forms.FileField(label="CSV file", max_length=200, allow_empty_file=True)

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        limit = conf.get("SHOP_IMPORT_MAX_BYTES")
        if file.size > limit:
            raise RefusalError(413, f"The file has {file.size:,} bytes; the limit is {limit:,}.")
        return file


def cleaned(form: forms.Form) -> dict[str, Any]:
    """Return the form's values; raise RefusalError with the errors of each field."""
    if form.is_valid():
        return form.cleaned_data
    errors = {field: list(messages) for field, messages in form.errors.items()}
    sentence = " ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items())
    raise RefusalError(400, sentence, errors=errors)


class RefundForm(forms.Form):
    """The question whether a customer gets money back, for people who may decide it."""

    approved = forms.BooleanField(required=False)
    amount = forms.DecimalField(min_value=0)
    reason = forms.CharField(required=False, widget=forms.Textarea)
