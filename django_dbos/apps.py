"""The app config: registers the checks, and imports each app's `workflows.py`. Starts nothing."""

from __future__ import annotations

from importlib.util import find_spec

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import register
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

from django_dbos import checks, redaction, signals
from django_dbos.telemetry import concealing


class DbosConfig(AppConfig):
    """The config of "django_dbos" in INSTALLED_APPS."""

    name = "django_dbos"
    label = "django_dbos"
    verbose_name = _("Durable workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks and signal receivers, and import every app's `workflows.py`."""
        register(checks.check_dbos, checks.TAG)
        concealing.conceal_errors_where(redaction.is_error_concealed)
        # Notifications need a channel layer, and Channels itself is optional.
        if getattr(settings, "CHANNEL_LAYERS", None) and find_spec("channels") is not None:
            self._connect_notifications()
        post_migrate.connect(_complete_tables, sender=self, dispatch_uid="django_dbos.tables")
        autodiscover_modules("workflows")

    def _connect_notifications(self) -> None:
        from django_dbos.consumers import channel_layer

        signals.keys_changed.connect(
            channel_layer.send_notifications, dispatch_uid="django_dbos.notifications"
        )


def _complete_tables(*, using: str, **kwargs: object) -> None:
    from django_dbos.store import schema

    schema.complete(using)
