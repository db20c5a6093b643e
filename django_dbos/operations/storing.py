"""Reads and writes of offloaded values in runs: a failure of the storage is waited out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django_dbos.exceptions import OffloadFailed
from django_dbos.store import errors

T = TypeVar("T")
V = TypeVar("V")


class StorageAway(errors.Unavailable):
    """The storage of large values has failed, which may be over soon."""

    culprit = "the storage of large values"


def storing(act: Callable[[V], T], value: V) -> Callable[[], T]:
    """Return a call of `act` for `reads.apatiently`, which repeats it while the storage fails."""

    def call() -> T:
        try:
            return act(value)
        except OffloadFailed as error:
            raise StorageAway(str(error)) from error

    return call
