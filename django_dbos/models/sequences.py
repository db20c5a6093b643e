"""Sequences, for databases that have none."""

from __future__ import annotations

from django.db import models

from django_dbos.fields import KeyField
from django_dbos.models.base import EngineRow


class Sequence(EngineRow):
    """Places in the queues, where the database has no sequences (SQLite)."""

    name = KeyField(max_length=30, primary_key=True)
    value = models.BigIntegerField()

    class Meta:
        db_table = "dbos_sequence"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} {self.value}"
