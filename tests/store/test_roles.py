"""Database roles with grants of their own: those that the guide to deployment names suffice."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection, connections
from django.db.backends.signals import connection_created

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.health import check_health
from django_dbos.models import Inquiry, StepDeletion, Workflow
from tests.people.forms import approve
from tests.waiting import LIMIT, eventually

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="Roles of PostgreSQL"),
]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "deployment.md"
BLOCK = re.compile(r"^```sql\n-- (workflow|step) database\n(.*?)^```", re.MULTILINE | re.DOTALL)
ALIASES = {"workflow": "default", "step": "other"}
ROLES = ("shop_worker", "shop_web", "shop_monitor")


@dbos.step(atomic=True, using="other")
def charges(amount: int) -> int:
    return amount


@dbos.workflow
def buys(amount: int = 1) -> int:
    dbos.set_event("stage", "begun")
    dbos.write_stream("log", "begun")
    charged = charges(amount)
    if amount < 0:
        raise ValueError(amount)
    if amount == 0:
        return int(dbos.recv("amount", timeout=None))
    return charged


@dbos.workflow
def waits_long() -> Any:
    return dbos.wait_any(dbos.message("never"), dbos.until(3_600)).name


@pytest.fixture
def roles() -> Iterator[dict[str, str]]:
    """Make the roles as the guide does, under names of this test; yield these by the guide's."""
    names = {role: f"{role}_{secrets.token_hex(4)}" for role in ROLES}
    found = dict(BLOCK.findall(GUIDE.read_text()))
    assert set(found) == set(ALIASES)
    for kind, text in found.items():
        for role, name in names.items():
            text = re.sub(rf"\b{role}\b", name, text)
        if ALIASES[kind] != "default":
            # Roles belong to the server.
            text = re.sub(r"^CREATE ROLE.*$", "", text, flags=re.MULTILINE)
        with connections[ALIASES[kind]].cursor() as cursor:
            cursor.execute(text)
    try:
        yield names
    finally:
        for alias in ALIASES.values():
            with connections[alias].cursor() as cursor:
                cursor.execute("RESET ROLE")
                for name in names.values():
                    cursor.execute(f"DROP OWNED BY {name}")
        with connection.cursor() as cursor:
            for name in names.values():
                cursor.execute(f"DROP ROLE {name}")


@contextmanager
def acting_as(role: str) -> Iterator[None]:
    """Give this thread's connections, and all new ones, a role."""

    def set_role(sender: Any, connection: Any, **given: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")

    connections.close_all()
    connection_created.connect(set_role)
    try:
        yield
    finally:
        connection_created.disconnect(set_role)
        connections.close_all()


@contextmanager
def worker(roles: dict[str, str]) -> Iterator[None]:
    """Run an executor, which makes its connections as it begins, as the worker's role."""
    with acting_as(roles["shop_worker"]), Executor():
        yield


def test_a_worker_runs_and_deletes(roles: dict[str, str], settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.1}
    with worker(roles):
        assert buys.start(7).get_result(timeout=LIMIT) == 7
        with pytest.raises(ProgrammingError), connection.cursor() as cursor:
            cursor.execute("TRUNCATE dbos_alert")
        waiting = buys.start(0)
        other = waits_long.start()
        eventually(lambda: {waiting.get_status(), other.get_status()} == {"WAITING"})
        waiting.send(5, "amount")
        assert waiting.get_result(timeout=LIMIT) == 5
        other.cancel()
        dbos.schedules.create("nightly", buys, "0 3 * * *", args=[1])
        assert dbos.schedules.trigger("nightly").get_result(timeout=LIMIT) == 1
        failed = buys.start(-1)
        with pytest.raises(ValueError, match="-1"):
            failed.get_result(timeout=LIMIT)
        failed.rewind(1)
        eventually(lambda: failed.get_status() == "ERROR")
        call_command("dbos_prune", "--keep=1", "--strays")
        failed.delete()

    assert StepDeletion.objects.exists()
    assert not Workflow.objects.filter(pk=failed.workflow_id).exists()


def test_a_web_process_starts_sends_reads_and_answers(roles: dict[str, str]) -> None:
    with acting_as(roles["shop_web"]):
        handles = [
            buys.start(0),
            *buys.start_many([(1,), (2,)]),
            buys.using(deduplication_id="one").start(0),
            buys.using(deduplication_id="one", on_duplicate="replace").start(0),
            buys.using(debounce_key="two", delay=600).start(0),
            buys.using(debounce_key="two", delay=600).start(1),
            waits_long.start(),
        ]
        form = approve.start(title="Refund?")
        handles[0].send(3, "amount")
        assert handles[1].cancel()
        assert handles[1].resume()
        handles[0].set_attributes({"stage": "paid"})
    with worker(roles):
        assert handles[0].get_result(timeout=LIMIT) == 3
        eventually(lambda: Inquiry.objects.pending().exists())
        eventually(lambda: handles[-1].get_status() == "WAITING")
    with acting_as(roles["shop_web"]):
        assert handles[0].get_event("stage") == "begun"
        assert list(dbos.read_stream(handles[0].workflow_id, "log")) == ["begun"]
        assert handles[0].describe().last_step
        dbos.answer_form(Inquiry.objects.pending().get().pk, {"approved": True, "amount": "7"})
        assert handles[-1].cancel()
        assert check_health().is_live
        with pytest.raises(ProgrammingError, match="permission denied"):
            handles[0].delete()
    with worker(roles):
        form.get_result(timeout=LIMIT)


def test_a_monitor_only_looks(roles: dict[str, str]) -> None:
    handle = buys.start(0)

    with acting_as(roles["shop_monitor"]):
        looks: list[Callable[[], Any]] = [
            lambda: call_command("dbos_list"),
            lambda: call_command("dbos_show", handle.workflow_id),
            lambda: call_command("dbos_health", "--live"),
            lambda: call_command("dbos_top", "--once"),
            lambda: call_command("dbos_queues", "list"),
        ]
        for look in looks:
            look()
        for change in (handle.cancel, lambda: handle.send(1), lambda: buys.start(1)):
            with pytest.raises(ProgrammingError, match="permission denied"):
                change()
