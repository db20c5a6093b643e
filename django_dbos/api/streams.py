"""Streams: to write and close them in a workflow, and to read them anywhere."""

from __future__ import annotations

from typing import Any

from django_dbos.core.durations import Duration
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import streams
from django_dbos.operations._sync import streams as sync_streams
from django_dbos.operations._sync.stream_readers import StreamReader
from django_dbos.operations.entry import aenter_step, enter_step
from django_dbos.operations.stream_readers import AsyncStreamReader


def write_stream(key: str, value: Any) -> None:
    """Append a value to a stream of this workflow.

    A workflow writes a value exactly once, a step at least once. The call doesn't wait for the
    commit; the workflow's next operation that waits does.

    Args:
        key: The name of the stream, at most 255 characters.
        value: The value to append.

    Raises:
        StreamClosed: The workflow has closed the stream.
        NotInWorkflow: The call is made outside a workflow.
        SerializationError: The value can't be stored; PayloadTooLarge if it is too large.

    Example:
        @dbos.workflow
        def export(count: int) -> None:
            for number in range(count):
                dbos.write_stream("lines", f"line {number}")
            dbos.close_stream("lines")
    """
    enter_step("write_stream", sync_streams.write_stream, streams.awrite_stream, key, value)


async def awrite_stream(key: str, value: Any) -> None:
    """See write_stream()."""
    await aenter_step("awrite_stream", streams.awrite_stream, key, value)


def close_stream(key: str) -> None:
    """End a stream of this workflow: its readers stop after the last value.

    Args:
        key: The name of the stream.

    Raises:
        NotInWorkflow: The call is made outside a workflow.
    """
    enter_step("close_stream", sync_streams.close_stream, streams.aclose_stream, key)


async def aclose_stream(key: str) -> None:
    """See close_stream()."""
    await aenter_step("aclose_stream", streams.aclose_stream, key)


def read_stream(
    workflow_id: str, key: str, offset: int = 0, timeout: Duration = None, wait: bool = True
) -> StreamReader:
    """Return an iterator over a stream's values, which waits for further ones.

    It ends after `close_stream`, or once the workflow has ended. `reader.closed` is True if no
    value can follow; `reader.entries()` yields pairs of offset and value.

    Args:
        workflow_id: The id of the workflow that writes the stream.
        key: The name of the stream.
        offset: The number of the first value to return; they are numbered from 0.
        timeout: The longest wait for the next value, in seconds or as a timedelta. Default: no
            limit.
        wait: False ends the iteration after the values that are there.

    Raises:
        WaitTimeout: No value has come within the timeout; raised by the iteration.
        WorkflowDoesNotExist: There is no such workflow; raised by the iteration.
        ValueError: The offset is no int from 0 to 2,147,483,647.

    Example:
        lines = list(dbos.read_stream("export-1", "lines", timeout=30))
    """
    return WorkflowHandle(workflow_id).read_stream(key, offset, timeout, wait)


def aread_stream(
    workflow_id: str, key: str, offset: int = 0, timeout: Duration = None, wait: bool = True
) -> AsyncStreamReader:
    """Return an async iterator for `async for`. See read_stream()."""
    return WorkflowHandle(workflow_id).aread_stream(key, offset, timeout, wait)
