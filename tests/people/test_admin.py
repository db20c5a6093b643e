"""The admin's list of what waits for people, and the page on which it is answered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Inquiry, Message
from django_dbos.testing import run_until_idle
from tests.admin.conftest import get, log_in, page_of
from tests.people.forms import approve, ask_with
from tests.people.test_callbacks import pay

pytestmark = pytest.mark.django_db
LIST = reverse("admin:django_dbos_inquiry_changelist")
GOOD = {"approved": "on", "amount": "12.50"}
EVIL = "<script>alert(1)</script>"


def asked(**options: Any) -> Inquiry:
    handle = approve.start(**options)
    run_until_idle()
    return Inquiry.objects.get(workflow_id=handle.workflow_id)


def url_of(form: Inquiry) -> str:
    return reverse("admin:django_dbos_inquiry_change", args=[form.pk])


def test_the_list_shows_what_waits_and_for_whom(client: Client, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example"}
    form = asked(title="Refund?", groups=["managers"], users=[7], permission="shop.approve")
    answered = asked(title="Answered")
    dbos.answer_form(answered.pk, GOOD, user=User.objects.create_superuser("root"))
    ended = asked(title="Ended")
    dbos.retrieve_workflow(str(ended.workflow_id)).cancel()
    pay.start()
    run_until_idle()
    log_in(client, "view_inquiry")

    page = get(client, LIST)
    assert "users 7; groups managers; permission shop.approve" in page.text
    assert page_of(str(form.workflow_id)) in page.links
    for title in ("Answered", "Ended", "paid"):
        assert title not in [row[0] for row in page.tables["result_list"]]

    rows = get(client, LIST, {"state": "answered"}).tables["result_list"]
    assert [row[:2] for row in rows[1:]] == [["Answered", "answered"]]
    assert "root" in rows[1][-1]
    rows = get(client, LIST, {"state": "all"}).tables["result_list"]
    assert {row[0]: row[1] for row in rows[1:]} == {
        "Refund?": "waiting",
        "Answered": "answered",
        "Ended": "no longer asked",
    }
    rows = get(client, LIST, {"kind": "callback"}).tables["result_list"]
    assert [row[:2] for row in rows[1:]] == [["paid", "waiting"]]
    assert "Refund?" in get(client, LIST, {"q": form.workflow_id}).text
    assert "Refund?" not in get(client, LIST, {"q": "other"}).text


def test_the_list_has_as_many_queries_for_many_rows(
    client: Client, django_assert_max_num_queries: Any
) -> None:
    client.force_login(User.objects.create_superuser("root"))
    for _ in range(12):
        asked()

    with django_assert_max_num_queries(8):
        assert len(get(client, LIST).tables["result_list"]) == 13


def test_an_operator_answers_and_the_history_says_so(client: Client) -> None:
    log_in(client, "answer_form")
    form = asked(title="Refund?", description="It came late.", initial={"amount": 5})
    page = get(client, url_of(form))
    assert "It came late." in page.text
    assert 'value="5"' in page.html

    refused = client.post(url_of(form), {"amount": "2000"})
    assert "less than or equal to 1000" in refused.content.decode()
    accepted = client.post(url_of(form), GOOD, follow=True)
    run_until_idle()

    assert "The workflow gets the answer" in accepted.content.decode()
    user = User.objects.get()
    assert dbos.retrieve_workflow(str(form.workflow_id)).get_result()[1] == str(user.pk)
    (entry,) = LogEntry.objects.all()
    assert (entry.user, entry.object_id, entry.change_message) == (user, str(form.pk), "Answered.")
    history = reverse("admin:django_dbos_inquiry_history", args=[form.pk])
    assert "Answered." in get(client, history).text


def test_a_second_answer_is_refused_and_not_logged(client: Client) -> None:
    log_in(client, "answer_form")
    form = asked()
    dbos.answer_form(form.pk, GOOD)

    response = client.post(url_of(form), GOOD, follow=True)

    assert "any more" in response.content.decode()
    assert Message.objects.count() == 1
    assert not LogEntry.objects.exists()


def test_an_answer_that_comes_in_between_is_told(client: Client, monkeypatch: Any) -> None:
    from django_dbos.store import get_store

    log_in(client, "answer_form")
    form = asked()
    monkeypatch.setattr(get_store(), "answer_inquiry", lambda *a, **k: False, raising=False)

    page = client.post(url_of(form), GOOD)

    assert "can&#x27;t be answered" in page.content.decode()
    assert not LogEntry.objects.exists()


def test_a_viewer_sees_and_cannot_answer(client: Client) -> None:
    form = asked(title="Refund?")
    log_in(client, "view_inquiry")

    page = get(client, url_of(form))
    assert "You may not answer this form" in page.text
    assert 'name="amount"' not in page.html
    assert client.post(url_of(form), GOOD).status_code == 403
    assert not Message.objects.exists()


def test_values_are_hidden_from_those_who_may_not_see_them(client: Client) -> None:
    form = asked()
    dbos.answer_form(form.pk, {**GOOD, "note": "secret words"})
    log_in(client, "view_inquiry")
    assert "secret words" not in get(client, url_of(form)).html
    assert "(hidden)" in get(client, url_of(form)).text

    User.objects.all().delete()
    log_in(client, "view_inquiry", "view_payload")
    assert "secret words" in get(client, url_of(form)).html


def test_a_long_answer_is_cut_and_can_be_downloaded(client: Client) -> None:
    form, note = asked(), "long words " * 10_000
    dbos.answer_form(form.pk, {**GOOD, "note": note})
    download = reverse("admin:django_dbos_inquiry_download", args=[form.pk])
    log_in(client, "view_inquiry")
    assert client.get(download).status_code == 403

    User.objects.all().delete()
    log_in(client, "view_inquiry", "view_payload")
    page = get(client, url_of(form))
    assert download in page.links
    assert note.strip() not in page.text
    assert client.get(download).json()["note"] == note.strip()


@pytest.mark.parametrize("permissions", [(), ("view_workflow",), ("view_message",)])
def test_others_see_nothing(client: Client, permissions: tuple[str, ...]) -> None:
    form = asked(title="Refund?")
    log_in(client, *permissions)

    for url in (LIST, url_of(form)):
        assert client.get(url).status_code == 403
        assert client.post(url, GOOD).status_code == 403
    client.logout()
    assert client.get(url_of(form)).status_code == 302
    assert client.post(url_of(form), GOOD).status_code == 302
    assert not Message.objects.exists()


def test_somebody_in_the_audience_answers_in_the_admin_too(client: Client) -> None:
    log_in(client, "view_inquiry")
    form = asked(users=[User.objects.get()])

    assert client.post(url_of(form), GOOD).status_code == 302
    assert Message.objects.count() == 1


def test_an_answer_needs_the_token_against_forgery() -> None:
    client = Client(enforce_csrf_checks=True)
    log_in(client, "answer_form")
    form = asked()

    assert client.post(url_of(form), GOOD).status_code == 403
    assert not Message.objects.exists()


def test_everything_is_escaped(client: Client) -> None:
    form = asked(
        title=EVIL, description=EVIL, initial={"note": EVIL}, groups=[EVIL], permission=f"a.{EVIL}"
    )
    client.force_login(User.objects.create_superuser("root"))

    pages = [
        client.get(LIST),
        client.get(url_of(form)),
        client.get(page_of(str(form.workflow_id))),
        client.post(url_of(form), {"amount": EVIL, "note": EVIL}),
    ]
    dbos.answer_form(form.pk, {"amount": "1", "note": EVIL})
    pages.append(client.get(url_of(form)))

    for page in pages:
        assert page.status_code == 200
        assert EVIL not in page.content.decode()
    assert "&lt;script&gt;" in pages[-1].content.decode()


def test_rows_cannot_be_added_changed_or_deleted(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    form = asked()

    assert client.get(reverse("admin:django_dbos_inquiry_add")).status_code == 403
    delete = reverse("admin:django_dbos_inquiry_delete", args=[form.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403
    assert Inquiry.objects.exists()
    for number in ("0", "x", str(2**70), "1_0"):
        url = reverse("admin:django_dbos_inquiry_change", args=[number])
        assert client.get(url).status_code == 404


def test_the_page_of_a_workflow_lists_its_forms_and_callbacks_without_addresses(
    client: Client, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example"}
    form = asked(title="Refund?")
    handle = pay.start(max_age=timedelta(days=1))
    run_until_idle()
    log_in(client, "view_workflow")

    rows = get(client, page_of(str(form.workflow_id))).body("people")
    assert rows[0][1:5] == ["form", "Refund?", "waiting", "1"]
    page = get(client, page_of(handle.workflow_id))
    assert page.body("people")[0][1:4] == ["callback", "paid", "waiting"]
    assert "/dbos/callbacks/" not in page.html
    secret = Inquiry.objects.get(workflow_id=handle.workflow_id).secret
    assert secret.hex not in page.html


def test_the_reason_for_waiting_names_the_form(client: Client) -> None:
    form = asked()
    log_in(client, "view_workflow")

    assert "an answer to form 'ApprovalForm'" in get(client, page_of(str(form.workflow_id))).text
    described = dbos.retrieve_workflow(str(form.workflow_id)).describe()
    assert described.waits_for == "an answer to form 'ApprovalForm'"


def test_a_message_cannot_pretend_to_be_an_answer() -> None:
    form = asked()

    with pytest.raises(ValueError, match=r"Use answer_form\(\)"):
        dbos.send(str(form.workflow_id), [{"approved": True}, "1"], topic=str(form.topic))
    assert not Message.objects.exists()


def test_a_form_that_this_process_cannot_make_says_so(client: Client, caplog: Any) -> None:
    ask_with.start("tests.people.forms.Outer.Inner")
    run_until_idle()
    QuerySet(Inquiry).update(form_name="tests.people.forms.Gone")
    form = Inquiry.objects.get()
    log_in(client, "answer_form")

    with pytest.raises(ValueError, match="can't be imported here"):
        dbos.answer_form(form.pk, {})
    for response in (client.get(url_of(form)), client.post(url_of(form), {"name": "x"})):
        assert response.status_code == 200
        assert "can&#x27;t be imported here" in response.content.decode()
    url = form.get_absolute_url()
    for response in (client.get(url), client.post(url, {"name": "x"})):
        assert response.status_code == 503
        assert "try again later" in response.content.decode()
    assert caplog.text.count(f"Form {form.pk} can't be shown") == 4
    assert not Message.objects.exists()
