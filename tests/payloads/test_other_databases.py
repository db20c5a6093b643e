"""Workflows go to a database of another kind, with other settings, and come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.payloads.conftest import with_keys
from tests.payloads.test_documents import clear, make_finished
from tests.payloads.workflows import SECRET, begin_again, fail, wait_for_note

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def continued_elsewhere(document: Any, folder: Path, **environment: str) -> Any:
    """Return the document that another process makes of the workflows of this one."""
    names = {
        "DBOS_TEST_DATABASE": "sqlite",
        "DBOS_TEST_DATABASE_NAME": str(folder / "test_elsewhere.sqlite3"),
        "DBOS_TEST_OTHER_NAME": str(folder / "test_elsewhere_other.sqlite3"),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "tests.payloads.elsewhere"],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **names, **environment},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("use_tz", ["1", "0"])
def test_workflows_go_to_another_database_and_back(
    use_keys: Callable[..., None], tmp_path: Path, use_tz: str
) -> None:
    use_keys("2025")
    finished = make_finished()
    begin_again.using(workflow_id="again").start(SECRET)
    fail.using(workflow_id="failed").start(SECRET)
    waiting = wait_for_note.using(workflow_id="waiting").start(SECRET)
    run_until_idle()
    ids = list(Workflow.objects.order_by("pk").values_list("pk", flat=True))
    ended = [pk for pk in ids if pk != "waiting"]
    document = dbos.export_workflows(ids, decrypt=True)
    before = dbos.export_workflows(ended, decrypt=True)["workflows"]
    steps = [step.step_name for step in waiting.steps()]

    back = continued_elsewhere(
        document,
        tmp_path,
        DBOS_TEST_USE_TZ=use_tz,
        DBOS_TEST_TIME_ZONE="Asia/Kolkata",
        **with_keys("2026"),
    )
    clear()
    use_keys()
    dbos.import_workflows(back)

    after = dbos.export_workflows(ended)["workflows"]
    for one in (*before, *after):
        # An import has a token of its own.
        one["workflow"].pop("token")
    assert after == before
    assert waiting.get_result(0) == f"{SECRET} from elsewhere"
    assert [step.step_name for step in waiting.steps()][: len(steps)] == steps
    assert finished.get_result(0)["charged"] == SECRET
    fork = waiting.fork(from_step=3)
    run_until_idle()
    assert fork.get_result(0) == f"{SECRET} from elsewhere"
