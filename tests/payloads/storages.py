"""A storage of values for worker processes, which a test can hold after a write."""

from __future__ import annotations

import os
from typing import Any

from django.core.files.storage import FileSystemStorage


class GatedStorage(FileSystemStorage):
    """Stores files in the folder of `DBOS_TEST_VALUES`.

    With `DBOS_TEST_VALUES_GATE`, the first write of a process is held at that gate once it is done.
    """

    is_held = True

    def __init__(self) -> None:
        super().__init__(location=os.environ.get("DBOS_TEST_VALUES"))

    def _save(self, name: str, content: Any) -> str:
        from tests.process.workflows import Gate

        saved: str = super()._save(name, content)
        path = os.environ.get("DBOS_TEST_VALUES_GATE")
        if path and GatedStorage.is_held:
            GatedStorage.is_held = False
            Gate(path).pass_through()
        return saved
