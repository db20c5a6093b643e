"""Make the project's virtual environment, `.venv`, with whatever Python runs this.

    python3 scripts/bootstrap.py [--here] [GROUP …]

installs the project (editable, with its extras) and the dependency groups named. It does
nothing when all of that is there already, adds groups that are new, and starts over when
pyproject.toml's dependencies or the Python changed. The newest suitable Python of the machine
is used; `--here` insists on the one that runs this.
"""

from __future__ import annotations

import sys

# Before anything that an older Python cannot even read.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"This project needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}."
    )

import argparse
import fcntl
import hashlib
import json
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import interpreters

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
STAMP = VENV / "bootstrap.json"
EXTRAS = "postgres,channels,redis"
# The newest series that the test matrix knows; wheels of newer ones may not exist yet.
NEWEST = (3, 13)
ADVICE = {
    "venv": "On Debian or Ubuntu: apt-get install python{series}-venv",
    "ensurepip": "On Debian or Ubuntu: apt-get install python{series}-venv",
    "sqlite3": "It was built without SQLite's headers; install libsqlite3-dev and build it again.",
    "ssl": "It was built without OpenSSL's headers; install libssl-dev and build it again.",
}


@dataclass(frozen=True)
class State:
    """What `.venv` was made from, as kept in its stamp."""

    dependencies: str
    python: str
    groups: frozenset[str]

    def save(self) -> None:
        STAMP.write_text(json.dumps(self.__dict__ | {"groups": sorted(self.groups)}))

    @classmethod
    def load(cls) -> State | None:
        try:
            kept = json.loads(STAMP.read_text())
            state = cls(kept["dependencies"], kept["python"], frozenset(kept["groups"]))
        except (OSError, ValueError, KeyError):
            return None
        # Its interpreter may have been removed, or replaced by an upgrade of the system.
        return state if run_version(VENV / "bin" / "python") == state.python else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the project's virtual environment.")
    parser.add_argument("--here", action="store_true", help="use the Python that runs this")
    parser.add_argument("groups", nargs="*", help="dependency groups of pyproject.toml")
    arguments = parser.parse_args()

    with (PROJECT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make demo` and `make test` may start together
        ensure(frozenset(arguments.groups), is_here=arguments.here)


def ensure(groups: frozenset[str], *, is_here: bool) -> None:
    """Bring `.venv` to the state that is asked for, doing as little as possible."""
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    dependencies = fingerprint(pyproject)
    state = State.load()
    here = run_version(Path(sys.executable))
    is_current = state is not None and state.dependencies == dependencies
    if not is_current or (is_here and state is not None and state.python != here):
        python = Path(sys.executable) if is_here else choose_python()
        state = State(dependencies, make_venv(python), frozenset())
    assert state is not None
    if groups <= state.groups and STAMP.exists():
        return
    install(requirements(pyproject, groups))
    State(dependencies, state.python, state.groups | groups).save()


def fingerprint(pyproject: dict[str, Any]) -> str:
    """A hash of what decides the installed packages; a new lint rule is no reason to reinstall."""
    tables = [pyproject.get(name) for name in ("build-system", "project", "dependency-groups")]
    # A virtual environment holds absolute paths: after a move it must be made again.
    decisive = json.dumps([str(PROJECT), tables], sort_keys=True)
    return hashlib.sha256(decisive.encode()).hexdigest()


def choose_python() -> Path:
    """The newest Python of the matrix that can make a virtual environment."""
    found = interpreters.find()
    usable = [one for one in found.values() if not one.missing and one.version[:2] <= NEWEST]
    if usable:
        return usable[-1].path
    for one in reversed(found.values()):
        if not one.missing:
            return one.path
    lacking = interpreters.ask(Path(sys.executable))
    if lacking is None or not lacking.missing:
        return Path(sys.executable)
    advice = ADVICE[lacking.missing[0]].format(series=lacking.series)
    sys.exit(f"{lacking.path} has no module {lacking.missing[0]!r}. {advice}")


def run_version(python: Path) -> str | None:
    """A Python's version and prefix, or None if it doesn't run."""
    question = "import sys; print(sys.version.split()[0], sys.base_prefix)"
    try:
        answer = subprocess.run([python, "-c", question], capture_output=True, text=True)
    except OSError:
        return None
    return answer.stdout.strip() or None


def make_venv(python: Path) -> str:
    version = run_version(python)
    if version is None:
        sys.exit(f"{python} doesn't run.")
    print(f"Making {VENV.name} with Python {version.split()[0]} ({python}) …", flush=True)
    made = subprocess.run([python, "-m", "venv", "--clear", VENV], stdout=subprocess.PIPE)
    if made.returncode:
        sys.exit(f"{made.stdout.decode()}{python} -m venv failed.")
    return version


def requirements(pyproject: dict[str, Any], groups: frozenset[str]) -> list[str]:
    """What the groups stand for. Read here, since pip knows groups only since 25.1."""
    known = pyproject["dependency-groups"]
    if unknown := groups - known.keys():
        sys.exit(f"No dependency group {sorted(unknown)[0]!r}: there are {', '.join(known)}.")
    wanted: list[str] = []
    pending = sorted(groups)
    for group in pending:  # grows while it is read, by the groups that groups include
        for entry in known[group]:
            if isinstance(entry, str):
                wanted.append(entry)
            elif entry["include-group"] not in pending:
                pending.append(entry["include-group"])
    return wanted


def install(wanted: list[str]) -> None:
    print("Installing packages (a minute or two the first time) …", flush=True)
    quiet = ["-qq", "--disable-pip-version-check", "--no-input"]
    command = [VENV / "bin" / "python", "-m", "pip", "install", *quiet]
    installed = subprocess.run([*command, "--editable", f"{PROJECT}[{EXTRAS}]", *wanted])
    if installed.returncode:
        sys.exit("pip couldn't install the project's dependencies: see above.")


if __name__ == "__main__":
    main()
