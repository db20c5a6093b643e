"""The examples in the docstrings of the most used names run, one after the other."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, get_overloads

import pytest

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Workflow
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = 20

# In the order in which they build on one another.
DOCUMENTED = {
    "step": dbos.step,
    "set_event": dbos.set_event,
    "workflow": dbos.workflow,
    "start": dbos.WorkflowFunction.start,
    "get_event": dbos.get_event,
    "get_result": dbos.WorkflowHandle.get_result,
    "recv": dbos.recv,
    "send": dbos.send,
    "write_stream": dbos.write_stream,
    "read_stream": dbos.read_stream,
    "sleep": dbos.sleep,
}

SECTIONS = re.compile(r"^(Args|Returns|Raises|Example):$", re.MULTILINE)


def sections(function: Any) -> dict[str, str]:
    """The sections of a docstring in Google's form."""
    _, *parts = SECTIONS.split(inspect.getdoc(function) or "")
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture
def worker() -> Iterator[Executor]:
    with Executor(concurrency=4) as executor:
        yield executor


def test_the_examples_run(worker: Executor) -> None:
    charged: list[int] = []
    names: dict[str, Any] = {
        "__name__": "examples",
        "dbos": dbos,
        "payments": SimpleNamespace(charge=lambda order_id: charged.append(order_id) or "paid"),
        "send_mail": lambda email: None,
        "timedelta": timedelta,
    }

    def run(name: str) -> None:
        code = textwrap.dedent(sections(DOCUMENTED[name])["Example"])
        exec(compile(code, f"<example of {name}>", "exec"), names)

    for name in ("step", "set_event", "workflow", "start", "get_event", "get_result"):
        run(name)
    assert names["handle"].workflow_id == "order-1"
    assert names["receipt"] == "paid"
    assert charged == [1, 2]
    assert names["welcome"].start("ada@example.com").get_result(timeout=LIMIT) is None

    run("recv")
    approval = names["approval"].using(workflow_id="approval-7").start(7)
    run("send")
    assert approval.get_result(timeout=LIMIT) is True

    run("write_stream")
    names["export"].using(workflow_id="export-1").start(2)
    run("read_stream")
    assert names["lines"] == ["line 0", "line 1"]

    run("sleep")
    sleeping = names["reminder"].start("ada@example.com")
    eventually(lambda: sleeping.get_status() is Workflow.Status.WAITING)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_parameters_and_errors_are_described(name: str) -> None:
    function = DOCUMENTED[name]
    overloads = get_overloads(function)
    parameters = dict(inspect.signature(function).parameters)
    if "function" in parameters:
        # A decorator: its options are in an overload.
        parameters = {"function": None, **inspect.signature(overloads[-1]).parameters}

    described = re.findall(r"^    (\w+): ", sections(function)["Args"], re.MULTILINE)

    assert described == [parameter for parameter in parameters if parameter != "self"]
    assert sections(function)["Raises"]
