"""Forms beside messages and times: the first one wins, and the others are closed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Inquiry
from django_dbos.testing import advance, run_until_idle
from tests.people.forms import ApprovalForm, adecide, decide

pytestmark = pytest.mark.django_db
FILLED_IN = {"amount": "1", "note": "fine"}
BOTH = pytest.mark.parametrize("workflow", [decide, adecide])


def form(title: str) -> Inquiry:
    return Inquiry.objects.with_state().get(title=title)


def states() -> dict[str, str]:
    return {row.title: str(row.state) for row in Inquiry.objects.with_state()}


@BOTH
def test_an_answer_wins_and_the_other_form_is_closed(workflow: Any) -> None:
    handle = workflow.start()
    run_until_idle()
    assert states() == {"first": "pending", "second": "pending"}
    assert handle.describe().waits_for.startswith("an answer to form 'ApprovalForm', an answer")

    dbos.answer_form(form("second").pk, FILLED_IN)
    run_until_idle()

    assert states() == {"first": "ended", "second": "answered"}
    with pytest.raises(dbos.FormNotPending, match="'ended'"):
        dbos.answer_form(form("first").pk, FILLED_IN)
    handle.send("x", topic="note")
    run_until_idle()
    assert handle.get_result() == ["second", "fine", "x"]


@pytest.mark.rule(84)
@BOTH
def test_another_winner_closes_the_forms(workflow: Any) -> None:
    handle = workflow.start()
    run_until_idle()

    handle.send("no longer", topic="withdraw")
    run_until_idle()

    assert states() == {"first": "ended", "second": "ended"}
    for title in states():
        with pytest.raises(dbos.FormNotPending):
            dbos.answer_form(form(title).pk, FILLED_IN)
    handle.send("x", topic="note")
    run_until_idle()
    assert handle.get_result() == ["withdrawn", "no longer", "x"]


def test_a_time_closes_the_forms() -> None:
    handle = decide.start()
    run_until_idle()
    advance(timedelta(days=2))
    run_until_idle()

    assert states() == {"first": "ended", "second": "ended"}
    handle.send("x", topic="note")
    run_until_idle()
    assert handle.get_result() == ["late", None, "x"]


@pytest.mark.rule(82)
@BOTH
def test_it_survives_crashes(workflow: Any, run_through_crashes: Any) -> None:
    """Each run asks once for each form, whichever write it dies after."""

    def start() -> Any:
        handle = workflow.start()
        handle.send("x", topic="note")
        handle.send("no longer", topic="withdraw")
        return handle

    def check(handle: Any) -> None:
        assert handle.get_result() == ["withdrawn", "no longer", "x"]
        rows = Inquiry.objects.with_state().filter(workflow_id=handle.workflow_id)
        assert [str(row.state) for row in rows] == ["ended", "ended"]

    assert run_through_crashes(start, check) > 2


@pytest.mark.rule(82)
@BOTH
def test_an_answer_survives_crashes(workflow: Any, run_through_crashes: Any) -> None:
    def start() -> Any:
        handle = workflow.start()
        run_until_idle()
        title = Inquiry.objects.pending().filter(workflow_id=handle.workflow_id, position=0)
        dbos.answer_form(title.get().pk, FILLED_IN)
        handle.send("x", topic="note")
        return handle

    def check(handle: Any) -> None:
        assert handle.get_result() == ["first", "fine", "x"]

    assert run_through_crashes(start, check) > 1


def test_a_bad_form_is_refused_and_only_some_arguments_fit() -> None:
    with pytest.raises(TypeError, match="is a file"):
        dbos.form("tests.people.forms.UploadForm")
    with pytest.raises(TypeError, match="timeout"):
        dbos.form(ApprovalForm, timeout=5)  # type: ignore[call-arg]
