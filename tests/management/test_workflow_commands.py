"""dbos_list, dbos_show, dbos_start, dbos_send, dbos_cancel and dbos_resume."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

import django_dbos as dbos
from django_dbos.management import bulk, filters
from django_dbos.management.base import REFUSED, UNFINISHED, USAGE
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.management.calling import refusal, run, run_json
from tests.store.conftest import register
from tests.waiting import eventually

pytestmark = pytest.mark.django_db


_NOT_RESUMED = (
    "Workflow 'c' can't be resumed: it runs, is enqueued or has ended, or another one has its "
    "deduplication id. dbos_retry and dbos_rewind go on with failed and finished ones."
)


@dbos.workflow
def give(*values: Any, **named: Any) -> Any:
    return [*values, named]


@dbos.workflow
def give_amount() -> Decimal:
    return Decimal("1.50")


@dbos.workflow
def take(topic: str | None = None) -> Any:
    return dbos.recv(topic)


@dbos.step
def count(number: int) -> int:
    return number + 1


@dbos.workflow
def fail(word: str) -> None:
    count(1)
    raise ValueError(word)


@dbos.workflow
def parent() -> None:
    take.start()
    take.start()
    dbos.recv()


def ids(found: Any) -> list[str]:
    return [row["workflow_id"] for row in found["workflows"]]


def listed(*arguments: str) -> set[str]:
    return set(ids(run_json("dbos_list", *arguments)))


def statuses() -> dict[str, str]:
    return dict(Workflow.objects.values_list("workflow_id", "status"))


# List


def test_each_filter_finds_its_workflows_and_together_they_narrow() -> None:
    def start(number: int, **options: Any) -> None:
        take.using(workflow_id=f"w{number}", **options).start()

    start(1, queue_name="mail", user="7", attributes={"order": 17, "customer": {"id": "a"}})
    start(2, queue_name="mail", partition_key="p", deduplication_id="d")
    fail.using(workflow_id="x3", attributes={"order": "17"}).start("no stock")
    run_until_idle()
    start(4, run_after=3_600)

    every = {"w1", "w2", "x3", "w4"}
    assert listed() == every
    assert listed("--status", "error") == {"x3"}
    assert listed("--status", "ERROR", "--status", "DELAYED") == {"x3", "w4"}
    assert listed("--active") == {"w1", "w2", "w4"}
    assert listed("--quarantined") == set()
    assert listed("--name", fail.name) == {"x3"}
    assert listed("--queue", "mail") == {"w1", "w2"}
    assert listed("--user", "7") == {"w1"}
    assert listed("--partition-key", "p") == {"w2"}
    assert listed("--deduplication-id", "d") == {"w2"}
    assert listed("--prefix", "w") == {"w1", "w2", "w4"}
    assert listed("--attribute", "order=17") == {"w1", "x3"}
    assert listed("--attribute", "customer.id=a", "--attribute", "order=17") == {"w1"}
    assert listed("--since", "1h") == listed("--until", in_zone(timedelta(hours=1))) == every
    assert listed("--until", "1h") == listed("--since", in_zone(timedelta(hours=1))) == set()
    assert listed("--queue", "mail", "--user", "8") == set()
    assert listed("--schedule", "s") == listed("--executor", "e") == set()


def in_zone(ahead: timedelta) -> str:
    instant = timezone.now() + ahead
    return instant.isoformat()


def test_children_are_found_by_their_parent() -> None:
    handle = parent.start()
    run_until_idle()

    assert len(listed("--parent", handle.workflow_id)) == 2


@pytest.mark.parametrize("same_time", [True, False])
def test_pages_go_by_key_and_show_each_workflow_once(same_time: bool) -> None:
    started = [take.using(workflow_id=f"w{number}").start() for number in range(7)]
    if same_time:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE dbos_workflow SET created_at = (SELECT min(created_at) FROM dbos_workflow)"
            )
    seen: list[str] = []
    arguments = ["--limit", "3"]
    sizes = []
    while True:
        page = run_json("dbos_list", *arguments)
        seen += ids(page)
        sizes.append(len(page["workflows"]))
        if page["next"] is None:
            break
        arguments = ["--limit", "3", "--after", page["next"]]

    assert sizes == [3, 3, 1]
    assert seen == [handle.workflow_id for handle in reversed(started)]


def test_the_list_as_text_names_the_next_page_apart() -> None:
    for number in range(2):
        take.using(workflow_id=f"w{number}").start()
    output, notes = StringIO(), StringIO()

    call_command("dbos_list", "--limit", "1", stdout=output, stderr=notes)

    heading, row = output.getvalue().splitlines()
    assert heading.split() == ["ID", "NAME", "STATUS", "QUEUE", "CREATED"]
    assert row.split()[:4] == ["w1", take.name, "ENQUEUED", "default"]
    assert "--after" in notes.getvalue()
    assert run("dbos_list", "--queue", "nobody") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--limit", "0"), "--limit must be from 1 to 10,000, not 0"),
        (("--after", "x"), "--after must be what the page before ended with"),
        (("--after", "2026-13-01T00:00Z/w"), "--after must be"),
        (("--since", "yesterday"), "--since must be a time"),
        (("--until", "2026-13-01"), "--until must be a time"),
        (("--attribute", "order"), "--attribute must be KEY=VALUE"),
    ],
)
def test_values_that_cant_be_are_explained(arguments: tuple[str, ...], message: str) -> None:
    code, text = refusal("dbos_list", *arguments)

    assert code == USAGE
    assert message in text


@pytest.mark.skipif(not django_settings.USE_TZ, reason="Local times are taken there.")
def test_a_time_needs_its_zone() -> None:
    assert refusal("dbos_list", "--since", "2026-03-01T00:00")[0] == USAGE


# Show


def test_a_failed_workflow_is_shown_with_its_steps() -> None:
    handle = fail.using(workflow_id="w", attributes={"order": 17}).start("no stock")
    run_until_idle()

    data = run_json("dbos_show", "w")
    text = run("dbos_show", "w")

    assert (data["status"], data["name"]) == ("ERROR", fail.name)
    assert data["input"] == {"args": ["no stock"], "kwargs": {}}
    assert data["error"]["class"] == "ValueError"
    assert data["error"]["message"] == "no stock"
    assert "raise ValueError(word)" in data["error"]["traceback"]
    (step,) = data["steps"]
    assert (step["step_number"], step["output"], step["state"]) == (1, 2, "RECORDED")
    assert step["step_name"].endswith("count")
    for part in (" failed at ", "ValueError: no stock", '{"order": 17}', '["no stock"]'):
        assert part in text
    assert handle.get_status() == "ERROR"


def test_values_can_be_left_out() -> None:
    fail.using(workflow_id="w", attributes={"order": "secret"}).start("secret")
    run_until_idle()

    for arguments in (("dbos_show", "w"), ("dbos_show", "w", "--format", "json")):
        assert "secret" in run(*arguments)
        assert "secret" not in run(*arguments, "--no-payloads")
    assert run_json("dbos_show", "w", "--no-steps")["steps"] == []


def test_redacted_parts_are_shown_nowhere(settings: Any) -> None:
    rule = {"*": ["input.args.0", "error", "attributes.order"]}
    settings.DBOS = {**settings.DBOS, "REDACT": rule}
    fail.using(workflow_id="w", attributes={"order": "secret"}).start("secret")
    run_until_idle()

    for command in (("dbos_show", "w"), ("dbos_list",)):
        for form in ("text", "json"):
            assert "secret" not in run(*command, "--format", form)
    assert run_json("dbos_show", "w")["input"]["args"] == ["[redacted]"]


def test_a_redaction_that_fails_shows_nothing(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "REDACT": "tests.management.test_workflow_commands.explode"}
    give.using(workflow_id="w").start("secret")

    code, message = refusal("dbos_show", "w")

    assert (code, "secret" in message) == (REFUSED, False)
    assert "DBOS['REDACT'] failed for 'input'" in message


def explode(user: Any, row: Any, field: str, value: Any) -> Any:
    raise RuntimeError("broken")


def test_a_waiting_workflow_says_what_it_waits_for() -> None:
    take.using(workflow_id="w").start("paid")
    run_until_idle()

    assert "message 'paid'" in run("dbos_show", "w")
    assert run_json("dbos_show", "w")["waits_for"] == "message 'paid'"


def test_what_isnt_plain_is_shown_as_plain() -> None:
    give_amount.using(workflow_id="w").start()
    run_until_idle()

    assert run_json("dbos_show", "w")["output"] == "1.50"


def test_a_missing_workflow_is_refused() -> None:
    assert refusal("dbos_show", "missing")[0] == REFUSED


# Start and send


def test_a_start_takes_arguments_and_options() -> None:
    assert run("dbos_start", give.name, "--args", "[1]", "--workflow-id", "w") == "w\n"
    started = run_json(
        "dbos_start",
        "give_amount",
        *("--queue-name", "mail", "--priority", "7", "--timeout", "90", "--user", "7"),
        *("--attributes", '{"a": 1}', "--deduplication-id", "d", "--unique-for", "60"),
        *("--partition-key", "p", "--run-after", "60"),
    )["workflow_id"]
    kwargs = run("dbos_start", give.name, "--kwargs", '{"a": [2]}').strip()

    assert Workflow.objects.get(pk="w").input == {"args": [1], "kwargs": {}}
    assert Workflow.objects.get(pk=kwargs).input == {"args": [], "kwargs": {"a": [2]}}
    row = Workflow.objects.get(pk=started)
    assert (row.name, row.status, row.queue_name) == (give_amount.name, "DELAYED", "mail")
    assert (row.priority, row.user_id, row.attributes) == (7, "7", {"a": 1})
    assert (row.deduplication_id, row.partition_key) == ("d", "p")
    assert row.timeout == timedelta(seconds=90)
    assert row.unique_until is not None


def test_an_instant_of_a_start_is_taken() -> None:
    started = run("dbos_start", give.name, "--run-after", in_zone(timedelta(days=1))).strip()

    assert Workflow.objects.get(pk=started).status == "DELAYED"


def test_arguments_may_come_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('["piped"]'))

    started = run("dbos_start", give.name, "--args", "-").strip()

    assert Workflow.objects.get(pk=started).input["args"] == ["piped"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("give_amuont",), REFUSED, "Did you mean 'give_amount'?"),
        ((give.name, "--args", "5"), USAGE, "--args must be a JSON list such as [17], not 5."),
        ((give.name, "--kwargs", "[5]"), USAGE, "--kwargs must be a JSON object, not [5]."),
        ((give.name, "--args", "[1"), USAGE, "--args must be JSON, not '[1'"),
        ((give.name, "--priority", "high"), USAGE, "--priority must be a number, not 'high'"),
        ((give.name, "--priority", "101"), USAGE, "priority must be from -100 to 100"),
        ((give.name, "--timeout", "0"), USAGE, "timeout must be more than 0"),
        ((give.name, "--wait-timeout", "1"), USAGE, "--wait-timeout needs --wait"),
        ((give.name, "--wait", "--wait-timeout", "-1"), USAGE, "not negative"),
        ((give.name, "--wait", "--wait-timeout", "nan"), USAGE, "not negative"),
        ((give_amount.name, "--args", "[1]"), USAGE, "too many positional arguments"),
        ((give.name, "--workflow-id", "taken", "--on-existing", "reject"), REFUSED, "taken"),
        ((give_amount.name, "--workflow-id", "taken"), REFUSED, "taken"),
    ],
)
def test_a_start_is_refused_with_a_reason(
    arguments: tuple[str, ...], code: int, message: str
) -> None:
    give.using(workflow_id="taken").start()

    found = refusal("dbos_start", *arguments)

    assert found[0] == code
    assert message in found[1]
    assert Workflow.objects.count() == 1


def test_code_of_another_project_can_be_started() -> None:
    started = run("dbos_start", "other.project.run", "--elsewhere", "--args", "[1]").strip()

    assert Workflow.objects.get(pk=started).name == "other.project.run"


def test_a_start_elsewhere_under_a_name_that_no_worker_has_is_told() -> None:
    said, stdout = StringIO(), StringIO()
    register(get_store(), workflow_names='["other.project.run"]')

    for name in ("other.project.run", "other.project.rum"):
        call_command("dbos_start", name, "--elsewhere", stdout=stdout, stderr=said)

    (line,) = said.getvalue().splitlines()
    assert "knows its function 'other.project.rum', but one knows 'other.project.run'" in line
    assert Workflow.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("worker")
def test_a_result_can_be_waited_for() -> None:
    data = run_json("dbos_start", give.name, "--args", "[1]", "--wait")
    lines = run("dbos_start", give.name, "--workflow-id", "w", "--wait").splitlines()
    code, message = refusal("dbos_start", fail.name, "--args", '["no stock"]', "--wait")

    assert (data["status"], data["output"], data["error"]) == ("SUCCESS", [1, {}], None)
    assert lines == ["w", "[{}]"]
    assert (code, message) == (REFUSED, "ValueError: no stock")


@pytest.mark.django_db(transaction=True)
def test_a_wait_that_is_over_leaves_the_workflow() -> None:
    arguments = ("dbos_start", take.name, "--workflow-id", "w", "--wait", "--wait-timeout", "0")

    code, message = refusal(*arguments)

    assert code == UNFINISHED
    assert "hasn't ended. No live worker serves queue 'default'" in message
    assert statuses() == {"w": "ENQUEUED"}


def test_a_message_is_received() -> None:
    handle = take.using(workflow_id="w").start("paid")
    for message in ("7", "8"):
        run("dbos_send", "w", message, "--topic", "paid", "--idempotency-key", "k")
    run_until_idle()

    assert handle.get_result() == 7
    assert run_json("dbos_send", "w", '"late"') == {"workflow_id": "w"}
    assert refusal("dbos_send", "missing", "1")[0] == REFUSED
    code, message = refusal("dbos_send", "w", "paid")
    assert (code, "A text needs quotes" in message) == (USAGE, True)
    assert refusal("dbos_send", "w", "1", "--topic", "")[0] == USAGE


# Cancel and resume


def test_named_workflows_are_cancelled_and_resumed_and_the_others_reported() -> None:
    for name in "ab":
        take.using(workflow_id=name).start()
    give.using(workflow_id="c").start()
    run_until_idle()

    output = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("dbos_cancel", "a", "b", "c", "d", "--format", "json", stdout=output)

    assert caught.value.returncode == REFUSED
    data = json.loads(output.getvalue())
    assert data["done"] == 2
    assert [(row["workflow_id"], row["reason"]) for row in data["workflows"]] == [
        ("a", None),
        ("b", None),
        ("c", "has ended already"),
        ("d", "doesn't exist"),
    ]
    assert statuses() == {"a": "CANCELLED", "b": "CANCELLED", "c": "SUCCESS"}

    assert run("dbos_resume", "a", "--queue-name", "slow") == "a resumed\n"
    assert Workflow.objects.get(pk="a").queue_name == "slow"
    assert refusal("dbos_resume", "c") == (REFUSED, _NOT_RESUMED)
    assert refusal("dbos_resume", "b", "--queue-name", "")[0] == USAGE


def test_workflows_are_given_by_ids_or_by_filters() -> None:
    assert refusal("dbos_cancel", "b", "--active") == (USAGE, "Give ids or filters, not both.")
    code, message = refusal("dbos_cancel", "--yes")
    assert (code, "Give the ids of workflows, or filters" in message) == (USAGE, True)


def test_filters_find_what_is_acted_on_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "PAGE", 2)
    for number in range(5):
        take.using(workflow_id=f"m{number}", queue_name="mail").start()
    take.using(workflow_id="other").start()

    assert run_json("dbos_cancel", "--queue", "mail", "--yes")["done"] == 5
    assert {one for one, status in statuses().items() if status == "CANCELLED"} == {
        f"m{number}" for number in range(5)
    }
    assert refusal("dbos_cancel", "--queue", "mail", "--yes")[0] == REFUSED
    assert run("dbos_resume", "--status", "CANCELLED", "--no-input") == "5 resumed\n"
    assert set(statuses().values()) == {"ENQUEUED"}


def test_children_are_cancelled_on_request() -> None:
    handle = parent.start()
    run_until_idle()

    run("dbos_cancel", handle.workflow_id, "--children")

    assert set(statuses().values()) == {"CANCELLED"}


@pytest.mark.parametrize("command", ["dbos_cancel", "dbos_resume"])
def test_ids_or_filters_are_needed_and_a_question_is_asked(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take.using(workflow_id="w").start()
    run_until_idle()
    before = statuses()
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    assert refusal(command)[0] == USAGE
    assert refusal(command, "w", "--active")[0] == USAGE
    code, message = refusal(command, "--active")
    assert code == USAGE
    assert "1 workflow? Add --yes" in message
    assert statuses() == before


def test_what_changes_meanwhile_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the query and the act one of the two ends."""
    for name in "ab":
        take.using(workflow_id=name).start()
    real = bulk.pages

    def pages(found: Any) -> Any:
        for page in real(found):
            dbos.retrieve_workflow("a").cancel()
            yield page

    monkeypatch.setattr(bulk, "pages", pages)

    assert run_json("dbos_cancel", "--active", "--yes") == {"done": 1, "changed_meanwhile": 1}


# Executors


@pytest.mark.django_db(transaction=True)
def test_executors_are_listed_and_drained(worker: Any) -> None:
    executor_id = worker.identity.executor_id

    (row,) = run_json("dbos_executors", "list")
    assert (row["executor_id"], row["is_live"], row["running"]) == (executor_id, True, 0)
    assert executor_id in run("dbos_executors", "list")
    assert refusal("dbos_executors", "drain")[0] == USAGE
    assert refusal("dbos_executors", "drain", executor_id, "--all")[0] == USAGE
    code, message = refusal("dbos_executors", "drain", executor_id, f"{executor_id[:-1]}?")
    assert code == REFUSED
    assert f"so none was asked to drain. Did you mean {executor_id!r}?" in message
    _, message = refusal("dbos_executors", "drain", "--hostname", row["hostname"])
    assert "Drain 1 executor?" in message
    code, message = refusal("dbos_executors", "drain", "--hostname", f"{row['hostname']}0", "--yes")
    assert code == REFUSED
    assert message.endswith(f"Did you mean {row['hostname']!r}?")
    eventually(lambda: run_json("dbos_executors", "list")[0]["drain_requested_at"] is None)

    (answer,) = run_json("dbos_executors", "drain", "--hostname", row["hostname"], "--yes")

    assert answer == {"executor_id": executor_id, "draining": True}


@pytest.mark.parametrize("command", ["dbos_list", "dbos_cancel", "dbos_delete"])
@pytest.mark.parametrize("flag", ["--prefix", "--since", "--until", "--name", "--queue"])
def test_an_empty_filter_does_not_mean_all_workflows(command: str, flag: str) -> None:
    handle = give.start()
    run_until_idle()
    yes = [] if command == "dbos_list" else ["--yes"]

    assert refusal(command, f"{flag}=", *yes) == (USAGE, f"{flag} can't be empty.")

    assert handle.get_status() == "SUCCESS"


def test_a_name_that_no_workflow_has_is_explained() -> None:
    give.start()

    last_part = refusal("dbos_cancel", "--name", "give_amount", "--yes")
    assert last_part[1].endswith(f"acted on. --name takes the whole name: {give_amount.name}.")
    typo = refusal("dbos_cancel", "--name", f"{give_amount.name}s", "--yes")
    assert typo[1].endswith(
        f"No function here is named '{give_amount.name}s'. Did you mean {give_amount.name!r}?"
    )
    known = refusal("dbos_cancel", "--name", give_amount.name, "--yes")
    assert known[1] == "No workflow matches that could be acted on."
