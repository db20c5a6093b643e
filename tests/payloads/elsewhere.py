"""A process with an SQLite database of its own, which goes on with the workflows of a document.

It imports the document on its input, sends a note to those that wait, runs all to their ends, and
prints the document that it exports.
"""

from __future__ import annotations

import json
import sys

import django


def main() -> None:
    django.setup()
    from django.core.management import call_command

    import django_dbos as dbos
    from django_dbos.testing import run_until_idle
    from tests.payloads import workflows

    assert workflows.pay
    call_command("migrate", verbosity=0)
    call_command("migrate", verbosity=0, database="other")
    ids = dbos.import_workflows(json.load(sys.stdin), run=True)
    run_until_idle()
    for workflow_id in ids:
        handle = dbos.retrieve_workflow(workflow_id)
        if handle.get_status() == "WAITING":
            handle.send("from elsewhere", topic="note")
    run_until_idle()
    json.dump(dbos.export_workflows(ids, decrypt=True), sys.stdout)


if __name__ == "__main__":
    main()
