"""Callbacks: signed addresses, each of them for one message."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

import django_dbos as dbos
from django_dbos.models import Inquiry, Message, Workflow
from django_dbos.operations import callbacks
from django_dbos.testing import advance, run_until_idle

pytestmark = pytest.mark.django_db
BASE = "https://shop.example"


@pytest.fixture(autouse=True)
def base_url(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "BASE_URL": BASE}


@dbos.workflow
def pay(**options: Any) -> Any:
    dbos.set_event("url", dbos.callback_url("paid", **options))
    return dbos.recv("paid", timeout=timedelta(days=30))


@dbos.workflow
async def apay(**options: Any) -> Any:
    await dbos.aset_event("url", await dbos.acallback_url("paid", **options))
    return await dbos.arecv("paid", timeout=timedelta(days=30))


def path_of(handle: Any) -> str:
    run_until_idle()
    url = str(handle.get_event("url"))
    assert url.startswith(f"{BASE}/dbos/callbacks/")
    return url.removeprefix(BASE)


def post(path: str, value: Any, client: Client | None = None) -> Any:
    # A third party has neither a session nor a token against forgery.
    client = client or Client(enforce_csrf_checks=True)
    return client.post(path, json.dumps(value), content_type="application/json")


def test_the_last_slash_may_be_missing() -> None:
    handle = pay.start()

    assert post(path_of(handle).rstrip("/"), 12).status_code == 200
    run_until_idle()
    assert handle.get_result() == 12


@pytest.mark.parametrize("workflow", [pay, apay])
def test_it_completes_a_wait_once(workflow: Any) -> None:
    handle = workflow.start()
    path = path_of(handle)
    value = {"status": "paid", "amount": 12.5, "lines": [1, None, True]}

    first, again, other = post(path, value), post(path, value), post(path, {"status": "failed"})
    run_until_idle()

    assert (first.status_code, first.json()) == (200, {"status": "accepted"})
    assert (again.status_code, again.json()) == (200, {"status": "repeated"})
    assert (other.status_code, other.json()) == (409, {"status": "answered"})
    assert handle.get_result() == value
    assert Message.objects.count() == 1


@pytest.mark.rule(82)
@pytest.mark.parametrize("workflow", [pay, apay])
def test_a_replay_has_the_same_address(workflow: Any, run_through_crashes: Any) -> None:
    def check(handle: Any) -> None:
        assert Inquiry.objects.filter(workflow_id=handle.workflow_id).count() == 1
        assert post(path_of(handle), 1).status_code == 200
        run_until_idle()
        assert handle.get_result() == 1

    assert run_through_crashes(workflow.start, check) > 1


BODIES: list[tuple[str, bytes | str, Any]] = [
    ("application/json", '{"a": "\\u00fc"}', {"a": "ü"}),
    ("application/cloudevents+json; charset=utf-8", "[1]", [1]),
    ("application/x-www-form-urlencoded", "a=1&b=2&b=3", {"a": "1", "b": ["2", "3"]}),
    ("text/plain", "done", "done"),
    ("application/json", "", None),
    ("", "", None),
]


@pytest.mark.parametrize(("kind", "body", "value"), BODIES)
def test_bodies(kind: str, body: Any, value: Any) -> None:
    handle = pay.start()

    response = Client().post(path_of(handle), body, content_type=kind)
    run_until_idle()

    assert response.status_code == 200
    assert handle.get_result() == value


BAD: list[tuple[str, bytes, int]] = [
    ("application/json", b"{", 400),
    ("application/json", b"NaN", 400),
    ("application/json", b"1e999", 400),
    ("application/json", b'"\\ud800"', 400),
    ("application/json", b"\xff", 400),
    ("application/json", b"[" * 100_000, 400),
    ("application/json", b"9" * 5_000, 400),
    ("text/plain", b"\xff", 400),
    ("application/xml", b"<a/>", 415),
    ("", b"a", 415),
    ("application/json", b'"' + b"x" * 1_100_000 + b'"', 413),
    ("application/json", b'"' + b"x" * 3_000_000 + b'"', 413),
]


@pytest.mark.parametrize(("kind", "body", "status"), BAD, ids=lambda value: str(value)[:20])
def test_a_body_that_cannot_be_read_leaves_the_callback_open(
    kind: str, body: bytes, status: int, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "MAX_PAYLOAD_BYTES": 1_000_000}
    path = path_of(pay.start())

    response = Client().post(path, body, content_type=kind)

    assert response.status_code == status
    assert response.json()["error"]
    assert not Message.objects.exists()
    assert post(path, "fine").status_code == 200


def test_a_file_is_not_accepted() -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    path = path_of(pay.start())

    assert Client().post(path, {"file": SimpleUploadedFile("a.txt", b"a")}).status_code == 415
    assert not Message.objects.exists()


def test_forged_addresses_cost_no_query(django_assert_num_queries: Any) -> None:
    path = path_of(pay.start())
    row = Inquiry.objects.get()
    text = path.split("/")[-2]
    other = signing.Signer(salt="another").sign(f"{row.pk}.{row.secret.hex}")
    forged = [text[:-1] + "!", "x", "1", ":", f"{row.pk}.{row.secret.hex}", other, "%00", "ü"]

    for signed in forged:
        with django_assert_num_queries(0):
            assert post(f"/dbos/callbacks/{signed}/", 1).status_code == 404
    for signed in (
        callbacks.sign(row.pk + 1, row.secret.hex),
        callbacks.sign(row.pk, "0" * 32),
    ):
        assert post(f"/dbos/callbacks/{signed}/", 1).status_code == 404
    assert not Message.objects.exists()


def test_a_form_is_no_callback() -> None:
    from tests.people.forms import approve

    approve.start()
    run_until_idle()
    row = Inquiry.objects.get()

    assert post(f"/dbos/callbacks/{callbacks.sign(row.pk, row.secret.hex)}/", 1).status_code == 404
    assert not Message.objects.exists()


def test_only_a_post_completes_it() -> None:
    path = path_of(pay.start())

    for method in ("get", "head", "put", "delete", "options"):
        response = getattr(Client(), method)(path)
        assert (response.status_code, response["Allow"]) == (405, "POST")
    assert not Message.objects.exists()


def test_it_expires() -> None:
    handle = pay.start(max_age=timedelta(hours=1))
    path = path_of(handle)
    advance(timedelta(hours=1, seconds=1))

    response = post(path, 1)

    assert (response.status_code, response.json()) == (410, {"status": "expired"})
    assert not Message.objects.exists()


def test_an_address_that_would_never_be_valid_is_refused() -> None:
    handle = pay.start(max_age=0)
    run_until_idle()

    with pytest.raises(ValueError, match="max_age must be more than 0"):
        handle.get_result()


def test_without_max_age_it_is_valid_while_the_workflow_is_active() -> None:
    handle = pay.start(max_age=None)
    path = path_of(handle)
    advance(timedelta(days=20))
    assert Inquiry.objects.get().expires_at is None

    handle.cancel()
    assert post(path, 1).json() == {"status": "ended"}
    handle.resume()
    assert post(path, 2).status_code == 200
    run_until_idle()

    assert handle.get_result() == 2


def test_it_outlasts_continue_as_new() -> None:
    @dbos.workflow
    def endless(run: int) -> Any:
        if run == 1:
            dbos.set_event("url", dbos.callback_url("paid"))
            dbos.continue_as_new(2)
        return dbos.recv("paid", timeout=None)

    handle = endless.start(1)
    assert post(path_of(handle), "late").status_code == 200
    run_until_idle()

    assert handle.get_result() == "late"


def test_a_deleted_workflow_is_unknown() -> None:
    from django.db.models import QuerySet

    path = path_of(pay.start())
    QuerySet(Inquiry).all().delete()
    QuerySet(Workflow).all().delete()

    assert post(path, 1).status_code == 404


def test_without_settings_it_says_what_is_missing(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "BASE_URL": ""}
    with pytest.raises(ImproperlyConfigured, match=r"Set DBOS\['BASE_URL'\]"):
        pay()
    settings.DBOS = {**settings.DBOS, "BASE_URL": BASE}
    settings.ROOT_URLCONF = "tests.people.no_urls"
    with pytest.raises(ImproperlyConfigured, match=r"include\('django_dbos.urls'\)"):
        pay()
    assert not Inquiry.objects.exists()


@pytest.mark.parametrize("topic", ["", "x" * 256, 5, None])
def test_a_bad_topic_is_refused(topic: Any) -> None:
    @dbos.workflow
    def asks() -> None:
        dbos.callback_url(topic)

    with pytest.raises((TypeError, ValueError), match="topic"):
        asks()


def test_in_a_step_it_is_an_error() -> None:
    @dbos.step
    def create() -> None:
        dbos.callback_url("paid")

    @dbos.workflow
    def asks() -> None:
        create()

    with pytest.raises(dbos.NotAllowedInStep, match="create"):
        asks()
    with pytest.raises(dbos.NotInWorkflow):
        dbos.callback_url("paid")


def test_the_address_says_nothing_of_the_workflow() -> None:
    handle = pay.using(workflow_id="customer-anna").start()

    assert not re.search("anna|customer|paid", path_of(handle))


def test_a_callback_is_not_among_the_forms_that_a_person_may_answer(admin_user: Any) -> None:
    path_of(pay.start())
    (callback,) = Inquiry.objects.pending()

    assert callback.kind == Inquiry.Kind.CALLBACK
    assert not callback.may_be_answered_by(admin_user)
