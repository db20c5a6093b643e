"""The log records of a test that are about its subject."""

from __future__ import annotations

import logging

import pytest


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the records of django_dbos. asyncio logs slow callbacks on a busy machine."""
    return [record for record in caplog.records if record.name.startswith("django_dbos")]
