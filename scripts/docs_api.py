"""Write docs/reference/api.md from the package's docstrings; `--check` only compares.

The page lists the public names by subject (SUBJECTS). An async twin (`asend`) is named beside the
function that it mirrors (`send`) instead of having an entry of its own.

Why a script and not Sphinx's autodoc: the page is read where it lies, by people on a code host and
by coding assistants through llms.txt, and autodoc would leave directives there. The site then
builds without Django and without the package. The choice of names, members and constructors below
would be the same list with autodoc.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import itertools
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_overloads, is_typeddict

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "reference" / "api.md"
WIDTH = 88
INTRODUCTION = """\
# API reference

Every public name, by subject. A name without a module, such as `send`, is imported from
`django_dbos`; a name with one, such as `testing.advance`, from that module (`django_dbos.testing`).
On an event loop, await the async twin named beside a function. `Duration` stands for seconds, a
`timedelta` or None. A *worker* is the process that people run; an *executor* is the object in it
that runs workflows, and its row. The page is generated from the docstrings by `make docs-api`.
"""


# Paragraphs: a title, the names (indented) and an introduction.
SUBJECTS = """\
Workflows and steps
    workflow step run_step continue_as_new patched deprecate_patch current_workflow RetryAfter
    WorkflowFunction StepFunction CurrentWorkflow logger
Decorators make functions durable. The guide to [workflows and steps](../guides/workflows.md)
explains how they run.

Starting, and handles
    WorkflowHandle retrieve_workflow start_by_name WorkflowDescription fork_many ForkOptions
`WorkflowFunction.start` returns a handle, by which the caller waits, cancels and resumes.

Messages
    send send_many recv OutgoingMessage
A message goes to one workflow, which consumes it once, in order, by topic.

Events
    set_event get_event get_all_events
An event is a key with a value that a workflow publishes. The latest value counts.

Streams
    write_stream close_stream read_stream StreamReader AsyncStreamReader
A stream keeps every value that was written under a key, in order and without gaps.

Waiting and time
    sleep wait_any message event stream_entry until get_results Winner Received Awaited
A workflow that sleeps occupies a row, not a thread; so does one that waits in `recv`, `get_event`,
`read_stream` or `WorkflowHandle.get_result`.

People and callbacks
    wait_for_form form answer_form callback_url FormAnswer views.AnswerFormView
A workflow waits until a person has filled in a form, or another service has called back. The guide
to [people and callbacks](../guides/people.md) shows how.

Queues and options
    StartOptions queues.list queues.get queues.set queues.reset queues.pause queues.resume
    queues.depth queues.QueueOptions queues.QueueDescription queues.QueueDepth
`WorkflowFunction.using` takes the queue, priority, delay, id and other options of a start. The
functions of `queues`, also reachable as `dbos.queues`, change the limits of a queue while workers
run, as the guide to [queues](../guides/queues.md) explains.

Schedules
    schedule schedules.create schedules.get schedules.list schedules.pause schedules.resume
    schedules.trigger schedules.backfill schedules.edit schedules.reset schedules.delete
    schedules.ScheduleOptions
A schedule starts a workflow at the instants of a cron expression or at an interval. The functions
of `schedules`, also reachable as `dbos.schedules`, change schedules while workers run, as the guide
to [schedules](../guides/schedules.md) explains.

Reading and administration
    models.Workflow models.WorkflowQuerySet models.Checkpoint models.Message models.Event
    models.EventVersion models.StreamEntry models.PastRun models.Executor
    models.ExecutorQuerySet models.Queue models.Schedule models.Inquiry models.InquiryQuerySet
    admin.WorkflowAdmin admin.MessageAdmin admin.EventAdmin admin.ExecutorAdmin admin.QueueAdmin
    admin.ScheduleAdmin admin.InquiryAdmin
The models are the query API: their rows can be read and filtered, but not changed, by the ORM. The
[admin](../guides/admin.md) shows them.

Export and import
    export_workflows import_workflows
Workflows go to another database as JSON, as the guide to
[encrypted, large and redacted values](../guides/payloads.md#export-and-import) shows.

Live pages
    stream_token event_token routing.websocket_urlpatterns consumers.StreamConsumer
    consumers.EventConsumer
Channels consumers send streams and events to browsers. The guide to
[websockets](../guides/websockets.md) sets them up.

Settings, checks, signals and telemetry
    routers.DbosRouter serializers.register serializers.Serializer signals.workflow_started
    signals.workflow_finished signals.executor_started signals.executor_stopped
    signals.form_reminder signals.alert_raised signals.alert_resolved
    signals.keys_changed telemetry.Subscriber telemetry.subscribe
    telemetry.unsubscribe
[Settings](../settings.md), [system checks](../checks.md), and [signals and
telemetry](signals.md) have pages of their own; these are the names that code imports.

Testing
    testing.run_until_idle testing.advance
Tests run workflows on their own thread and connection, as the guide to
[testing](../guides/testing.md) shows.

Worker
    executor.Executor
`manage.py dbos_worker` runs an executor in each worker process; tests and small sites can run one
in code.

Exceptions
    DbosError WorkflowDoesNotExist WorkflowIdConflict UserConflict DuplicateWorkflow ChangeRefused
    UnknownWorkflow NotPermitted WaitTimeout StepTimeout WaitInTest WorkflowCancelled
    MaxRecoveryAttemptsExceeded
    NondeterminismError MapFailed LimitReached StreamClosed NotInWorkflow NotAllowedInStep
    NotAllowedInAtomic FormDoesNotExist FormNotPending PayloadTooLarge QueueDoesNotExist
    RecordedError ScheduleDoesNotExist ScheduleExists ScheduleIsDeclared SerializationError
    UnknownTypeInHistory ModelInstanceGone EncryptionKeyMissing OffloadedValueMissing OffloadFailed
    ImportRefused
Every error derives from `DbosError`. Messages name the value at fault and the remedy.
"""
# Values have no docstrings of their own.
NOTES = {
    "logger": "A `logging.Logger` for workflow code, silent while a workflow replays.",
    "routing.websocket_urlpatterns": "The URL patterns of the consumers, for a `URLRouter`.",
    "signals.workflow_started": "A run of a workflow begins.",
    "signals.workflow_finished": "A workflow has ended in a worker, and its end is committed.",
    "signals.executor_started": "An executor has registered.",
    "signals.executor_stopped": "An executor has stopped.",
    "signals.form_reminder": "A form still waits for an answer; sent in a step of its workflow.",
    "signals.alert_raised": "A problem of the system has come.",
    "signals.alert_resolved": "A problem of the system is over.",
    "signals.keys_changed": "Watched keys have changed; for the engine's own waits.",
}
# Classes that users create themselves; of all others the constructor isn't shown.
CREATED = {"WorkflowHandle", "executor.Executor"}
# Classes of which these members alone are for users; of all others every documented member is.
MEMBERS: dict[str, tuple[str, ...]] = {
    "executor.Executor": ("start", "stop", "run", "wait_until_idle"),
    "consumers.StreamConsumer": (),
    "consumers.EventConsumer": (),
    "views.AnswerFormView": ("template_name", "success_url"),
    "admin.WorkflowAdmin": (),
    "admin.MessageAdmin": (),
    "admin.EventAdmin": (),
    "admin.ExecutorAdmin": (),
    "admin.QueueAdmin": (),
    "admin.ScheduleAdmin": (),
    "admin.InquiryAdmin": (),
    "routers.DbosRouter": (),
}
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples):$")
# The name of a class in a sentence, with or without backticks, but not as a part of an expression.
CLASS_NAME = re.compile(r"(?<![\w`\[.\"/])`?([A-Z][a-z]+[A-Z]\w+)`?(?![\w`\]\"/(]|\.\w)")
FUNCTION = re.compile(r"\bdjango_dbos\.(\w+)\(\)")
SETTING = re.compile(r"(?<!`)DBOS\[\"\w+\"\]")
END = "end of the docstring"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the API reference.")
    parser.add_argument("--check", action="store_true", help="fail if the page is out of date")
    arguments = parser.parse_args()

    page = render()
    if arguments.check:
        is_current = PAGE.exists() and PAGE.read_text() == page
        print("up to date" if is_current else f"{PAGE} is out of date: run `make docs-api`.")
        return 0 if is_current else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page)
    print(f"Wrote {PAGE.relative_to(PROJECT)}.")
    return 0


def render() -> str:
    """Return the whole page."""
    # Some modules import models, which need settings.
    sys.path.insert(0, str(PROJECT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    importlib.import_module("django").setup()
    return "\n".join([INTRODUCTION, *itertools.chain.from_iterable(map(section, subjects()))])


def subjects() -> Iterator[tuple[str, str, list[str]]]:
    """Yield title, introduction and names of each subject."""
    for paragraph in SUBJECTS.strip().split("\n\n"):
        title, *lines = paragraph.splitlines()
        names = [line for line in lines if line.startswith(" ")]
        yield title, "\n".join(lines[len(names) :]), " ".join(names).split()


def section(subject: tuple[str, str, list[str]]) -> Iterator[str]:
    title, introduction, names = subject
    yield f"## {title}\n"
    yield f"{introduction}\n"
    for name in names:
        yield from entry(name)


def entry(name: str) -> Iterator[str]:
    """Yield one name: heading, signature, twin, docstring, and a class's public members."""
    value, siblings = find(name)
    yield f"### `{name}`\n"
    is_created = not inspect.isclass(value) or name in CREATED
    yield from description(name.rpartition(".")[2], value, siblings, has_signature=is_created)
    if name in NOTES:
        yield f"{NOTES[name]}\n"
    if inspect.isclass(value):
        yield from fields_of(value)
        yield from columns_of(value)
        yield from members_of(name, value)


def find(name: str) -> tuple[Any, dict[str, Any]]:
    """Return the value of a public name, and the names beside it."""
    module_name, _, attribute = f"django_dbos.{name}".rpartition(".")
    siblings = vars(importlib.import_module(module_name))
    return siblings[attribute], siblings


def members_of(name: str, cls: type) -> Iterator[str]:
    members = {key: member for key, member in vars(cls).items() if not key.startswith("_")}
    for key, member in members.items():
        if key not in MEMBERS.get(name, members):
            continue
        heading = f"#### `{cls.__name__}.{key}`\n"
        function = getattr(member, "__func__", member)
        if isinstance(member, property) and member.__doc__:
            yield heading
            yield f"{prose(member)}\n"
        elif not is_twin(key, members) and inspect.isfunction(function) and function.__doc__:
            yield heading
            yield from description(key, function, members, has_signature=True)


def description(
    name: str, value: Any, siblings: dict[str, Any], *, has_signature: bool
) -> Iterator[str]:
    if has_signature and (signature := signature_of(value)):
        yield f"```python\n{layout(name, signature)}\n```\n"
    if f"a{name}" in siblings:
        yield f"Async twin: `a{name}`.\n"
    # A constant's docstring is only its type's.
    if callable(value) or inspect.getdoc(value) != inspect.getdoc(type(value)):
        yield f"{prose(value)}\n"


def is_twin(name: str, siblings: dict[str, Any]) -> bool:
    return name.startswith("a") and name[1:] in siblings


# --- Docstrings -----------------------------------------------------------------------------


def prose(value: Any) -> str:
    """Return a docstring in Google's form as Markdown, with links to the classes it names."""
    text = (inspect.getdoc(value) or "").replace("``", "`")
    lines = SETTING.sub(r"`\g<0>`", text).splitlines()
    own = getattr(value, "__name__", "")
    return "\n".join(linked(line, own) for line in in_markdown(lines)).strip()


def in_markdown(lines: list[str]) -> Iterator[str]:
    title, block = "", list[str]()
    # The end marker closes the last section.
    for line in [*lines, END]:
        if title and line and not line.startswith(" "):
            yield from section_of_docstring(title, textwrap.dedent("\n".join(block)).splitlines())
            title, block = "", []
        if match := SECTION.match(line):
            title = match[1]
        elif title:
            block.append(line)
        elif line != END:
            yield line


def section_of_docstring(title: str, lines: list[str]) -> Iterator[str]:
    """Yield a section such as Args: a list, a paragraph or an example."""
    if title.startswith("Example"):
        yield from [
            "Example:",
            "",
            "```python",
            *"\n".join(lines).strip("\n").splitlines(),
            "```",
            "",
        ]
        return
    yield from [f"{title.replace('Args', 'Parameters')}:", ""]
    for line in lines:
        name, colon, text = line.partition(": ")
        if colon and re.fullmatch(r"\*{0,2}\w[\w, .*]*(?: \(.*\))?", name):
            yield f"* `{name}`: {text}" if title in ("Args", "Attributes") else f"* {name}: {text}"
        else:
            yield f"  {line.strip()}" if line.startswith(" ") else line
    yield ""


def linked(line: str, own: str) -> str:
    """Return a line whose names of public classes are links, but for the entry's own."""
    public = SUBJECTS.split()

    def link(match: re.Match[str]) -> str:
        is_link = match[1] in public and match[1] != own
        return f"[{match[1]}](#{match[1].lower()})" if is_link else match[0]

    return FUNCTION.sub(r"[\1()](#\1)", CLASS_NAME.sub(link, line))


def fields_of(cls: type) -> Iterator[str]:
    """Yield the fields of a dataclass or a TypedDict, with the docstrings below them."""
    if not (dataclasses.is_dataclass(cls) or is_typeddict(cls)):
        return
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    for statement, following in itertools.pairwise([*tree.body, ast.Pass()]):
        if isinstance(statement, ast.AnnAssign):
            line = f"* `{ast.unparse(statement.target)}: {ast.unparse(statement.annotation)}`"
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = SETTING.sub(r"`\g<0>`", " ".join(str(following.value.value).split()))
                line += f": {linked(text, cls.__name__)}"
            yield line
    yield ""


def columns_of(cls: type) -> Iterator[str]:
    """Yield the columns of a model."""
    if meta := getattr(cls, "_meta", None):
        columns = ", ".join(f"`{field.name}`" for field in meta.get_fields() if field.concrete)
        yield from textwrap.wrap(f"Columns: {columns}.", 100, break_long_words=False)
        yield ""


# --- Signatures -----------------------------------------------------------------------------


class Verbatim:
    """A text that a signature prints without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def annotation_of(annotation: Any) -> Any:
    """Return an annotation that is printed as its source has it."""
    if annotation is inspect.Parameter.empty:
        return annotation
    is_text = isinstance(annotation, str)
    return Verbatim(annotation if is_text else inspect.formatannotation(annotation))


def default_of(default: Any) -> Any:
    """Return a default that is printed as its source has it: a class or a function by its name."""
    if default is inspect.Parameter.empty or not hasattr(default, "__qualname__"):
        return default
    is_builtin = inspect.isclass(default) and default.__module__ == "builtins"
    return Verbatim(default.__name__ if is_builtin else f"{default.__module__}.{default.__name__}")


def signature_of(value: Any) -> inspect.Signature | None:
    if not callable(value) or (inspect.isclass(value) and issubclass(value, BaseException)):
        return None
    overloads = get_overloads(value) if inspect.isfunction(value) else []
    # The last overload of a decorator is the one with its options.
    signature = inspect.signature(overloads[-1] if overloads else value)
    empty = inspect.Parameter.empty
    parameters = [
        parameter.replace(
            annotation=annotation_of(parameter.annotation), default=default_of(parameter.default)
        )
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    answer = signature.return_annotation
    # A constructor returns nothing, and the object that a decorator returns has no public name.
    has_answer = not inspect.isclass(value) and not str(answer).startswith("_")
    return signature.replace(
        parameters=parameters, return_annotation=annotation_of(answer) if has_answer else empty
    )


def layout(name: str, signature: inspect.Signature) -> str:
    """Return a signature on one line if it fits, else with a parameter a line."""
    if len(line := f"{name}{signature}") <= WIDTH:
        return line
    answer = f"{signature}".rsplit(")", 1)[1]
    return "\n".join([f"{name}(", *(f"    {word}," for word in words(signature)), f"){answer}"])


def words(signature: inspect.Signature) -> Iterator[str]:
    """Yield the parameters, with the marks of positional-only and keyword-only ones between."""
    kinds = inspect.Parameter
    has_star = False
    parameters = list(signature.parameters.values())
    for index, parameter in enumerate(parameters):
        has_star |= parameter.kind is kinds.VAR_POSITIONAL
        if parameter.kind is kinds.KEYWORD_ONLY and not has_star:
            has_star = True
            yield "*"
        yield str(parameter)
        is_last = index + 1 == len(parameters)
        if parameter.kind is kinds.POSITIONAL_ONLY and (
            is_last or parameters[index + 1].kind is not kinds.POSITIONAL_ONLY
        ):
            yield "/"


if __name__ == "__main__":
    sys.exit(main())
