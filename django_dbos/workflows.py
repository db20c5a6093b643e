"""The workflows of the package itself: Django finds them as those of any app."""

from django.apps import apps

if apps.is_installed("django.contrib.admin"):
    import django_dbos.admin.bulk  # noqa: F401
