"""The overview of the admin shows what a health check complains of."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import translation

from django_dbos.admin import problems
from django_dbos.health import Problem
from tests.observability import traced

pytestmark = pytest.mark.django_db

KINDS = ("no_worker", "oldest_enqueued", "silent_executors", "stuck", "failing", "quarantined")


def test_the_overview_lists_problems(admin_client: Client) -> None:
    path = "/admin/django_dbos/workflow/overview/"
    assert "messagelist" not in admin_client.get(path).content.decode()

    traced.child.using(queue_name="<lonely>").start()

    page = admin_client.get(path).content.decode()
    assert "Queue &lt;lonely&gt; has workflows (1) and no live worker." in page


@pytest.mark.parametrize("language", ["en", "de", "fr"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_problem_has_words(kind: str, language: str) -> None:
    problem = Problem(kind=kind, subject="mail", value=0.25, text="")

    with translation.override(language):
        text = problems._text(problem)

    assert text
    assert "%(" not in text
