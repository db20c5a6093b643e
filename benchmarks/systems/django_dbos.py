"""django_dbos: `manage.py dbos_worker`, and a client that is a Django process like another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar

from benchmarks.environment import CONCURRENCY
from benchmarks.systems.system import System, Worker, module

# The most messages or workflows in one call.
MESSAGES = 5_000

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

SCHEDULED = "FROM dbos_workflow WHERE schedule_name IS NOT NULL"
FINISHED_WORKFLOWS = (
    "INSERT INTO dbos_workflow (workflow_id, token, name, status, queue_name, queue_sequence, "
    "input, output, created_at, started_at, finished_at) SELECT 'past-' || one, "
    "gen_random_uuid(), 'benchmarks.workflows.takes_steps', 'SUCCESS', 'default', -one, "
    "'{\"args\": [3], \"kwargs\": {}}', '3', past, past, past FROM (SELECT one, "
    "clock_timestamp() - interval '1 day' AS past FROM generate_series(1, %s) AS one) AS numbers"
)
VALUES = (
    'INSERT INTO dbos_stream_entry (workflow_id, key, "offset", value, is_end, step_number, '
    "write_id, created_at) SELECT id, 'times', at, %s, false, at, gen_random_uuid(), "
    "clock_timestamp() FROM unnest(%s::text[], %s::int[]) AS stream (id, at)"
)
FINISHED_CHECKPOINTS = (
    "INSERT INTO dbos_checkpoint (workflow_id, step_number, step_name, output, record_order, "
    "claim_number, recorded_at) SELECT 'past-' || one, step, 'benchmarks.workflows.step', '1', "
    "step, 1, clock_timestamp() FROM generate_series(1, %s) AS one, generate_series(0, 2) AS step"
)


class Engine(System):
    """The base of the sync, async and SQLite flavours."""

    command = module(f"django dbos_worker --concurrency {CONCURRENCY}")
    tables: ClassVar[tuple[str, ...]] = (
        "dbos_workflow",
        "dbos_checkpoint",
        "dbos_message",
        "dbos_event",
        "dbos_event_version",
        "dbos_stream_entry",
        "dbos_executor",
        "dbos_wake",
        "dbos_schedule",
    )
    finished_query = "SELECT count(*) FROM dbos_workflow WHERE status = 'SUCCESS'"
    takes_steps = "takes_steps"
    takes_a_pause = "takes_a_pause"
    does_nothing = "does_nothing"

    @classmethod
    def install(cls) -> None:
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)

    def open(self) -> None:
        import django

        django.setup()
        from benchmarks import workflows

        self.workflows = workflows

    def start(self) -> Any:
        return getattr(self.workflows, self.does_nothing).start()

    def start_all(self, count: int) -> list[Any]:
        handles: list[Any] = getattr(self.workflows, self.does_nothing).start_many([()] * count)
        return handles

    def results(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            handle.get_result(timeout=60)

    def get_results(self, handles: Sequence[Any]) -> None:
        import django_dbos

        django_dbos.get_results(handles, timeout=60)

    def start_gathering(self, count: int, *, at_once: bool) -> None:
        gathers = self.workflows.gathers.start(count, at_once)
        assert gathers.get_result(timeout=300) == count

    def start_steps(self, workflows: int, steps: int) -> None:
        getattr(self.workflows, self.takes_steps).start_many([(steps,)] * workflows)

    def start_pauses(self, workflows: int, seconds: float) -> None:
        getattr(self.workflows, self.takes_a_pause).start_many([(seconds,)] * workflows)

    def recorded_steps(self) -> int:
        return self.count("SELECT count(*) FROM dbos_checkpoint")

    def start_with_steps(self, steps: int) -> Any:
        (handle,) = getattr(self.workflows, self.takes_steps).start_many([(steps,)])
        return handle

    def is_finished(self, handle: Any) -> bool:
        query = "SELECT count(*) FROM dbos_workflow WHERE status = 'SUCCESS' AND workflow_id = %s"
        return self.count(query, handle.workflow_id) > 0


def start_in_batches(workflow: Any, count: int) -> list[Any]:
    return [
        handle
        for batch in batched(range(count), MESSAGES)
        for handle in workflow.start_many([()] * len(batch))
    ]


def batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def connect() -> None:
    """Set up and connect, as any Django process does."""
    import django

    django.setup()
    from django.db import connection

    connection.ensure_connection()


class AsyncDjangoDbos(Engine):
    """Async workflows."""

    settings = f"async workflows; dbos_worker --concurrency {CONCURRENCY}, else defaults"
    takes_steps = "atakes_steps"
    takes_a_pause = "atakes_a_pause"
    does_nothing = "adoes_nothing"


class DjangoDbos(Engine):
    """Sync workflows, and everything else."""

    settings = (
        f"dbos_worker --concurrency {CONCURRENCY}, else defaults; start_many, send_many; "
        "get_result() is notified by NOTIFY"
    )
    package = "django_dbos"

    def fill_queue(self, queue: str, count: int) -> None:
        """Enqueue no-ops in a queue of the settings; in `partitioned`, each has its own key."""
        no_op = self.workflows.does_nothing.using(queue_name=queue)
        if queue != "partitioned":
            start_in_batches(no_op, count)
            return
        from django.db import transaction

        with transaction.atomic():
            for number in range(count):
                no_op.using(partition_key=f"key-{number}").start()

    def fill_limited(self, count: int) -> None:
        self.fill_queue("limited", count)

    def fill_partition(self, key: str, count: int) -> None:
        no_op = self.workflows.does_nothing
        start_in_batches(no_op.using(queue_name="partitioned", partition_key=key), count)

    def start_in_partition(self, key: str) -> None:
        no_op = self.workflows.sends_timestamp
        no_op.using(queue_name="partitioned", partition_key=key).start()

    def hold_place(self) -> float:
        """Run a workflow here that starts another behind it; return the time of its last line."""
        return float(self.workflows.holds_place())

    def start_many(self, count: int) -> list[Any]:
        return self.start_all(count)

    def start_sending_timestamp(self) -> Any:
        return self.workflows.sends_timestamp.start()

    def start_echo(self) -> Any:
        return self.workflows.echoes.start()

    def send(self, handle: Any) -> None:
        handle.send("hello", topic="say")

    def get_event(self, handle: Any) -> None:
        assert handle.get_event("echo", timeout=30) == "hello"

    def start_stream(self, count: int, pause: float) -> Any:
        return self.workflows.streams.start(count, pause)

    def read_stream(self, handle: Any) -> Iterator[float]:
        return iter(handle.read_stream("times"))

    def streamed(self) -> int:
        return self.count("SELECT count(*) FROM dbos_stream_entry")

    def start_waiting(self, count: int) -> list[Any]:
        return start_in_batches(self.workflows.waits_for_message, count)

    def start_sleeping(self, count: int) -> None:
        start_in_batches(self.workflows.sleeps_for_a_day, count)

    def start_nap(self, seconds: float) -> None:
        self.workflows.naps.start(seconds)

    def waiting(self) -> int:
        return self.count("SELECT count(*) FROM dbos_workflow WHERE status = 'WAITING'")

    def wake(self, handles: list[Any]) -> None:
        import django_dbos

        for batch in batched(handles, MESSAGES):
            django_dbos.send_many(
                {"workflow_id": handle.workflow_id, "message": None, "topic": "go"}
                for handle in batch
            )

    def start_followed(self, streams: int, readers: int) -> tuple[list[str], list[int]]:
        """Start workflows that only exist; return their ids, and the users who may read them."""
        from django.contrib.auth.models import User

        self.observer.execute("TRUNCATE auth_user CASCADE")
        users = User.objects.bulk_create(User(username=f"u{n}") for n in range(readers))
        no_op = self.workflows.does_nothing
        handles = [
            handle
            for batch in batched(range(streams), MESSAGES)
            for handle in no_op.start_many([()] * len(batch))
        ]
        ids = [handle.workflow_id for handle in handles]
        of_users = "UPDATE dbos_workflow SET user_id = %s WHERE workflow_id = %s"
        with self.observer.cursor() as cursor:
            cursor.executemany(of_users, [(str(u.pk), i) for u, i in zip(users, ids, strict=False)])
        # The readers of one stream have one user.
        return ids, [users[number % streams].pk for number in range(readers)]

    def stream_token(self, workflow_id: str) -> str:
        import django_dbos

        return django_dbos.stream_token(workflow_id)

    def write_values(self, ids: list[str], value: float) -> None:
        """Write a value to each of the streams, and notify, as a worker's group commit does."""
        from django_dbos.core.records import Wake
        from django_dbos.store.listener import pack_keys

        self._offsets = getattr(self, "_offsets", {})
        offsets = [self._offsets.get(one, 0) for one in ids]
        self._offsets.update({one: at + 1 for one, at in zip(ids, offsets, strict=True)})
        with self.observer.transaction():
            self.observer.execute(VALUES, (str(value), ids, offsets))
            for payload in pack_keys(Wake.of_stream(one, "times").key for one in ids):
                self.observer.execute("SELECT pg_notify('dbos_changed', %s)", (payload,))

    @contextlib.contextmanager
    def wide_worker(self, concurrency: int, **environment: str) -> Iterator[Worker]:
        """Run a worker with this concurrency for the length of a block."""
        worker = Worker(module(f"django dbos_worker --concurrency {concurrency}"), environment)
        try:
            yield worker
        finally:
            worker.stop()

    def create_schedules(self, count: int, first: datetime) -> None:
        """Create schedules whose first instant is `first`, and the next an hour later."""
        from django_dbos import schedules

        for number in range(count):
            schedules.create(f"s{number}", self.workflows.does_nothing, every=3_600, start=first)

    def scheduled(self) -> int:
        """Count the scheduled workflows that have begun."""
        return self.count(f"SELECT count(started_at) {SCHEDULED}")

    def scheduled_delays(self, instant: datetime) -> tuple[float, float, float]:
        """Return the milliseconds after an instant of the first and the last start, and run."""
        times = "min(created_at), max(created_at), max(started_at)"
        (row,) = self.observer.execute(f"SELECT {times} {SCHEDULED}")
        first, last, begun = ((at - instant).total_seconds() * 1_000 for at in row)
        return first, last, begun

    def start_hanging(self, count: int) -> None:
        self.workflows.hangs_once.start_many([()] * count)

    def insert_history(self, count: int) -> None:
        """Insert finished workflows with three checkpoints each; vacuum, and write all to disk."""
        self.observer.execute(FINISHED_WORKFLOWS, (count,))
        self.observer.execute(FINISHED_CHECKPOINTS, (count,))
        self.observer.execute("VACUUM (ANALYZE)")
        self.observer.execute("CHECKPOINT")

    def finished_lately(self) -> int:
        """Count only workflows of the last hour: counting ten million others takes a second."""
        return self.count(f"{self.finished_query} AND created_at > now() - interval '1 hour'")

    def old_workflows(self) -> int:
        return self.count(
            "SELECT count(*) FROM dbos_workflow WHERE created_at < now() - interval '1 hour'"
        )

    def executor_age(self) -> float:
        """Return the seconds since the oldest heartbeat of a worker; 0 without one."""
        text = "SELECT extract(epoch FROM clock_timestamp() - min(heartbeat_at)) FROM dbos_executor"
        found = self.observer.execute(text).fetchone()
        return float(found[0]) if found and found[0] is not None else 0.0

    def running(self) -> int:
        return self.count("SELECT count(*) FROM dbos_workflow WHERE status = 'PENDING'")


class SqliteDjangoDbos(Engine):
    """On a file of its own, which is observed through Django's connection."""

    settings = f"SQLite: WAL, synchronous=FULL; dbos_worker --concurrency {CONCURRENCY}"
    tables = ()

    def clean(self) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            for name in Engine.tables:
                cursor.execute(f"DELETE FROM {name}")

    def count(self, query: str, *arguments: object) -> int:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(query, arguments)
            return int(cursor.fetchone()[0])


class AsyncSqliteDjangoDbos(SqliteDjangoDbos):
    """Async workflows on such a file."""

    settings = f"async workflows; {SqliteDjangoDbos.settings}"
    takes_steps = AsyncDjangoDbos.takes_steps
    does_nothing = AsyncDjangoDbos.does_nothing
