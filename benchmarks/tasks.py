"""The tasks that django-tasks-db runs while it is measured."""

from django.tasks import task

from benchmarks.environment import send_timestamp


@task
def does_nothing() -> None:
    """Nothing."""


@task
def sends_timestamp() -> None:
    send_timestamp()
