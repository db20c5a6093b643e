"""The demo: the example shop's web server and worker, kept running until Ctrl-C.

Called by `make demo`, from a virtual environment that holds everything. Environment:

    PORT          where the shop is served (default 8000)
    DB            sqlite (default) or postgres
    DATABASE_URL  with DB=postgres: a server of yours, instead of an embedded one
    REDIS_URL     likewise, for the channel layer
    DEMO_DIR      where databases are kept (default .demo)

Web server and worker hold the reading end of a pipe whose writing end only this process has:
however this process ends, the pipe breaks, and they stop. `servers.py` does the same for the
embedded servers.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("DEMO_DIR") or ROOT / ".demo").resolve()
IS_MADE = "MAKELEVEL" in os.environ
GRACE = 10.0

WELCOME = """
Durable Goods is open: {url}  (Ctrl-C closes it)

  shop    {url}
  import  {url}imports/
  admin   {url}admin/  (admin, password admin)

To try: order something in the shop and press Pay. While the parcel is being packed, for 3 s:

  {kill}

The order goes on with the next worker. The same without a browser:

  curl -s {url}orders/ -H 'Content-Type: application/json' \\
       -d '{{"sku": "KETTLE-1", "quantity": 1}}'
  curl -s {url}payments/webhook/ -H 'Content-Type: application/json' \\
       -d '{{"workflow_id": "…", "status": "paid"}}'
  curl -s {url}orders/…/ -H 'Accept: application/json'
"""


class Child:
    """A process of the demo; what it prints appears under its name."""

    def __init__(self, name: str, module: list[str], env: dict[str, str], life: int) -> None:
        self.name = name
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "_child", str(life), *module],
            cwd=ROOT,
            env=env,
            pass_fds=(life,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the supervisor, which stops its children in order.
            start_new_session=True,
        )
        self.output = threading.Thread(target=self.show_output, daemon=True)
        self.output.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def age(self) -> float:
        return time.monotonic() - self.started

    @property
    def end(self) -> str:
        code = self.process.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"

    def show_output(self) -> None:
        stdout = self.process.stdout
        assert stdout is not None
        for line in stdout:
            say(f"{self.name:<7} | {line.decode(errors='replace').rstrip()}")

    def stop(self, is_urgent: Callable[[], bool]) -> None:
        """Ask it to end; insist when it takes too long, or when there is no time."""
        if not self.has_ended:
            self.process.terminate()
        deadline = time.monotonic() + GRACE
        while not self.has_ended and time.monotonic() < deadline and not is_urgent():
            time.sleep(0.05)
        if not self.has_ended:
            say(f"{self.name} doesn't stop; killing it.")
            self.process.kill()
            self.process.wait()
        self.output.join(timeout=1)


class DemoError(Exception):
    """The demo can't go on; the message says why."""


class Demo:
    """Starts everything, restarts what dies, stops everything."""

    def __init__(self, port: int, database: str, env: dict[str, str]) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/"
        # One for each database: a demo on SQLite and one on PostgreSQL may run side by side.
        self.pid_file = STATE / f"worker-{database}.pid"
        self.kill_command = f"kill -9 $(cat {short(self.pid_file)})"
        # Time enough for a person to kill the worker in between, and what to do it with.
        self.env = {"SHOP_PACKING_SECONDS": "3", "SHOP_KILL_COMMAND": self.kill_command, **env}
        self.parent = os.getppid()
        self.signals = 0
        self.failures = 0
        self.web: Child | None = None
        self.worker: Child | None = None
        self.life, self._life_end = os.pipe()

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        try:
            self.start()
            self.watch()
        except KeyboardInterrupt:
            pass
        finally:
            self.stop()

    def on_signal(self, number: int, frame: object) -> None:
        self.signals += 1

    def pause(self, seconds: float) -> None:
        """Sleep, but not through Ctrl-C."""
        deadline = time.monotonic() + seconds
        while not self.is_unwanted and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        if self.is_unwanted:
            raise KeyboardInterrupt

    @property
    def is_unwanted(self) -> bool:
        """Whether a signal came, or `make` was killed, which then couldn't pass it on."""
        return self.signals > 0 or (IS_MADE and os.getppid() != self.parent)

    def start(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed_demo")
        self.start_web()
        self.start_worker()
        say(WELCOME.format(url=self.url, kill=self.kill_command))

    def manage(self, *arguments: str) -> None:
        command = self.child("setup", "django", *arguments)
        while not command.has_ended:
            self.pause(0.05)
        command.output.join()
        if command.process.returncode:
            raise DemoError(f"manage.py {arguments[0]} failed; see above.")

    def child(self, name: str, *module: str) -> Child:
        return Child(name, list(module), self.env, self.life)

    def start_web(self) -> None:
        self.web = self.child(
            "web",
            "uvicorn",
            "example_project.config.asgi:application",
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--lifespan", "off", "--no-access-log", "--log-level", "warning"),
            *("--timeout-graceful-shutdown", "3"),
        )
        while not is_served(self.port):
            self.pause(0.1)
            if self.web.has_ended:
                raise DemoError(f"The web server {self.web.end}; see above.")

    def start_worker(self) -> None:
        self.worker = self.child("worker", "django", "dbos_worker")
        self.pid_file.write_text(f"{self.worker.pid}\n")
        say(f"worker  | process {self.worker.pid}")

    def watch(self) -> None:
        while True:
            self.pause(0.1)
            if self.web is not None and self.web.has_ended:
                self.before_restart(self.web)
                self.start_web()
            if self.worker is not None and self.worker.has_ended:
                self.before_restart(self.worker)
                self.start_worker()

    def before_restart(self, child: Child) -> None:
        """Wait a little; longer and longer for one that fails as soon as it starts."""
        is_failing = child.process.returncode > 0 and child.age < 10
        self.failures = self.failures + 1 if is_failing else 0
        delay = min(0.5 * 2**self.failures, 10)
        say(f"{child.name:<7} | process {child.pid} {child.end}; the next starts in {delay:g} s")
        self.pause(delay)

    def stop(self) -> None:
        """Workers first, then web; the servers stop when nobody is left to use them."""
        say("Closing.")
        patience = self.signals
        for child in (self.worker, self.web):
            if child is not None:
                child.stop(is_urgent=lambda: self.signals > patience)
        self.pid_file.unlink(missing_ok=True)


@contextmanager
def environment(database: str) -> Iterator[dict[str, str]]:
    """What the children run with: for PostgreSQL, beside servers that run as long as we do."""
    env = {**os.environ, "DEMO_DIR": str(STATE), "PYTHONUNBUFFERED": "1"}
    env["DJANGO_SETTINGS_MODULE"] = "example_project.config.settings"
    if database == "sqlite":
        env.pop("DATABASE_URL", None)
        yield env
        return

    # Not needed, and perhaps not installed, for SQLite.
    import servers

    try:
        with servers.running("demo") as urls:
            say(f"For manage.py beside the demo: export DATABASE_URL='{urls['DATABASE_URL']}'")
            yield env | urls
    except servers.ServerError as error:
        raise DemoError(str(error)) from error


# What children run.


def run_child(life: str, module: str, *arguments: str) -> None:
    """Run a module as `python -m` does, in this process, until the supervisor ends."""
    threading.Thread(target=end_with_supervisor, args=(int(life),), daemon=True).start()
    sys.path[0] = str(ROOT)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def end_with_supervisor(life: int) -> NoReturn:
    os.read(life, 1)
    # Nobody reads what is printed from here on.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


# What may be wrong before anything starts.


@contextmanager
def only_demo(database: str) -> Iterator[bool]:
    """Refuse a second demo on the same data; tells whether the last one ended uncleanly."""
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


def need_port(port: int, patience: float) -> None:
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


def need_packages() -> None:
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
    try:
        port, database = read_choices()
        need_packages()
        with only_demo(database) as was_killed:
            # A killed demo's children need a moment to notice.
            need_port(port, patience=2 * GRACE if was_killed else 0)
            with environment(database) as env:
                Demo(port, database, env).run()
    except DemoError as failure:
        say(f"demo: {failure}")
        return 1
    except KeyboardInterrupt:
        pass  # before there was anything to stop
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["_child", *arguments]:
            run_child(*arguments)
        case _:
            sys.exit(main())
