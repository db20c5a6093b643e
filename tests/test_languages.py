"""The German and French texts: complete, compiled, and on the pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polib
import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.functional import Promise

import django_dbos as dbos
from django_dbos import queues
from django_dbos.admin.values import decimal, duration, whole
from django_dbos.models import Inquiry, Schedule, Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests import catalogues
from tests.admin.conftest import page_of, url_of
from tests.admin.workflows import busy, failing, parent, quick, retrying
from tests.catalogues import MODULES, PACKAGE, TEMPLATES
from tests.people.forms import approve
from tests.store.conftest import register

LANGUAGES = ("de", "fr")
MODELS = list(apps.get_app_config("django_dbos").get_models())
ADMINS = [admin.site.get_model_admin(model) for model in MODELS if admin.site.is_registered(model)]
SHOWN = [found.model for found in ADMINS]
# Keys and names of the workflows in these tests, which are also English texts.
DATA = {"status", "parent"}
# Modules whose texts people read.
READ = [path for path in MODULES if path.parent.name in ("admin", "templatetags", "models")]
READ += [PACKAGE / "core" / "queue_reasons.py", PACKAGE / "live" / "widgets.py"]


def catalogue(language: str, kind: str) -> Any:
    path = PACKAGE / "locale" / language / "LC_MESSAGES" / f"django.{kind}"
    return polib.pofile(str(path)) if kind == "po" else polib.mofile(str(path))


def entries(language: str, kind: str = "po") -> dict[catalogues.Text, polib.POEntry]:
    found = [entry for entry in catalogue(language, kind) if not entry.obsolete]
    return {(entry.msgctxt or "", entry.msgid, entry.msgid_plural): entry for entry in found}


def translations(entry: polib.POEntry) -> list[str]:
    return [*entry.msgstr_plural.values()] if entry.msgid_plural else [entry.msgstr]


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%(?:\(\w+\))?[sd]", text))


# --- The catalogues ----------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_in_the_catalogue_and_no_other(language: str) -> None:
    found, wanted = set(entries(language)), catalogues.texts()

    assert len(wanted) > 500
    assert not wanted - found, "Run `make messages`, and translate these."
    assert not found - wanted, "Run `make messages`: these are no longer used."


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    for entry in entries(language).values():
        assert not entry.fuzzy, entry.msgid
        assert all(translations(entry)), entry.msgid
        if entry.msgid_plural:
            assert set(entry.msgstr_plural) == {0, 1}, entry.msgid


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_the_placeholders(language: str) -> None:
    for entry in entries(language).values():
        wanted = placeholders(entry.msgid_plural or entry.msgid)
        for text in translations(entry):
            assert placeholders(text) == wanted, entry.msgid
            assert text.startswith(" ") == entry.msgid.startswith(" "), entry.msgid


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_has_the_same_texts(language: str) -> None:
    written, compiled = entries(language), entries(language, "mo")

    assert set(compiled) == set(written)
    for key, entry in written.items():
        assert translations(compiled[key]) == translations(entry), "Run `make messages`."


# --- Texts that can't be translated --------------------------------------------------------


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_an_untranslated_text(path: Path) -> None:
    assert not catalogues.literals_in_template(path.read_text())


@pytest.mark.parametrize("path", READ, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_module_has_an_untranslated_text(path: Path) -> None:
    found = catalogues.literals_in_python(path.read_text())

    # Names of permissions are data, which Django writes in English, too.
    assert [text for text in found if not text.startswith("Can ")] == []


def test_untranslated_texts_are_found() -> None:
    module = '"""Doc string."""\nlabel = "Some words"\nraise ValueError("not these")'
    page = '<p title="Some words">{% translate "Others" %} {{ text }}</p>{# a note #}'

    assert catalogues.literals_in_python(module) == ["Some words"]
    assert catalogues.literals_in_template(page) == ["Some words"]
    assert catalogues.literals_in_template("<b>Words</b>") == ["Words"]


@pytest.mark.parametrize("model", SHOWN, ids=lambda model: model.__name__)
def test_models_have_translated_names(model: Any) -> None:
    meta = model._meta

    assert isinstance(meta.verbose_name, Promise)
    assert isinstance(meta.verbose_name_plural, Promise)
    for field in meta.concrete_fields:
        assert isinstance(field.verbose_name, Promise), field
        assert isinstance(field.help_text, Promise) or not field.help_text, field


@pytest.mark.parametrize("model_admin", ADMINS, ids=lambda found: type(found).__name__)
def test_columns_actions_and_filters_have_translated_names(model_admin: Any) -> None:
    named = [*model_admin.list_display, *model_admin.readonly_fields, *(model_admin.actions or ())]

    for name in named:
        if found := getattr(model_admin, name, None):
            assert isinstance(getattr(found, "short_description", None), Promise), name
    for filter_ in model_admin.list_filter:
        assert isinstance(filter_.title, Promise), filter_
    assert isinstance(model_admin.search_help_text or translation.gettext_lazy("x"), Promise)


# --- The pages ---------------------------------------------------------------------------


@pytest.fixture
def addresses(admin_client: Client) -> list[str]:
    """Return the addresses of the main pages, with rows of most kinds on them."""
    handles = [busy.start(), failing.start(), retrying.start(), parent.start(), quick.start(1)]
    run_until_idle()
    for handle in handles[::3]:
        handle.send("x", topic="other")
    queues.set("words", concurrency=2)
    queues.pause("words", by="ada")
    dbos.schedules.create("weekly", quick, "0 3 * * 1", timezone="Europe/Berlin")
    approve.start()
    run_until_idle()
    form = Inquiry.objects.get()
    executor_id = register(get_store())
    held = quick.using(queue_name="words").start(2)
    lists = [reverse(f"admin:django_dbos_{found.opts.model_name}_changelist") for found in ADMINS]
    return [
        reverse("admin:app_list", args=["django_dbos"]),
        reverse("admin:django_dbos_workflow_overview"),
        reverse("admin:django_dbos_queue_change", args=["words"]),
        reverse("admin:django_dbos_schedule_change", args=["weekly"]),
        reverse("admin:django_dbos_executor_change", args=[quote(executor_id)]),
        reverse("admin:django_dbos_inquiry_change", args=[form.pk]),
        reverse("dbos:form", args=[form.pk]),
        *lists,
        *(page_of(handle.workflow_id) for handle in [*handles, held]),
        url_of("cancel", handles[0].workflow_id),
        url_of("resume_in_queue", handles[0].workflow_id),
        url_of("send_message", handles[0].workflow_id),
        url_of("rows", handles[0].workflow_id, "steps"),
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_shows_an_english_text(
    admin_client: Client, addresses: list[str], language: str
) -> None:
    english = {
        entry.msgid
        for entry in entries(language).values()
        # A text with a context may be one of Django's without it.
        if entry.msgid not in translations(entry)
        and not placeholders(entry.msgid)
        and not entry.msgctxt
    }
    others = {text for entry in entries(language).values() for text in translations(entry)}
    for address in addresses:
        with translation.override(language):
            response = admin_client.get(address)
        assert response.status_code == 200, address
        shown = catalogues.words_of(response.content.decode())
        assert sorted(shown & (english - others - DATA)) == [], address


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "status", "heading", "reason", "action"),
    [
        ("de", "wartet", "Zeitachse", "Wartet auf: eine Nachricht", "Abbrechen"),
        ("fr", "en attente", "Chronologie", "Attend : un message", "Annuler"),
    ],
)
def test_the_page_of_a_workflow_is_in_its_language(
    admin_client: Client, language: str, status: str, heading: str, reason: str, action: str
) -> None:
    handle = busy.start()
    run_until_idle()

    with translation.override(language):
        page = admin_client.get(page_of(handle.workflow_id)).content.decode()

    assert {status, heading, action} <= catalogues.words_of(page)
    assert reason in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "number", "reason"),
    [
        ("de", "10.000+", "Die Warteschlange „words“ ist seit"),
        ("fr", "10\N{NO-BREAK SPACE}000+", "« words » est en pause depuis"),
    ],
)
def test_reasons_of_queues_and_numbers_are_in_the_language(
    admin_client: Client, language: str, number: str, reason: str
) -> None:
    queues.set("words", concurrency=2)
    queues.pause("words", by="ada")
    handle = quick.using(queue_name="words").start()

    with translation.override(language):
        page = admin_client.get(page_of(handle.workflow_id)).content.decode()
        assert (whole(10_000, is_cut=True), decimal(3.21, 1)) == (number, "3,2")

    assert reason in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "weekly", "often", "odd"),
    [
        ("en", "every Monday at 03:00 (UTC)", "every 90 minutes", "every 1.5 seconds"),
        ("de", "jeden Montag um 03:00 (UTC)", "alle 90 Minuten", "alle 1.5 Sekunden"),
        ("fr", "chaque lundi à 03:00 (UTC)", "toutes les 90 minutes", "toutes les 1.5 secondes"),
    ],
)
def test_the_times_of_schedules_are_in_the_language(
    language: str, weekly: str, often: str, odd: str
) -> None:
    dbos.schedules.create("weekly", quick, "0 3 * * 1", timezone="UTC")
    dbos.schedules.create("often", quick, every=5_400)
    dbos.schedules.create("odd", quick, every=1.5)

    with translation.override(language):
        found = {row.name: row.describe(translation.gettext) for row in Schedule.objects.all()}

    assert found == {"weekly": weekly, "often": often, "odd": odd}


def test_english_texts_stay_as_they_are() -> None:
    assert str(Workflow._meta.verbose_name_plural) == "workflows"
    assert (whole(10_000, is_cut=True), decimal(0.1, 3)) == ("10,000+", "0.100")
    assert [duration(value) for value in (-1, 12.4, 300, 11_520, 345_600)] == [
        "0 s",
        "12 s",
        "5 min",
        "3.2 h",
        "4.0 d",
    ]
