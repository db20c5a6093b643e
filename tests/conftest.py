"""Which database the tests run on, and how their child processes find it."""

import importlib.util
import os
import tempfile
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.db import connections

# The shop's tests need workflows that run.
collect_ignore = [] if importlib.util.find_spec("django_dbos.decorators") else ["example"]


def pytest_report_header() -> str:
    zone = settings.TIME_ZONE if settings.USE_TZ else f"{settings.TIME_ZONE}, naive"
    layer = "a channel layer" if settings.REDIS_URL else "no channel layer"
    return f"Django {django.__version__}, {settings.VENDOR}, {zone}, {layer}"


def pytest_unconfigure() -> None:
    """Remove what SQLite leaves beside a file whose connections weren't all closed."""
    for path in Path(tempfile.gettempdir()).glob(f"test_dbos_{settings.RUN}*.sqlite3*"):
        path.unlink(missing_ok=True)


@pytest.fixture
def process_environment(django_db_setup: None) -> dict[str, str]:
    """The environment with which `python -m django …` joins this run's test databases."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DBOS_TEST_RUN": settings.RUN,
        "DBOS_TEST_DATABASE_NAME": str(connections["default"].settings_dict["NAME"]),
        "DBOS_TEST_OTHER_NAME": str(connections["other"].settings_dict["NAME"]),
    }
