"""Make a reader of a stream: for workflow code one whose iterations are recorded."""

from __future__ import annotations

from typing import Any

from django_dbos.core import durations, names
from django_dbos.core.numbers import LARGEST_INT
from django_dbos.operations._sync.stream_readers import StreamReader
from django_dbos.operations.entry import ascope_of, scope_of, workflow_run
from django_dbos.operations.run import operation_name
from django_dbos.operations.stream_readers import AsyncStreamReader
from django_dbos.store import get_store


def read_stream(workflow_id: str, key: str, offset: int, timeout: Any, wait: bool) -> StreamReader:
    """Return a reader."""
    run = workflow_run(scope_of("read_stream"))
    options = _options(workflow_id, key, offset, timeout, wait)
    call = None
    if run is not None:
        call = run.begin("read_stream", operation_name("read_stream", key))
        run.flush()
    return StreamReader(get_store(), call=call, **options)


def aread_stream(
    workflow_id: str, key: str, offset: int, timeout: Any, wait: bool
) -> AsyncStreamReader:
    """Return an async reader."""
    options = _options(workflow_id, key, offset, timeout, wait)
    run = workflow_run(ascope_of("aread_stream"))
    call = None
    if run is not None:
        call = run.begin("aread_stream", operation_name("read_stream", key))
    return AsyncStreamReader(get_store(), call=call, **options)


def _options(workflow_id: str, key: str, offset: int, timeout: Any, wait: bool) -> dict[str, Any]:
    if type(offset) is not int or not 0 <= offset <= LARGEST_INT:
        raise ValueError(f"offset must be an int from 0 to {LARGEST_INT}, but is {offset!r}.")
    return {
        "workflow_id": names.check_workflow_id(workflow_id),
        "key": names.check_key(key),
        "offset": offset,
        "timeout": durations.to_seconds(timeout, label="timeout"),
        "wait": wait,
    }
