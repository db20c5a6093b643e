"""The project itself: its wheel, its version, and the completeness of its migrations."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

import django_dbos
from django_dbos import checks

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "django_dbos"
# Files that are generated from the sources, or only for editors.
TEXTS = (".md", ".py", ".html", ".toml", ".txt")
# The packages that an install command names: the rest of its line.
INSTALLED = re.compile(r"pip install (.+)")
REQUIREMENT = re.compile(r"django[-_](?:dbos|durable)[\w-]*(?:\[[\w,]+\])?")
NOT_SHIPPED = ("__pycache__", ".pyc", ".pyo", ".swp", "~")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel from the source distribution, as for a release."""
    target = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target)]
    built = subprocess.run([*build, str(PROJECT)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return zipfile.ZipFile(next(target.glob("*.whl")))


@pytest.fixture(scope="module")
def shipped(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def test_the_wheel_contains_every_file_of_the_package(shipped: set[str]) -> None:
    assert shipped == {
        path.relative_to(PROJECT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and not any(mark in str(path) for mark in NOT_SHIPPED)
    }


@pytest.mark.parametrize(
    "kind", ["*.sql", "migrations/0*.py", "*.html", "*.css", "*.js", "*.mo", "py.typed"]
)
def test_the_wheel_contains_files_that_are_not_modules(shipped: set[str], kind: str) -> None:
    expected = {path.relative_to(PROJECT).as_posix() for path in PACKAGE.rglob(kind)}

    assert expected
    assert expected <= shipped


def test_the_wheel_contains_nothing_else(shipped: set[str]) -> None:
    assert {name.split("/")[0] for name in shipped} == {"django_dbos"}
    assert not [name for name in shipped if "/tests/" in name]


def test_the_wheel_declares_its_requirements(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = wheel.read(name).decode()

    assert f"\nVersion: {django_dbos.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "\nRequires-Dist: django>=5.2\n" in metadata.lower().replace(
        "requires-dist", "Requires-Dist"
    )


def test_the_changelog_begins_with_the_version() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text()

    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == django_dbos.__version__


def test_the_package_has_no_upper_limit_on_django() -> None:
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text())

    assert pyproject["project"]["dependencies"] == ["Django>=5.2"]


def test_every_install_command_names_this_distribution() -> None:
    """Another project has the name of this package; `pip install` would install that."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = [line for path in _texts() for line in INSTALLED.findall(path.read_text())]
    ours = {found for line in lines for found in REQUIREMENT.findall(line)}

    extras = {f"{project['name']}[{extra}]" for extra in project["optional-dependencies"]}
    assert project["name"] in ours
    assert ours <= {project["name"], *extras}
    assert project["name"] == checks.DISTRIBUTION


def _texts() -> Iterator[Path]:
    yield PROJECT / "README.md"
    for folder, kind in (("docs", "*.md"), ("django_dbos", "*.py"), ("example_project", "*.*")):
        yield from (path for path in (PROJECT / folder).rglob(kind) if path.suffix in TEXTS)


@pytest.mark.django_db(databases=["default", "other"])
def test_the_migrations_are_complete() -> None:
    call_command("makemigrations", "--check", "--dry-run", "django_dbos", verbosity=1)


def test_the_package_loads_on_systems_without_fork() -> None:
    code = (
        # Other packages check the system instead of the function.
        "import asyncio, logging, os, random, django\n"
        "del os.register_at_fork\n"
        "django.setup()\n"
        "import django_dbos.consumers.channel_layer, django_dbos.executor.executor\n"
        "import django_dbos.testing\n"
    )
    setup = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(PROJECT)}

    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | setup,
        capture_output=True,
        text=True,
        check=False,
    )

    assert loaded.returncode == 0, loaded.stderr


def test_no_module_of_our_own_is_imported_by_a_string() -> None:
    """Such an import is hidden from the contracts of `lint-imports`."""
    hidden = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(
                ("import_string", "import_module")
            ):
                named = call.args[0]
                value = constants.get(ast.unparse(named), getattr(named, "value", None))
                if str(value).startswith("django_dbos"):
                    hidden.append(f"{path.relative_to(PROJECT)}:{call.lineno}")

    assert hidden == []


def test_what_tox_leaves_out_is_there() -> None:
    """A file that has moved would be run again everywhere, without a word."""
    left_out = re.findall(r"--ignore=(\S+)", (PROJECT / "tox.ini").read_text())

    assert left_out
    assert [path for path in left_out if not (PROJECT / path).exists()] == []


def test_only_the_store_fields_and_migrations_ask_for_the_vendor() -> None:
    """Others ask the store what its database can do."""
    asking = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\bvendor\b", path.read_text())
    }

    assert asking <= {"store", "fields.py", "migrations"}
