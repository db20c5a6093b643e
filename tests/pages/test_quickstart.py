"""The quickstart and the guide to websockets, followed to the letter in an empty folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.pages.walkthrough import Walk, build

PROJECT = Path(__file__).resolve().parent.parent.parent
DOCS = PROJECT / "docs"

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(300),
    pytest.mark.skipif(settings.VENDOR != "sqlite", reason="The pages begin on SQLite."),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), PROJECT)


@pytest.fixture
def walk(tmp_path: Path, wheel: Path) -> Iterator[Walk]:
    walk = Walk(tmp_path, wheel)
    yield walk
    walk.close()


def test_the_quickstart_works_as_it_is_written(walk: Walk) -> None:
    """Pasted into what startproject makes, it used to end in a traceback."""

    def before(command: str) -> None:
        if "approve" in command:
            walk.kill("worker")
            walk.do("python manage.py dbos_worker")

    walk.before = before

    walk.follow(DOCS / "quickstart.md")

    assert "Traceback" not in walk.log("worker") + walk.log("web")
    assert "identified no issues" in walk.run(["python", "manage.py", "check"])
    assert "environment" in walk.run(["python", "-c", "import django_dbos as d; print(d.__file__)"])


def test_a_module_beside_the_settings_is_told_of(walk: Walk) -> None:
    """It isn't discovered, and nothing said so until something was enqueued."""
    for command in ("pip install x", "django-admin startproject mysite", "cd mysite"):
        walk.do(command)
    walk.write('# mysite/settings.py\nINSTALLED_APPS += ["django_dbos"]\n')
    walk.write(
        '# mysite/settings.py\nDATABASES["default"]["OPTIONS"] = '
        '{"transaction_mode": "IMMEDIATE"}\n'
    )
    walk.write("# mysite/workflows.py\n")

    said = walk.run(["python", "manage.py", "migrate"])
    worker = walk.run(["python", "manage.py", "dbos_worker", "--once"])

    assert "(django_dbos.W009) mysite.workflows isn't discovered" in said
    assert "No workflow function is known here." in worker
