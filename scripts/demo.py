"""The demo: the example shop's web server and worker, kept running until Ctrl-C.

Called by `make demo`, from a virtual environment with all packages. Environment:

    PORT          the shop's port (default 8000)
    DB            sqlite (default) or postgres
    DATABASE_URL  with DB=postgres: an existing server, instead of an embedded one
    REDIS_URL     likewise, for the channel layer
    DEMO_DIR      the folder of the databases (default .demo)

The supervisor of `dbos_worker --processes` starts, restarts and stops both processes; they end
however this process ends. `servers.py` does the same for the embedded servers.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_dbos.executor.cli.inbox import Inbox, Notice

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("DEMO_DIR") or ROOT / ".demo").resolve()
IS_MADE = "MAKELEVEL" in os.environ
# Seconds after which a web server that should have ended is killed.
GRACE = 10.0

WELCOME = """
Durable Goods is open: {url}  (Ctrl-C stops it)

  shop    {url}
  import  {url}imports/
  admin   {url}admin/  (admin, password admin)

To try: order something in the shop and press Pay. While the parcel is being packed, for 3 s:

  {kill}

The next worker continues the order. The same without a browser:

  curl -s {url}orders/ -H 'Content-Type: application/json' \\
       -d '{{"sku": "KETTLE-1", "quantity": 1}}'
  curl -s {url}payments/webhook/ -H 'Content-Type: application/json' \\
       -d '{{"workflow_id": "…", "status": "paid"}}'
  curl -s {url}orders/…/ -H 'Accept: application/json'
"""


class DemoError(Exception):
    """The demo can't go on; the message says why."""


# The demo


def run(port: int, database: str) -> int:
    """Serve the shop until a signal; return the exit code."""
    # One file for each database: a demo on SQLite and one on PostgreSQL may run side by side.
    pid_file = STATE / f"worker-{database}.pid"
    kill_command = f"kill -9 $(cat {short(pid_file)})"
    # The parcel takes long enough for a person to kill the worker in between.
    os.environ.setdefault("SHOP_PACKING_SECONDS", "3")
    os.environ["SHOP_KILL_COMMAND"] = kill_command
    prepare_database()

    from django_dbos.executor.cli import supervisor
    from django_dbos.executor.cli.inbox import Inbox

    def note_worker(pid: int) -> None:
        pid_file.write_text(f"{pid}\n")
        say(f"The worker is process {pid}.")

    worker = [sys.executable, "-m", "django", "dbos_worker"]
    children = [
        supervisor.Child([sys.executable, __file__, "web", str(port)], name="web"),
        supervisor.Child(worker, on_start=note_worker),
    ]
    welcome = WELCOME.format(url=f"http://127.0.0.1:{port}/", kill=kill_command)
    with Inbox() as inbox:
        threading.Thread(target=attend, args=(inbox, port, welcome), daemon=True).start()
        try:
            return supervisor.run(children, inbox)
        finally:
            pid_file.unlink(missing_ok=True)


def prepare_database() -> None:
    """Create the tables and the products."""
    import django
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    call_command("migrate", verbosity=0)
    call_command("seed_demo")
    connections.close_all()


def attend(inbox: Inbox, port: int, welcome: str) -> None:
    """Print the welcome when the shop is served; stop the demo if `make` was killed."""
    from django_dbos.executor.cli.inbox import Notice

    parent, is_open = os.getppid(), False
    while not IS_MADE or os.getppid() == parent:
        if not is_open and (is_open := is_served(port)):
            say(welcome)
        time.sleep(0.1)
    inbox.notify(Notice.STOP)


@contextmanager
def environment(database: str) -> Iterator[None]:
    """Set the variables of the shop's settings; for PostgreSQL, start servers for the block."""
    os.environ |= {
        "DEMO_DIR": str(STATE),
        "DJANGO_SETTINGS_MODULE": "example_project.config.settings",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
    }
    sys.path.insert(0, str(ROOT))
    if database == "sqlite":
        os.environ.pop("DATABASE_URL", None)
        yield
        return

    # SQLite doesn't need the servers' packages, which may be missing.
    import servers

    try:
        with servers.running("demo") as urls:
            say(f"For manage.py beside the demo: export DATABASE_URL='{urls['DATABASE_URL']}'")
            os.environ |= urls
            yield
    except servers.ServerError as error:
        raise DemoError(str(error)) from error


# The web server's process


def serve(port: int) -> None:
    """Serve the shop until the supervisor asks for an end, or ends itself."""
    import django
    import uvicorn

    django.setup()
    from django_dbos.executor.cli import supervisor

    supervisor.listen_to_parent(end_web_server)
    uvicorn.run(
        "example_project.config.asgi:application",
        port=port,
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=3,
    )


def end_web_server(notice: Notice) -> None:
    from django_dbos.executor.cli.inbox import Notice

    if notice is Notice.STOP:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


# Conditions that are checked before anything starts


@contextmanager
def only_demo(database: str) -> Iterator[bool]:
    """Refuse a second demo on the same data; yield whether the last one was killed."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / f"{database}.lock").open("a+") as file:
        lock(file)
        file.seek(0)
        was_killed = bool(file.read())
        write(file, f"{os.getpid()}\n")
        try:
            yield was_killed
        finally:
            write(file, "")


def lock(file: IO[str]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise DemoError(f"The demo is running already: process {file.read().strip()}.") from None


def write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def check_port(port: int, patience: float) -> None:
    """Raise DemoError if the port is still in use after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not is_free(port):
        if time.monotonic() > deadline:
            raise DemoError(f"Port {port} is in use. Take another one: make demo PORT={port + 1}")
        time.sleep(0.2)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return not is_served(port)


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def check_packages() -> None:
    names = ("django", "channels", "uvicorn", "websockets")
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise DemoError(f"{', '.join(missing)} isn't installed here; run it with `make demo`.")


def read_choices() -> tuple[int, str]:
    port, database = os.environ.get("PORT") or "8000", os.environ.get("DB") or "sqlite"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise DemoError(f"PORT must be a number from 1 to 65535, not '{port}'.")
    if database not in ("sqlite", "postgres"):
        raise DemoError(f"DB must be 'sqlite' or 'postgres', not '{database}'.")
    return int(port), database


def short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def say(text: str) -> None:
    # The terminal may be gone; its hang-up stops the demo.
    with suppress(OSError):
        print(text, flush=True)


def main() -> int:
    # Until the supervisor takes over, SIGTERM ends the demo as Ctrl-C does: its lock is released.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        port, database = read_choices()
        check_packages()
        with only_demo(database) as was_killed:
            # The children of a killed demo need a moment to notice.
            check_port(port, patience=2 * GRACE if was_killed else 0)
            with environment(database):
                return run(port, database)
    except DemoError as failure:
        say(f"demo: {failure}")
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["web", port]:
            serve(int(port))
        case _:
            sys.exit(main())
