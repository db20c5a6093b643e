"""Whatever is sent to forms, callbacks and probes, no error of ours answers."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

import django_dbos as dbos
from django_dbos.models import Inquiry
from django_dbos.testing import run_until_idle
from tests.fuzz.parts import (
    JSON,
    METHODS,
    NUMBERS,
    QUOTED,
    TEXT,
    TEXTS,
    fields,
    fuzz,
    mostly,
    queries,
)
from tests.people.forms import ApprovalForm, approve

EXAMPLES = 60
KINDS = (
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
)


PROBES = ["/dbos/health/live/", "/dbos/health/ready/", "/dbos/metrics/"]


@dbos.workflow
def calls_back() -> Any:
    dbos.set_event("path", urlsplit(dbos.callback_url("paid")).path)
    return dbos.recv("paid", timeout=None)


def test_no_form_fails(transactional_db: None, admin_user: Any) -> None:
    approve.start()
    run_until_idle()
    form_id = Inquiry.objects.get().pk
    client = Client()
    client.force_login(admin_user)
    ids = mostly(st.just(str(form_id)), st.sampled_from(NUMBERS).map(str) | QUOTED)
    names = [*ApprovalForm.base_fields, "next"]

    @fuzz(EXAMPLES)
    @given(METHODS, ids, queries(names), fields(names))
    def check(method: str, form_id: str, query: str, data: Any) -> None:
        path = f"/dbos/forms/{form_id}/?{query}"
        with transaction.atomic():
            post = method == "POST"
            response = client.post(path, data) if post else client.generic(method, path)
            transaction.set_rollback(True)
        assert response.status_code < 500

    check()


def test_no_callback_fails(transactional_db: None, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example"}
    handle = calls_back.start()
    run_until_idle()
    path = handle.get_event("path")
    base, _, signed = path.rstrip("/").rpartition("/")
    client = Client()
    known = st.sampled_from([signed, f"{signed}/", signed[:-1], signed.replace(":", "%3A")])
    bodies = JSON.map(json.dumps) | st.sampled_from(TEXTS)
    kinds = mostly(st.sampled_from(KINDS), TEXT)

    @fuzz(EXAMPLES)
    @given(mostly(st.just("POST"), METHODS), mostly(known, QUOTED), bodies, kinds)
    def check(method: str, signed: str, body: str, kind: str) -> None:
        with transaction.atomic():
            response = client.generic(method, f"{base}/{signed}", body, kind)
            transaction.set_rollback(True)
        assert response.status_code < 500

    check()


def test_no_probe_fails(transactional_db: None) -> None:
    client = Client()

    @fuzz(EXAMPLES)
    @given(METHODS, st.sampled_from(PROBES), queries(["format", "name"]), TEXT)
    def check(method: str, path: str, query: str, token: str) -> None:
        token = re.sub("[^ -~]", "", token)
        headers = {"Authorization": f"Bearer {token}", "Accept": token}
        response = client.generic(method, f"{path}?{query}", headers=headers)
        # 503 tells of problems: nobody runs workflows here. 501 tells what isn't installed.
        assert response.status_code < 500 or response.status_code in (501, 503)

    check()
