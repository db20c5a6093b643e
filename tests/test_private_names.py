"""Private names of other libraries, whose removal would silently change behaviour."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async
from django.db import transaction
from django.http import HttpResponse
from django.test import RequestFactory, TestCase
from django.utils.log import log_response

from django_dbos.operations.ordering import _is_blocked
from django_dbos.store.inline_writer import _thread_holder
from django_dbos.store.sessions import is_of_testcase


async def test_a_task_has_the_future_that_it_awaits() -> None:
    awaited = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(asyncio.wait_for(awaited, None))
    assert not _is_blocked(task)

    await asyncio.sleep(0)
    assert _is_blocked(task)

    awaited.set_result(None)
    assert not _is_blocked(task)
    await task


def test_asgiref_has_the_executor_of_a_callers_thread() -> None:
    async def holder() -> object:
        return _thread_holder()

    assert _thread_holder() is None
    assert async_to_sync(holder)() is not None


async def test_asgiref_has_the_threads_of_contexts() -> None:
    async with ThreadSensitiveContext() as own:
        assert own not in SyncToAsync.context_to_thread_executor
        await sync_to_async(id)(own)
        assert own in SyncToAsync.context_to_thread_executor


def test_django_logs_no_answer_that_was_logged(caplog: pytest.LogCaptureFixture) -> None:
    response = HttpResponse(status=429)
    response._has_been_logged = True  # type: ignore[attr-defined]

    log_response("%s", "refused", response=response, request=RequestFactory().get("/"))

    assert caplog.records == []
    log_response("%s", "another", response=HttpResponse(status=429))
    assert [record.getMessage() for record in caplog.records] == ["another"]


class DjangosTestCase(TestCase):
    def test_django_marks_the_transactions_of_tests(self) -> None:
        blocks = transaction.get_connection().atomic_blocks
        assert blocks
        assert all(map(is_of_testcase, blocks))
