"""What django-tasks-db runs while it's measured."""

from django.tasks import task

from benchmarks.environment import send_timestamp


@task
def does_nothing() -> None:
    """Nothing."""


@task
def sends_timestamp() -> None:
    send_timestamp()
