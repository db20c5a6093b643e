"""The database of the tests, also for their child processes."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator

import django
import pytest
import pytest_asyncio
from asgiref.sync import SyncToAsync, sync_to_async
from django.conf import settings
from django.db import connections

from django_dbos.executor import Executor

# A shell starts background processes with SIGINT ignored, which workers would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    zone = settings.TIME_ZONE if settings.USE_TZ else f"{settings.TIME_ZONE}, naive"
    layer = "a channel layer" if settings.REDIS_URL else "no channel layer"
    return f"Django {django.__version__}, {settings.VENDOR}, {zone}, {layer}"


def pytest_unconfigure() -> None:
    """Remove the files that SQLite leaves if connections weren't closed."""
    for path in settings.FOLDER.glob(f"test_dbos_{settings.RUN}*.sqlite3*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.fixture
def process_environment(django_db_setup: None) -> dict[str, str]:
    """Return the environment with which `python -m django …` uses this run's test databases."""
    return make_process_environment()


def make_process_environment() -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DBOS_TEST_RUN": settings.RUN,
        "DBOS_TEST_DATABASE_NAME": str(connections["default"].settings_dict["NAME"]),
        "DBOS_TEST_OTHER_NAME": str(connections["other"].settings_dict["NAME"]),
    }


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    """Close what a test has opened on asgiref's thread: another one ends sessions, and not its own.

    The thread lasts, and the next async test would meet a connection that is dead.
    """
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest_asyncio.fixture
async def async_db(transactional_db: None) -> AsyncIterator[None]:
    """Provide the database to async tests, and close their connections on asgiref's thread.

    Before the tables are emptied, for which a transaction that was left open would be waited for.
    """
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def worker(transactional_db: None) -> Iterator[Executor]:
    """Run an executor in this process, on committed data."""
    with Executor(concurrency=8) as executor:
        yield executor
