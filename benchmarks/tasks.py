"""What django-tasks-db runs while it's measured."""

from django.tasks import task

from benchmarks.environment import tell_time


@task
def does_nothing() -> None:
    """Nothing."""


@task
def tells_time() -> None:
    tell_time()
