"""PostgreSQL and Valkey for tests, demo and benchmarks: from wheels, or from the environment.

In Python, with the project's `.venv`:

    with servers.running("demo") as urls:        # {"DATABASE_URL": …, "REDIS_URL": …}
        subprocess.run(command, env=os.environ | urls)

From a shell:

    .venv/bin/python scripts/servers.py run --no-fsync -- .venv/bin/python -m pytest

`DATABASE_URL` and `REDIS_URL`, where set, are used and nothing is started for them. Otherwise
a *keeper*, a process in a session of its own, starts the servers and holds one end of a pipe.
When the other end closes, because this process is done or was killed, the keeper stops them: so
there is one way to stop, and it works however this process ends. Several users of one purpose
share its servers, which the last user's keeper stops. Servers whose keeper was killed, too, keep
running until the next run adopts them.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, NoReturn

# The folder of this file isn't on the path when another program imports it by file name.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from embedded_postgres import ServerError, remove_shelter, start_postgres, stop_postgres
from embedded_valkey import start_valkey, stop_valkey

__all__ = [
    "ServerError",
    "running",
    "start_postgres",
    "start_valkey",
    "stop_postgres",
    "stop_valkey",
]

PROJECT = Path(__file__).resolve().parent.parent
STOPPERS = {"DATABASE_URL": stop_postgres, "REDIS_URL": stop_valkey}
FOLDERS = {"DATABASE_URL": "postgres", "REDIS_URL": "valkey"}
# Commits that don't wait for the disk: they survive the death of any process, but not a power cut.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


@contextlib.contextmanager
def running(
    purpose: str, *, postgres: bool = True, valkey: bool = True, is_durable: bool = True
) -> Iterator[dict[str, str]]:
    """Run servers for the length of a `with` block; yield their URLs as environment variables.

    Their data stays in `.servers/<purpose>/` for the next time. Tests, whose databases are made
    anew, need no durable ones.
    """
    wanted = {"DATABASE_URL": postgres, "REDIS_URL": valkey}
    given = {name: os.environ[name] for name in wanted if wanted[name] and os.environ.get(name)}
    missing = [name for name in wanted if wanted[name] and name not in given]
    if not missing:
        yield given
        return
    with keeper(PROJECT / ".servers" / purpose, missing, is_durable=is_durable) as started:
        yield given | started


@contextlib.contextmanager
def keeper(directory: Path, names: list[str], *, is_durable: bool) -> Iterator[dict[str, str]]:
    """Start a keeper that holds the named servers until the end of the block."""
    options = [] if is_durable else ["--no-fsync"]
    process = subprocess.Popen(
        [sys.executable, __file__, "keep", *options, str(directory), *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:  # its end closes our end of the pipe, then waits for the keeper to finish
        assert process.stdout is not None
        answer = json.loads(process.stdout.readline() or b'{"error": "The keeper died."}')
        if "error" in answer:
            raise ServerError(answer["error"])
        yield answer


def keep(directory: Path, names: list[str], *, is_durable: bool) -> None:
    """Act as the keeper: hold the named servers until standard input ends."""
    directory.mkdir(parents=True, exist_ok=True)
    # A signal ends the keeper as the end of its input does: with its servers stopped.
    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sign, leave)
    with (directory / "users").open("w") as users:
        try:
            say(start(directory, names, users, {} if is_durable else NOT_DURABLE))
        except ServerError as error:
            say({"error": str(error)})
        else:
            sys.stdin.buffer.read()
        finally:
            stop_if_last(directory, users)


def leave(*_: object) -> NoReturn:
    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sign, signal.SIG_IGN)
    raise SystemExit


def say(answer: dict[str, str]) -> None:
    # The process that started the keeper may be gone; then standard input has ended, too.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer), flush=True)


def start(
    directory: Path, names: list[str], users: IO[str], settings: dict[str, str]
) -> dict[str, str]:
    starters = {
        "DATABASE_URL": partial(start_postgres, settings=settings),
        "REDIS_URL": start_valkey,
    }
    with exclusively(directory):
        fcntl.flock(users, fcntl.LOCK_SH)
        return {name: starters[name](directory / FOLDERS[name]) for name in names}


def stop_if_last(directory: Path, users: IO[str]) -> None:
    """Stop the servers, unless another keeper holds the lock of their users."""
    with exclusively(directory), contextlib.suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name, stop in reversed(STOPPERS.items()):
            stop(directory / FOLDERS[name])


@contextlib.contextmanager
def exclusively(directory: Path) -> Iterator[None]:
    """Let one keeper at a time start or stop servers. The system releases a dead keeper's lock."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clean(servers: Path = PROJECT / ".servers") -> None:
    """Delete the files of this clone's servers outside of it, but not their data in it."""
    for directory in servers.glob("*"):
        remove_shelter(directory / FOLDERS["DATABASE_URL"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Run PostgreSQL and Valkey from wheels.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a command with DATABASE_URL and REDIS_URL set")
    run.add_argument(
        "--purpose", default="dev", help="the name of the servers and their data (default: dev)"
    )
    without = {"action": "store_true", "help": "commits may be lost in a power cut"}
    run.add_argument("--no-fsync", **without)
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="-- command")
    keep_ = commands.add_parser("keep", help="for this script's own use")
    keep_.add_argument("--no-fsync", **without)
    keep_.add_argument("directory", type=Path)
    keep_.add_argument("names", nargs="+", choices=sorted(FOLDERS))
    commands.add_parser("clean", help="delete the files outside of the project")
    arguments = parser.parse_args()

    if arguments.command == "clean":
        clean()
        return 0
    if arguments.command == "keep":
        keep(arguments.directory, arguments.names, is_durable=not arguments.no_fsync)
        return 0
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    with running(arguments.purpose, is_durable=not arguments.no_fsync) as urls:
        return run_command(words, os.environ | urls)


def run_command(words: list[str], environment: dict[str, str]) -> int:
    """Run the command in the foreground. Ctrl-C ends the command; then the servers stop."""
    process = subprocess.Popen(words, env=environment)
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerError as error:
        sys.exit(str(error))
