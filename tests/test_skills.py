"""The rules for coding assistants: right examples run, wrong ones compile, the command copies."""

from __future__ import annotations

import re
import unittest
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase

from django_dbos.core import registry
from django_dbos.management.commands.dbos_skills import SKILLS

PAGES = sorted(SKILLS.glob("references/*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADER = re.compile(r"^---\n(.*?)^---\n", re.MULTILINE | re.DOTALL)


def stem(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_a_page_has_a_header_a_wrong_and_a_right_example(page: Path) -> None:
    text = page.read_text()
    header = HEADER.match(text)
    assert header is not None
    fields = dict(line.split(": ", 1) for line in header[1].splitlines())

    assert set(fields) == {"title", "impact", "tags"}
    assert fields["impact"] in {"CRITICAL", "HIGH", "MEDIUM", "LOW"}
    assert f"\n# {fields['title']}\n" in text
    assert len(BLOCK.findall(text)) == 2
    assert text.index("**Incorrect**") < text.index("**Correct**")


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_the_wrong_example_is_python(page: Path) -> None:
    language, code = BLOCK.findall(page.read_text())[0]

    assert language == "python"
    compile(code, page.name, "exec")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.read_text().count("```python") == 2], ids=stem
)
def test_the_right_example_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a page declares must not be there in other tests.
    monkeypatch.setattr(registry, "schedules", {})
    _, code = BLOCK.findall(page.read_text())[1]
    namespace: dict[str, Any] = {"__name__": f"skill_{page.stem}"}

    exec(compile(code, page.name, "exec"), namespace)

    for case in namespace.values():
        if isinstance(case, type) and issubclass(case, TestCase) and case is not TestCase:
            tests = unittest.TestLoader().loadTestsFromTestCase(case)
            result = unittest.TextTestRunner(stream=StringIO()).run(tests)
            assert result.testsRun == 1
            assert result.wasSuccessful(), result.failures + result.errors


def test_the_index_links_every_page() -> None:
    linked = re.findall(r"\]\(references/([\w-]+)\.md\)", (SKILLS / "SKILL.md").read_text())

    assert sorted(linked) == [page.stem for page in PAGES]


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.md")}


def test_the_command_copies_the_pages_and_updates_an_older_copy(tmp_path: Path) -> None:
    beside = tmp_path / "another.md"
    beside.write_text("not ours")
    copy = tmp_path / "django-dbos"

    call_command("dbos_skills", tmp_path, stdout=StringIO())
    (copy / "references" / "gone.md").write_text("a rule of an older release")
    (copy / "SKILL.md").write_text("an older release")
    output = StringIO()
    call_command("dbos_skills", tmp_path, stdout=output)

    assert files(copy) == files(SKILLS)
    assert beside.read_text() == "not ours"
    assert output.getvalue() == f"{len(PAGES)} rules are in {copy}.\n"


def test_the_command_replaces_nothing_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "django-dbos").mkdir()
    (tmp_path / "django-dbos" / "notes.txt").write_text("mine")

    with pytest.raises(CommandError, match="it has no SKILL"):
        call_command("dbos_skills", tmp_path)

    assert (tmp_path / "django-dbos" / "notes.txt").read_text() == "mine"


def test_the_command_follows_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "SKILL.md").write_text("mine")
    (tmp_path / "django-dbos").symlink_to(elsewhere)

    with pytest.raises(CommandError, match="is a symbolic link"):
        call_command("dbos_skills", tmp_path)

    assert (elsewhere / "SKILL.md").read_text() == "mine"
