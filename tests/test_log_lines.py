"""Log lines can't be forged: texts of users are logged by their repr, without line breaks."""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_dbos as dbos
from django_dbos.executor.cli.log_lines import LineFormatter
from django_dbos.testing import run_until_idle

PACKAGE = Path(dbos.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
CONVERSION = re.compile(r"%[-+ #0]*[\d*]*(?:\.[\d*]+)?([a-zA-Z%])")
# Texts of the engine's own, in plain letters: executors' ids; names of threads, operations, signals
# and classes; texts that combine these and reprs.
OWN_ENDS = ("executor_id", "__name__")
OWN = {
    "description",
    "self.description",
    "self._thread.name",
    "self._operation",
    "self._call.label",
    "signal.Signals(code).name",
    "notice.name",
    "names.suggest(name, queues.others(store, name))",
    # A function's own name, as the code registers it.
    "run.definition.name",
    "_how(run)",
    "f': {shown!r}' if has_failed else ''",
}
OWN_IN_FILE = {
    # The engine's name for a kind of process.
    "executor/cli/supervisor.py": {"self._name", "self._name.capitalize()"},
    # The name of a signal.
    "executor/cli/inbox.py": {"name"},
    # Numbers.
    "telemetry/log_lines.py": {"_fate(enqueued, given_up, left)", "fault"},
    # Aliases by their repr, and a quoted suggestion.
    "executor/duties/step_deletions.py": {"', '.join(map(repr, self._aliases))"},
    "executor/unknown_names.py": {"names.suggest(name, registry.of_project())"},
    # The engine's names of its commands and of what they change.
    "management/audit.py": {"command", "change", "'' if subject is None else f' {subject!r}'"},
    # The engine's names of the database and of storages.
    "operations/reads.py": {"self._culprit", "error.culprit"},
    # "groups" or "users".
    "operations/audiences.py": {"label"},
    # A sentence of the engine, with names by their repr.
    "operations/client.py": {"self._reason(workflow)"},
    "operations/limits.py": {"label"},
    "store/postgresql/connections.py": {"why"},
    "store/watchdog.py": {"self.purpose", "f' of executor {self.owner}' if self.owner else ''"},
}


def calls() -> Iterator[tuple[Path, ast.Call]]:
    # The texts of rare warnings are looked at below.
    for path in sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "telemetry" / "rare_warnings.py"}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                receiver = ast.unparse(node.func.value)
                if receiver.endswith("logger") and node.func.attr in LEVELS:
                    yield path.relative_to(PACKAGE), node


def texts_of(call: ast.Call) -> list[str]:
    """Return the arguments that are logged unescaped."""
    assert isinstance(call.func, ast.Attribute)
    text, *arguments = call.args[1:] if call.func.attr == "log" else call.args
    formats = ast.literal_eval(text)
    kinds = [kind for kind in CONVERSION.findall(formats) if kind != "%"]
    assert len(kinds) == len(arguments), formats
    pairs = zip(kinds, arguments, strict=True)
    return [ast.unparse(argument) for kind, argument in pairs if kind not in "rdfga"]


def test_texts_of_users_are_never_logged_unescaped() -> None:
    found = list(calls())
    assert len(found) > 30

    wrong = {
        f"{path}:{call.lineno}": text
        for path, call in found
        for text in texts_of(call)
        if text not in OWN | OWN_IN_FILE.get(path.as_posix(), set()) and not text.endswith(OWN_ENDS)
    }
    assert wrong == {}, "log these by %r: a line break in them would begin a new line"


def test_rare_warnings_have_no_texts_of_users_either() -> None:
    texts = [
        ast.literal_eval(node.args[1])
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "RareWarning"
    ]

    assert len(texts) >= 4
    assert not [text for text in texts if set(CONVERSION.findall(text)) - set("rdfga%")]


@pytest.mark.parametrize("outcome", ["SUCCESS", "ERROR"])
def test_a_line_break_in_an_id_begins_no_line(
    db: None, caplog: pytest.LogCaptureFixture, outcome: str
) -> None:
    forged = f"7\n2026-01-01 WARNING a line of somebody else's \x1b[31m{outcome}"
    with caplog.at_level(logging.DEBUG, "django_dbos"):
        ends.using(workflow_id=forged).start(outcome)
        run_until_idle()

    messages = [
        record.getMessage() for record in caplog.records if record.name.startswith("django_dbos")
    ]
    assert any("somebody else's" in message for message in messages)
    assert not any("\n2026-01-01" in message or "\x1b" in message for message in messages)


def test_the_message_of_an_exception_cannot_look_like_a_log_record() -> None:
    formatter = LineFormatter()
    try:
        raise ValueError("bad\n2026-01-01 00:00:00 WARNING forged\r\x1b[2J\x9b\u2028end\n\nafter")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "It failed", (), sys.exc_info())

    first, *others = formatter.format(record).split("\n")

    assert first.endswith("ERROR It failed")
    assert others
    assert all(line.startswith("    ") for line in others)
    assert any(r"forged\r\x1b[2J\x9b\u2028end" in line for line in others)
    assert all(character.isprintable() for line in others for character in line)


@dbos.workflow
def ends(outcome: str) -> None:
    if outcome == "ERROR":
        raise ValueError("it failed")
