"""The admin's pages beside many rows: `python -m benchmarks.pages WORKFLOWS` prints milliseconds.

A process of its own, with the settings of a project that has pages. Each time is that of a whole
request in Django's test client: middleware, view, queries and templates, without a server.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any
from urllib.parse import quote

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings_pages"

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from django_dbos import serializers  # noqa: E402

REQUESTS, FIRST = 30, 3
# A workflow has as many steps as this part of the number of workflows.
STEPS_SHARE = 10
# The number of queries must be the same as beside these, which fill more than a page each.
FEW = 10_000
ERROR = serializers.dump_error(ValueError("The card was declined."))
# Of a thousand workflows, some of each status that has pages of its own.
WORKFLOWS = """
    INSERT INTO dbos_workflow (
        workflow_id, token, name, status, queue_name, queue_sequence, input, output, error,
        executor_id, claim_number, attributes, created_at, started_at, finished_at
    )
    SELECT
        'order-' || n, gen_random_uuid(), 'shop.work_' || n %% 20, status, 'default', n,
        '{"args": [1], "kwargs": {}}', CASE WHEN status = 'SUCCESS' THEN '1' END,
        CASE WHEN status = 'ERROR' THEN %(error)s END,
        CASE WHEN status = 'PENDING' THEN 'executor' END, 1,
        jsonb_build_object('customer', n %% 1000), created, created + interval '1 second',
        CASE WHEN status IN ('SUCCESS', 'ERROR') THEN created + interval '1 minute' END
    FROM (
        SELECT
            n, now() - n * interval '2 seconds' AS created,
            CASE
                WHEN n %% 1000 < 3 THEN 'ENQUEUED' WHEN n %% 1000 < 4 THEN 'PENDING'
                WHEN n %% 1000 < 6 THEN 'WAITING' WHEN n %% 50 = 7 THEN 'ERROR' ELSE 'SUCCESS'
            END AS status
        FROM generate_series(1, %(count)s) AS n
    ) AS numbers
"""
# The last of them has finished, and the third is running.
STEPS = """
    INSERT INTO dbos_checkpoint (
        workflow_id, step_number, step_name, output, record_order, claim_number, started_at,
        recorded_at
    )
    SELECT
        id, step, 'shop.step_' || step %% 5, '{"paid": true}', step, 1,
        now() - (%(count)s - step) * interval '1 second',
        now() - (%(count)s - step) * interval '1 second' + interval '300 ms'
    FROM unnest(%(ids)s::text[]) AS id, generate_series(0, %(count)s - 1) AS step
"""
EXECUTOR = """
    INSERT INTO dbos_executor (
        executor_id, hostname, pid, is_inline, concurrency, has_lock, lock_key, lease, started_at,
        heartbeat_at
    )
    VALUES ('executor', 'here', 1, false, 100, false, 1, interval '1 day', now(), now())
"""
FINISHED, RUNNING = "order-8", "order-3"
Costs = tuple[float, int]


def main() -> None:
    count = int(sys.argv[1])
    call_command("migrate", verbosity=0)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    fill(FEW)
    few = measure(client, FEW)
    fill(count)
    many = measure(client, count)
    for name, (_, queries) in many.items():
        if queries > few[name][1]:
            more = (
                f"{few[name][1]} queries beside {FEW:,} workflows, and {queries} beside {count:,}"
            )
            raise SystemExit(f"{name}: {more}.")
    values = {name: milliseconds for name, (milliseconds, _) in many.items()}
    values["queries of the list"] = many["list"][1]
    values["queries of a page"] = many["running"][1]
    sys.stdout.write(json.dumps(values) + "\n")


def fill(count: int) -> None:
    """Insert workflows, of which two have many steps; vacuum, as a database at work is."""
    steps = max(count // STEPS_SHARE, 1)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE dbos_workflow, dbos_checkpoint, dbos_executor CASCADE")
        cursor.execute(EXECUTOR)
        cursor.execute(WORKFLOWS, {"count": count, "error": ERROR})
        cursor.execute(STEPS, {"count": steps, "ids": [FINISHED, RUNNING]})
        cursor.execute("VACUUM (ANALYZE)")


def measure(client: Client, count: int) -> dict[str, Costs]:
    """Return the median of the milliseconds, and the queries, of each page."""
    workflows = "/admin/django_dbos/workflow/"
    middle = count // STEPS_SHARE // 2
    addresses = {
        "list": workflows,
        "failed": f"{workflows}?status=ERROR",
        "search": f"{workflows}?q={quote(f'order-{count // 2}')}",
        "finished": f"{workflows}{quote(FINISHED)}/change/",
        "running": f"{workflows}{quote(RUNNING)}/change/",
        "its middle": f"{workflows}{quote(RUNNING)}/change/?after={middle}",
    }
    return {name: cost(client, address) for name, address in addresses.items()}


def cost(client: Client, address: str) -> Costs:
    for _ in range(FIRST):
        assert client.get(address).status_code == 200, address
    with CaptureQueriesContext(connection) as captured:
        client.get(address)
    # The next request forgets them.
    queries = len(captured)
    times: list[float] = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        answer: Any = client.get(address)
        times.append(time.perf_counter() - began)
        assert answer.status_code == 200
    return statistics.median(times) * 1_000, queries


if __name__ == "__main__":
    main()
