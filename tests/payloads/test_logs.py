"""No log of the engine has a value of user code where errors are concealed: each path, and a rule.

The first test forces an error with a secret in its message through each path; without concealment
the secret is in the log, so that a path that is no longer taken is noticed. The second one reads
the code, so that a new path is noticed, too.
"""

from __future__ import annotations

import ast
import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from django import forms

import django_dbos as dbos
from django_dbos import alerts, views
from django_dbos.consumers import messages
from django_dbos.consumers.base import WorkflowConsumer
from django_dbos.exceptions import SerializationError
from django_dbos.executor import Executor, scheduler
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.duties.duty_thread import DutyThread
from django_dbos.executor.loop import Loop
from django_dbos.executor.runs import Runs
from django_dbos.health import Problem
from django_dbos.live import sending
from django_dbos.live.access import Access
from django_dbos.live.readers import Reader, Refused
from django_dbos.operations import answering, form_classes
from django_dbos.store import errors, get_store
from django_dbos.store.group_commit import BatchWriter
from tests.payloads.workflows import SECRET, Declined, fail
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

PACKAGE = Path(dbos.__file__).parent


def declines(*args: Any, **kwargs: Any) -> Any:
    raise Declined(f"card {SECRET} was declined")


async def adeclines(*args: Any, **kwargs: Any) -> Any:
    declines()


@dbos.workflow(name="logs.exits")
def exits(card: str) -> None:
    raise KeyboardInterrupt(f"card {card}")


@dbos.workflow(name="logs.aexits")
async def aexits(card: str) -> None:
    raise KeyboardInterrupt(f"card {card}")


class Breaks(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(f"card {SECRET}")


# --- The paths ---------------------------------------------------------------------------


def interrupt_a_run(workflow: Any, patch: pytest.MonkeyPatch) -> None:
    """A bug of the engine itself, beside the run's error."""
    from django_dbos.executor import pool

    patch.setattr(pool.runner, "execute", declines)
    patch.setattr(pool.runner, "aexecute", adeclines)
    executor = Executor()
    with executor:
        workflow.start(SECRET)
        eventually(lambda: not len(executor.runs) and has_logged("was interrupted"))


def a_thread_run_is_interrupted(patch: pytest.MonkeyPatch, settings: Any) -> None:
    interrupt_a_run(exits, patch)


def a_loop_run_is_interrupted(patch: pytest.MonkeyPatch, settings: Any) -> None:
    interrupt_a_run(aexits, patch)


def a_task_stops_its_loop(patch: pytest.MonkeyPatch, settings: Any) -> None:
    with Executor():
        aexits.start(SECRET)
        eventually(lambda: has_logged("stops event loops"))


def the_rule_of_readers_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": declines}
    access = Access(Reader(), fail.start(SECRET).workflow_id, "stream", "log")
    with pytest.raises(Refused):
        async_to_sync(access.check)()


def the_rule_of_senders_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_SEND": declines}
    with pytest.raises(Refused):
        async_to_sync(sending.send_message)(Reader(), fail.start(SECRET).workflow_id, "hello")


def a_message_of_a_socket_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    patch.setattr(messages, "send_message", adeclines)
    frame = '{"message": 1, "idempotency_key": "a"}'
    assert async_to_sync(messages.answer)(Reader(), "one", frame) is not None


def a_socket_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    socket: Any = mock.Mock(_close=mock.AsyncMock())
    asyncio.run(WorkflowConsumer._run(socket, adeclines))


def the_function_of_alerts_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "ALERTS": declines}
    alerts.tell(
        get_store(), [Problem(kind="failing", subject="queue", text="Many fail.", value=1.0)]
    )


def a_loop_of_the_executor_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    Loop("dbos-test", declines, on_error=mock.Mock(), on_end=mock.Mock())._call()


def a_duty_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    duty = mock.Mock(Duty, perform=declines)
    thread = DutyThread("test", mock.Mock(), mock.Mock())
    thread._perform(duty)


def a_write_is_refused(patch: pytest.MonkeyPatch, settings: Any) -> None:
    write_through(errors.BadStatement(f"invalid text {SECRET}"))


def a_batch_of_writes_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    write_through(ValueError(f"card {SECRET}"))


def write_through(error: Exception) -> None:
    store = mock.Mock(apply=mock.Mock(side_effect=error))
    writer = BatchWriter(store, "executor", on_commit=mock.Mock())
    writer._write([mock.Mock(is_repeat=False, size=1)])


def the_work_after_a_commit_fails(patch: pytest.MonkeyPatch, settings: Any) -> None:
    writer = BatchWriter(mock.Mock(), "executor", on_commit=declines)
    writer._settle([], mock.Mock(answers=[], deferred=[]))


def a_child_cannot_begin(patch: pytest.MonkeyPatch, settings: Any) -> None:
    new = SimpleNamespace(workflow_id="child", name=fail.name)
    plan = mock.Mock(unclaimed=[], workflows=[(new, True)], suspended=[], has_news=False)
    Runs._committed(mock.Mock(_begin_child=declines), plan)


def a_schedule_cannot_be_computed(patch: pytest.MonkeyPatch, settings: Any) -> None:
    own: Any = mock.Mock(broken=set())
    assert scheduler.Scheduler._try(own, "nightly", declines) is None


def a_form_cannot_be_shown(patch: pytest.MonkeyPatch, settings: Any) -> None:
    inquiry = SimpleNamespace(pk=1, form_name=f"{__name__}.Breaks", initial={})
    with pytest.raises(form_classes.FormUnusable):
        form_classes.make_for(inquiry)


def an_answer_cannot_be_stored(patch: pytest.MonkeyPatch, settings: Any) -> None:
    error = SerializationError(f"the str {SECRET!r} can't be stored")
    patch.setattr(answering, "submit", mock.Mock(side_effect=error))
    assert not views.accept(mock.Mock(pk=1), mock.Mock(), None)


PATHS: list[Callable[[pytest.MonkeyPatch, Any], None]] = [
    a_thread_run_is_interrupted,
    a_loop_run_is_interrupted,
    a_task_stops_its_loop,
    the_rule_of_readers_fails,
    the_rule_of_senders_fails,
    a_message_of_a_socket_fails,
    a_socket_fails,
    the_function_of_alerts_fails,
    a_loop_of_the_executor_fails,
    a_duty_fails,
    a_write_is_refused,
    a_batch_of_writes_fails,
    the_work_after_a_commit_fails,
    a_child_cannot_begin,
    a_schedule_cannot_be_computed,
    a_form_cannot_be_shown,
    an_answer_cannot_be_stored,
]

_caught: list[str] = []


def has_logged(text: str) -> bool:
    return any(text in line for line in _caught)


class _Catch(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _caught.append(logging.Formatter().format(record))


@pytest.mark.parametrize("rule", ["encryption", "paths", None])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_no_log_has_the_message_of_a_concealed_error(
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    encrypted: None,
    path: Callable[[pytest.MonkeyPatch, Any], None],
    rule: str | None,
) -> None:
    if rule != "encryption":
        names = (fail.name, exits.name, aexits.name)
        redact = {name: ["error"] for name in names} if rule else None
        settings.DBOS = {**settings.DBOS, "ENCRYPTION": None, "REDACT": redact}
    _caught.clear()
    handler = _Catch()
    logging.getLogger("django_dbos").addHandler(handler)
    try:
        path(monkeypatch, settings)
    finally:
        logging.getLogger("django_dbos").removeHandler(handler)

    text = "\n".join(_caught)
    assert (SECRET in text) is (rule is None)
    assert ("whose message isn't logged" in text) is (rule is not None)


# --- The rule ----------------------------------------------------------------------------

# Errors of the database, the network and the settings, whose messages have no value of a workflow.
# A statement that writes values is in none of the places that log these.
HARMLESS = {
    "ClientDisconnected", "DatabaseError", "ENDS", "Error", "ImportError", "ImproperlyConfigured",
    "InterfaceError", "InsufficientPrivilege", "LockTimeout", "OSError", "OUTAGE", "OverflowError",
    "ProgrammingError", "Refused", "RuntimeError", "StoreError", "Unavailable",
    "WorkflowDoesNotExist", "CancelledError",
}  # fmt: skip
# Handlers of any error, around calls that read no value of a workflow and no code of the project.
AROUND_THE_ENGINE = {"health.py", "store/deletions.py", "store/listener.py"}
# What is declared with a mistake is in the project's code.
DECLARED = {"executor/declared_schedules.py"}


def logged_errors(path: Path) -> list[str]:
    """Return the places that log an error as it is, though it may be one of user code."""
    found = []
    for handler in ast.walk(ast.parse(path.read_text())):
        if not isinstance(handler, ast.ExceptHandler):
            continue
        caught = handler.type
        types = caught.elts if isinstance(caught, ast.Tuple) else [caught]
        names = {ast.unparse(one).rpartition(".")[2] if one else "everything" for one in types}
        if names <= HARMLESS:
            continue
        found += [
            f"{path.relative_to(PACKAGE)}:{call.lineno} logs {sorted(names)}"
            for call in ast.walk(handler)
            if isinstance(call, ast.Call) and _logs(call, handler.name)
        ]
    return found


def _logs(call: ast.Call, name: str | None) -> bool:
    function = call.func
    if not isinstance(function, ast.Attribute) or ast.unparse(function.value) != "logger":
        return False
    if function.attr == "exception":
        return True
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    bare = {ast.unparse(value) for value in values if not isinstance(value, ast.Constant)}
    has_traceback = any(
        keyword.arg == "exc_info" and ast.unparse(keyword.value) == "True"
        for keyword in call.keywords
    )
    return has_traceback or bool(bare & {name, f"str({name})", f"repr({name})"})


def test_every_error_that_may_be_of_user_code_is_concealed() -> None:
    exempt = AROUND_THE_ENGINE | DECLARED
    paths = [path for path in PACKAGE.rglob("*.py") if "_sync" not in path.parts]
    found = {str(path.relative_to(PACKAGE)): logged_errors(path) for path in paths}

    assert not [line for name, lines in found.items() if name not in exempt for line in lines]
    # No exemption is left over.
    assert {name for name, lines in found.items() if lines} == exempt


def test_the_rule_finds_an_error_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    code = "try:\n    call()\nexcept {0} as error:\n    {1}\n"
    (path := tmp_path / "one.py").write_text(code.format("Exception", "logger.exception('x')"))
    assert logged_errors(path) == ["one.py:4 logs ['Exception']"]
    path.write_text(code.format("(OSError, ValueError)", "logger.warning('%r', error)"))
    assert len(logged_errors(path)) == 1
    path.write_text(code.format("Exception", "logger.error('x', exc_info=shown('', error))"))
    assert not logged_errors(path)
    path.write_text(code.format("errors.Unavailable", "logger.warning('%r', error)"))
    assert not logged_errors(path)
