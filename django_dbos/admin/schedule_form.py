"""The form by which operators edit the options of a schedule."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_dbos.admin.section import Label
from django_dbos.core.schedules import CatchUp, Overlap
from django_dbos.models import Schedule
from django_dbos.operations import schedule_options

LABELS: dict[str, Label] = {
    "cron": _("Cron"),
    "every": _("Every"),
    "timezone": _("Time zone"),
    "queue_name": _("Queue"),
    "priority": _("Priority"),
    "partition_key": _("Partition key"),
    "start": _("Start"),
    "end": _("End"),
    "jitter": _("Jitter"),
    "catch_up": _("Catch up"),
    "catch_up_window": _("Catch-up window"),
    "overlap": _("Overlap"),
    "pause_after_failures": _("Pause after failures"),
}
HELP: dict[str, Label] = {
    "cron": _("Five fields: minute, hour, day of month, month, day of week. Or a period below."),
    "every": _("Seconds. Empty if there is a cron expression."),
    "timezone": _("The zone whose clock the cron expression means."),
    "queue_name": _("The queue of its workflows."),
    "partition_key": _("The partition of the queue, if it limits partitions."),
    "priority": _("From -100 to 100, higher first."),
    "start": _("The first instant at the earliest."),
    "end": _("The last instant at the latest."),
    "jitter": _("The maximum of a random delay of each start, in seconds."),
    "catch_up": _("What starts after a stop."),
    "catch_up_window": _("Seconds that an instant may be late. Empty: no limit."),
    "overlap": _("What an instant does while an earlier workflow is active."),
    "pause_after_failures": _("Failures in a row after which it is paused. Empty: never."),
}
CATCH_UP: dict[str, Label] = {
    CatchUp.NONE: pgettext_lazy("missed instants", "none"),
    CatchUp.LATEST: pgettext_lazy("missed instants", "latest"),
    CatchUp.ALL: pgettext_lazy("missed instants", "all"),
}
OVERLAP: dict[str, Label] = {
    Overlap.ALLOW: pgettext_lazy("an overlapping instant", "allow"),
    Overlap.SKIP: pgettext_lazy("an overlapping instant", "skip"),
    Overlap.QUEUE: pgettext_lazy("an overlapping instant", "queue"),
    Overlap.CANCEL: pgettext_lazy("an overlapping instant", "cancel"),
}


class ScheduleForm(forms.Form):
    """The options of a schedule in force; a field that is left as it is isn't edited."""

    cron = forms.CharField(required=False)
    every = forms.FloatField(required=False)
    timezone = forms.CharField(required=False)
    queue_name = forms.CharField(required=False)
    priority = forms.IntegerField(required=False)
    partition_key = forms.CharField(required=False)
    start = forms.DateTimeField(required=False)
    end = forms.DateTimeField(required=False)
    jitter = forms.FloatField(required=False)
    catch_up = forms.ChoiceField(choices=[(str(one), CATCH_UP[one]) for one in CatchUp])
    catch_up_window = forms.FloatField(required=False)
    overlap = forms.ChoiceField(choices=[(str(one), OVERLAP[one]) for one in Overlap])
    pause_after_failures = forms.IntegerField(required=False)

    def __init__(self, *args: Any, row: Schedule, **kwargs: Any) -> None:
        self._definition = row.definition
        kwargs["initial"] = {name: getattr(self._definition, name) for name in LABELS}
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label, field.help_text = LABELS[name], HELP[name]

    def clean(self) -> None:
        """Check each changed option as `dbos.schedules.edit` does."""
        for name, value in self.changes.items():
            try:
                schedule_options.checked({name: value}, owner=str(LABELS[name]))
            except (ImportError, TypeError, ValueError) as error:
                self.add_error(name, str(error))

    @property
    def changes(self) -> dict[str, Any]:
        """The options that were changed in the form."""
        found = {
            name: self.cleaned_data[name] for name in self.changed_data if name in self.cleaned_data
        }
        return {name: None if value == "" else value for name, value in found.items()}
