"""The page of a form: who may answer, and what becomes of an answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

import django_dbos as dbos
from django_dbos.models import Inquiry, Message
from django_dbos.testing import advance, run_until_idle
from tests.people.forms import approve, ask_with

pytestmark = pytest.mark.django_db
GOOD = {"approved": "on", "amount": "12.50"}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def asked(**options: Any) -> Inquiry:
    approve.start(**options)
    run_until_idle()
    return Inquiry.objects.pending().get()


def user_with(*codenames: str, name: str = "anna", **fields: Any) -> User:
    user = User.objects.create_user(name, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


@pytest.fixture
def anna(client: Client) -> User:
    user = user_with()
    client.force_login(user)
    return user


def test_somebody_who_is_named_answers(client: Client, anna: User) -> None:
    form = asked(users=[anna.pk], title="Refund order 7?", description="It came late.")
    page = client.get(form.get_absolute_url())
    assert page.status_code == 200
    for text in ("Refund order 7?", "It came late.", 'name="amount"', "csrfmiddlewaretoken"):
        assert text in page.content.decode()
    assert page["Cache-Control"].count("no-store")

    response = client.post(form.get_absolute_url(), GOOD)
    assert (response.status_code, response["Location"]) == (302, form.get_absolute_url())
    assert "The answer has arrived" in client.get(response["Location"]).content.decode()
    run_until_idle()

    handle = dbos.retrieve_workflow(str(form.workflow_id))
    data, user_id = handle.get_result()
    assert (data["approved"], user_id) == (True, str(anna.pk))
    assert Inquiry.objects.get().answered_by == str(anna.pk)


def test_errors_are_shown_beside_their_fields(client: Client, anna: User) -> None:
    form = asked(users=[anna])

    page = client.post(form.get_absolute_url(), {"amount": EVIL, "note": EVIL})

    text = page.content.decode()
    assert page.status_code == 200
    assert "Enter a number" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert not Message.objects.exists()


def test_titles_and_initial_values_are_escaped(client: Client, anna: User) -> None:
    form = asked(users=[anna], title=EVIL, description=EVIL, initial={"note": EVIL})

    text = client.get(form.get_absolute_url()).content.decode()

    assert "<script" not in text
    assert "<img" not in text
    assert "style=" not in text


ALLOWED: list[tuple[str, dict[str, Any]]] = [
    ("named", {"users": True}),
    ("in the group", {"groups": ["managers"]}),
    ("with the permission", {"permission": "auth.add_group"}),
    ("any of them", {"users": ["999"], "groups": ["managers"], "permission": "auth.add_user"}),
]


@pytest.mark.parametrize(("who", "options"), ALLOWED, ids=[who for who, _ in ALLOWED])
def test_who_may_answer(client: Client, who: str, options: dict[str, Any]) -> None:
    user = user_with("add_group")
    user.groups.add(Group.objects.create(name="managers"))
    stranger = user_with(name="stranger")
    if options.get("users") is True:
        options = {"users": [user]}
    url = asked(**options).get_absolute_url()

    client.force_login(stranger)
    assert client.get(url).status_code == 404
    assert client.post(url, GOOD).status_code == 404
    assert not Message.objects.exists()
    client.force_login(user)
    assert client.post(url, GOOD).status_code == 302


def test_nobody_but_holders_of_the_permission_may_answer_a_form_without_an_audience(
    client: Client,
) -> None:
    owner = user_with("view_inquiry", "view_workflow", name="owner", is_staff=True)
    approve.using(user=owner).start()
    run_until_idle()
    url = Inquiry.objects.get().get_absolute_url()

    client.force_login(owner)
    assert client.get(url).status_code == 404
    client.force_login(user_with("answer_form"))
    assert client.get(url).status_code == 200
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(url, GOOD).status_code == 302


def test_strangers_learn_nothing(client: Client, django_assert_num_queries: Any) -> None:
    """An unknown form and a forbidden one have the same answer, after as many queries."""
    form = asked(groups=["managers"])
    known, unknown = form.get_absolute_url(), f"/dbos/forms/{form.pk + 1}/"

    for url in (known, unknown):
        response = client.get(url)
        assert response.status_code == 302
        assert response["Location"].startswith(f"{django_settings.LOGIN_URL}?next={url}")
        assert client.post(url, GOOD).status_code == 302
    client.force_login(user_with())
    answers = []
    for url in (known, unknown):
        with django_assert_num_queries(6) as queries:
            response = client.get(url)
        answers.append((response.status_code, response.content, len(queries)))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
    assert client.get(f"/dbos/forms/{2**70}/").status_code == 404
    assert not Message.objects.exists()


def test_a_user_who_is_deactivated_may_not_answer(client: Client, anna: User) -> None:
    form = asked(users=[anna])
    User.objects.update(is_active=False)

    assert client.post(form.get_absolute_url(), GOOD).status_code == 302
    assert not Message.objects.exists()
    with pytest.raises(Exception, match="may not answer"):
        dbos.answer_form(form.pk, GOOD, user=User.objects.get())


def test_an_answer_needs_the_token_against_forgery(anna: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(anna)
    form = asked(users=[anna])
    url = form.get_absolute_url()

    assert client.post(url, GOOD).status_code == 403
    assert not Message.objects.exists()
    client.get(url)
    token = client.cookies["csrftoken"].value
    assert client.post(url, {**GOOD, "csrfmiddlewaretoken": token}).status_code == 302


def test_a_second_answer_is_refused_with_a_page(client: Client, anna: User) -> None:
    form = asked(users=[anna])
    client.post(form.get_absolute_url(), GOOD)

    page = client.post(form.get_absolute_url(), {"amount": "1"})

    assert page.status_code == 409
    assert "Only the first answer counts" in page.content.decode()
    assert "The answer has arrived" not in page.content.decode()
    assert Message.objects.count() == 1


def test_a_form_that_expired_or_is_not_needed_says_so(client: Client, anna: User) -> None:
    form = asked(users=[anna], timeout=timedelta(days=1), default=None)
    assert "Answers are accepted until" in client.get(form.get_absolute_url()).content.decode()
    advance(timedelta(days=2))
    late = client.post(form.get_absolute_url(), GOOD)
    assert (late.status_code, "too late" in late.content.decode()) == (409, True)

    other = asked(users=[anna])
    dbos.retrieve_workflow(str(other.workflow_id)).cancel()
    ended = client.get(other.get_absolute_url())
    assert "needed any more" in ended.content.decode()
    assert not Message.objects.exists()


def test_an_answer_that_cannot_be_stored_is_shown_and_logged(
    client: Client, anna: User, caplog: Any
) -> None:
    ask_with.start("tests.people.forms.SneakyForm", users=[anna])
    run_until_idle()
    form = Inquiry.objects.get()

    page = client.post(form.get_absolute_url(), {"name": "user"})

    assert page.status_code == 200
    assert "primary key" in page.content.decode()
    assert f"The answer to form {form.pk} can't be stored" in caplog.text
    assert Inquiry.objects.pending().exists()


def test_the_address_for_people(settings: Any) -> None:
    form = asked()
    with pytest.raises(Exception, match="BASE_URL"):
        form.url  # noqa: B018
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example/"}

    assert form.url == f"https://shop.example/dbos/forms/{form.pk}/"
