"""The docs: every Python block runs, every link leads somewhere, every table is complete."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_overloads

import pytest
from django.core.asgi import get_asgi_application

import django_dbos as dbos
from django_dbos.conf import Settings, get_settings, setting_problems
from django_dbos.core import registry
from django_dbos.models import Workflow
from django_dbos.operations.options import StartOptions

PROJECT = Path(__file__).resolve().parent.parent
PAGES = sorted(PROJECT.glob("docs/**/*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


# The reference shows signatures, which aren't statements; tests/pages follows two to the letter.
ELSEWHERE = {"api.md", "quickstart.md", "websockets.md"}
RUNNABLE = [page for page in PAGES if blocks(page) and page.name not in ELSEWHERE]


@pytest.mark.django_db
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_every_block_runs_after_the_ones_above_it(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a page declares must not be there in other tests.
    monkeypatch.setattr(registry, "schedules", {})
    # asgi.py is imported in a process that hasn't set Django up; here it is.
    assert get_asgi_application
    namespace: dict[str, Any] = {"__name__": f"docs_{page.stem}"}

    for number, code in enumerate(blocks(page), start=1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("page", [*PAGES, PROJECT / "README.md"], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


PACKAGE = PROJECT / "django_dbos"
PROSE = [
    *PAGES,
    *(PROJECT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md", "docs/llms.txt")),
    *sorted((PACKAGE / "skills").rglob("*.md")),
]
UNWANTED = re.compile(r"\b(?:dear|lest|who(?:m)?ever|so many)\b", re.IGNORECASE)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.stem)
def test_pages_are_written_in_plain_words(page: Path) -> None:
    assert UNWANTED.findall(page.read_text()) == []


def test_the_package_is_written_in_plain_words() -> None:
    """In its comments, docstrings, messages and templates."""
    kinds = (".py", ".sql", ".html", ".css", ".js")
    files = [path for path in PACKAGE.rglob("*") if path.suffix in kinds]

    found = {path.name: words for path in files if (words := UNWANTED.findall(path.read_text()))}

    assert found == {}


def test_docstrings_open_with_a_noun_or_a_verb() -> None:
    """A flag is "True if …", a number "The number of …"."""
    opening = re.compile(r'^ *"""(?:How|What|Whether|Who|Whoever) .*', re.MULTILINE)

    found = {
        path.name: lines
        for path in PACKAGE.rglob("*.py")
        if (lines := opening.findall(path.read_text()))
    }

    assert found == {}


@pytest.mark.parametrize("name", ["llms.txt", "index.md"])
def test_every_page_is_listed(name: str) -> None:
    docs = PROJECT / "docs"
    text = (docs / name).read_text()
    pages = {page.relative_to(docs).with_suffix("").as_posix() for page in PAGES} - {"index"}

    assert {link.removesuffix(".md") for link in re.findall(r"\]\(([\w/-]+\.md)\)", text)} == pages


def test_the_readme_is_one_screen_and_compiles() -> None:
    text = (PROJECT / "README.md").read_text()

    (code,) = BLOCK.findall(text)
    compile(code, "README.md", "exec")
    assert len(text.splitlines()) <= 60


def test_the_settings_page_shows_the_defaults(settings: Any) -> None:
    (code,) = blocks(PROJECT / "docs" / "settings.md")
    namespace: dict[str, Any] = {}
    exec(code, namespace)

    settings.DBOS = namespace["DBOS"]

    assert setting_problems() == []
    assert get_settings() == Settings()
    assert {key.lower() for key in namespace["DBOS"]} == {field.name for field in fields(Settings)}


def test_every_rule_has_its_line_and_its_test() -> None:
    page = (PROJECT / "docs" / "contributing" / "correctness.md").read_text()
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    tested = {
        int(number)
        for path in (PROJECT / "tests").rglob("*.py")
        for number in re.findall(r"@pytest\.mark\.rule\((\d+)\)", path.read_text())
    }

    assert listed == tested == set(range(1, max(listed) + 1))


@pytest.mark.parametrize("script", ["docs_api.py", "docs_commands.py"])
def test_a_generated_reference_is_up_to_date(script: str) -> None:
    command = [sys.executable, f"scripts/{script}", "--check"]

    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_api_reference_lists_every_public_name_once() -> None:
    """And nothing that users don't create, set or call."""
    page = (PROJECT / "docs" / "reference" / "api.md").read_text()
    entries = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    listed = [name for entry in entries for name in names_of_entry(entry)]
    modules = ["", "admin", "consumers", "executor", "queues", "schedules", "signals", "testing"]
    public = {
        f"{module}.{name}".lstrip(".")
        for module in modules
        for name in import_module(f"django_dbos.{module}".rstrip(".")).__all__
        if name not in modules
    }

    assert Counter(listed).most_common(1)[0][1] == 1
    assert {name for name in listed if name.partition(".")[0] in {*modules, name}} == public
    assert "Store" not in re.findall(r"\w+", page)


def names_of_entry(entry: str) -> list[str]:
    """The name in an entry's heading, and its async twin."""
    name = entry.partition("\n")[0].strip("`")
    twins = re.findall(r"^Async twin: `(\w+)`", entry.partition("\n#### ")[0], re.MULTILINE)
    module, dot, _ = name.rpartition(".")
    return [name, *(f"{module}{dot}{twin}" for twin in twins)]


def test_the_api_reference_shows_of_an_executor_only_its_life() -> None:
    page = (PROJECT / "docs" / "reference" / "api.md").read_text()

    methods = re.findall(r"^#### `Executor\.(?!is_live)(\w+)`", page, re.MULTILINE)

    assert methods == ["start", "stop", "run", "wait_until_idle"]


OPTIONS: dict[str, Any] = {
    "@step": inspect.signature(get_overloads(dbos.step)[-1]).parameters,
    "@workflow": inspect.signature(get_overloads(dbos.workflow)[-1]).parameters,
    "using()": StartOptions.__annotations__,
}


@pytest.mark.parametrize("call", OPTIONS)
def test_the_tables_of_options_are_complete(call: str) -> None:
    _, _, rows = (PROJECT / "docs/guides/workflows.md").read_text().partition(f"of `{call}` |")
    table = rows.partition("\n\n")[0]

    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(OPTIONS[call])


CONTRIBUTING = sorted((PROJECT / "docs" / "contributing").glob("*.md"))
FILE = re.compile(r"`([\w./-]+(?:\.(?:py|sql|md|sh|toml|ini)|/))`")
PLACES = re.compile(r"`([\w/]+\.py)`:\s+`([\w.]+)`")


@pytest.mark.parametrize("page", CONTRIBUTING, ids=lambda page: page.stem)
def test_every_file_that_contributors_are_sent_to_exists(page: Path) -> None:
    """A path is written from the project's root, from the package, or by its last parts."""
    tracked = git("ls-files").splitlines()
    parts = {f"/{path}" for path in tracked}
    parts |= {f"/{parent.as_posix()}/" for path in tracked for parent in Path(path).parents}

    named = set(FILE.findall(page.read_text()))

    assert [name for name in named if not any(part.endswith(f"/{name}") for part in parts)] == []


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"This isn't a checkout: {done.stderr}")
    return done.stdout


def walks() -> list[tuple[str, str]]:
    page = (PROJECT / "docs" / "contributing" / "architecture.md").read_text()
    texts = re.findall(r"^## Walk \d: .*?\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)

    assert len(texts) == 3
    return [place for text in texts for place in PLACES.findall(text)]


@pytest.mark.parametrize(("path", "name"), walks(), ids=str)
def test_every_function_of_the_walks_exists(path: str, name: str) -> None:
    scope: list[ast.stmt] = ast.parse((PROJECT / "django_dbos" / path).read_text()).body

    for part in name.split("."):
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = [node for node in scope if isinstance(node, kinds) and node.name == part]
        assert found, f"{path} has no {name}"
        scope = found[-1].body


def test_the_map_shows_files_that_exist_and_every_folder() -> None:
    page = (PROJECT / "docs" / "contributing" / "architecture.md").read_text()
    (tree,) = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    package = PROJECT / "django_dbos"
    files = {path.name for path in package.rglob("*.py")}
    folders = {path.name for path in package.rglob("*") if path.is_dir()} | {package.name}
    packages = {path.parent.name for path in package.rglob("*/__init__.py")}
    shown = set(re.findall(r"(\w+)/", tree))

    assert set(re.findall(r"\w+\.py\b", tree)) <= files
    assert packages - {"commands", "migrations"} <= shown <= folders
    assert len(tree.splitlines()) <= 50


def test_every_status_is_shown_with_its_label() -> None:
    page = (PROJECT / "docs" / "reference" / "statuses.md").read_text()

    shown = re.findall(r"^\| `([A-Z_]+)` \| ([\w ]+) \|", page, re.MULTILINE)

    assert shown == [(str(status), status.label) for status in Workflow.Status]


def test_every_logger_is_in_the_guide_to_workers() -> None:
    sources = "".join(path.read_text() for path in (PROJECT / "django_dbos").rglob("*.py"))
    page = (PROJECT / "docs" / "guides" / "workers.md").read_text()

    used = set(re.findall(r'getLogger\("([\w.]+)"\)', sources))

    assert used == set(re.findall(r"^\| `(django_dbos[\w.]*)` \|", page, re.MULTILINE))
