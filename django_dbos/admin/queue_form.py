"""The form by which operators edit the options of a queue."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.section import Label
from django_dbos.core import queue_options
from django_dbos.core.queue_options import CHECKS, PlainOptions
from django_dbos.models import Queue

LABELS: dict[str, Label] = {
    "concurrency": _("Concurrency"),
    "worker_concurrency": _("Concurrency of a worker"),
    "rate_limit": _("Rate limit"),
    "partition_concurrency": _("Concurrency of a partition"),
    "partition_rate_limit": _("Rate limit of a partition"),
    "hold_while_waiting": _("Hold while waiting"),
}
HELP: dict[str, Label] = {
    "concurrency": _("Workflows that may run at once, across all workers. Empty: no limit."),
    "worker_concurrency": _("Workflows that each worker may run at once."),
    "rate_limit": _("Starts within a period, such as 100/m or 5/10s."),
    "partition_concurrency": _("Workflows of one partition key that may run at once."),
    "partition_rate_limit": _("Starts of one partition key within a period."),
    "hold_while_waiting": _("A workflow counts from its start to its end, also while it waits."),
}


class QueueForm(forms.Form):
    """The options of a queue in force; a field that is left as it is isn't edited."""

    concurrency = forms.IntegerField(required=False)
    worker_concurrency = forms.IntegerField(required=False)
    rate_limit = forms.CharField(required=False)
    partition_concurrency = forms.IntegerField(required=False)
    partition_rate_limit = forms.CharField(required=False)
    hold_while_waiting = forms.BooleanField(required=False)

    def __init__(self, *args: Any, row: Queue, **kwargs: Any) -> None:
        self._in_force = queue_options.merged(row.declared, row.edited)
        kwargs["initial"] = {"hold_while_waiting": False, **self._in_force}
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label, field.help_text = LABELS[name], HELP[name]

    def clean(self) -> None:
        """Check each option, and whether those in force contradict one another."""
        for name in self.fields.keys() & (self.cleaned_data or {}).keys():
            try:
                self.cleaned_data[name] = self._checked(name)
            except (TypeError, ValueError) as error:
                self.add_error(name, str(error))
        if not self.errors:
            found = queue_options.contradictions({**self._in_force, **self.changes})
            for contradiction in found:
                self.add_error(None, str(contradiction))

    def _checked(self, name: str) -> Any:
        value = self.cleaned_data[name]
        return CHECKS[name](None if value == "" else value, str(LABELS[name]))

    @property
    def changes(self) -> PlainOptions:
        """The options that were changed in the form."""
        return {name: self.cleaned_data[name] for name in self.changed_data}
