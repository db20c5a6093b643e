"""Make the project's virtual environment, `.venv`, with any Python from 3.11 on.

    python3 scripts/bootstrap.py [--here] [GROUP …]

installs the project (editable, with its extras) and the named dependency groups. It does nothing
when all of them are installed, adds new groups, and starts over when pyproject.toml's dependencies
or the Python changed. The newest suitable Python of the machine is used; `--here` insists on the
one that runs this.

uv installs, ten times as fast as pip: the machine's, or one that pip brings. Where neither can be
had, or uv fails (it doesn't read pip's configuration), pip does.
"""

from __future__ import annotations

import sys

# Before any syntax that an older Python can't read.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"This project needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}."
    )

import argparse
import fcntl
import hashlib
import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import interpreters

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "bootstrap.json"
EXTRAS = "postgres,channels,redis"
# The newest series of the test matrix; wheels for newer ones may not exist yet.
NEWEST = (3, 14)
PIP = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-qq"]
ADVICE = {
    "venv": "On Debian or Ubuntu: apt-get install python{series}-venv",
    "ensurepip": "On Debian or Ubuntu: apt-get install python{series}-venv",
    "sqlite3": "It was built without SQLite's headers; install libsqlite3-dev and build it again.",
    "ssl": "It was built without OpenSSL's headers; install libssl-dev and build it again.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the project's virtual environment.")
    parser.add_argument("--here", action="store_true", help="use the Python that runs this")
    parser.add_argument("groups", nargs="*", help="dependency groups of pyproject.toml")
    arguments = parser.parse_args()

    with (PROJECT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make demo` and `make test` may start together
        ensure(set(arguments.groups), is_here=arguments.here)


def ensure(groups: set[str], *, is_here: bool) -> None:
    """Make `.venv` or add to it, with as few installations as possible."""
    dependencies = fingerprint()
    made = read_stamp()
    # The interpreter may have been removed, or replaced by an upgrade of the system.
    is_current = made["dependencies"] == dependencies and made["python"] == run_version(PYTHON)
    if not is_current or (is_here and made["python"] != run_version(Path(sys.executable))):
        make_venv(Path(sys.executable) if is_here else choose_python())
        made["groups"] = []
    if groups <= set(made["groups"]):
        return
    groups |= set(made["groups"])
    install(sorted(groups))
    stamp = {"dependencies": dependencies, "python": run_version(PYTHON), "groups": sorted(groups)}
    STAMP.write_text(json.dumps(stamp))


def fingerprint() -> str:
    """Return a hash of what decides the installed packages; lint rules don't."""
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    tables = [pyproject.get(name) for name in ("build-system", "project", "dependency-groups")]
    # A virtual environment contains absolute paths: after a move it must be made again.
    decisive = json.dumps([str(PROJECT), tables], sort_keys=True)
    return hashlib.sha256(decisive.encode()).hexdigest()


def read_stamp() -> dict[str, object]:
    try:
        return dict.fromkeys(["dependencies", "python", "groups"]) | json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {"dependencies": None, "python": None, "groups": []}


def choose_python() -> Path:
    """Return the newest Python of the matrix that can make a virtual environment."""
    complete = [python for python in interpreters.find().values() if not python.missing]
    if in_matrix := [python for python in complete if python.version[:2] <= NEWEST]:
        return in_matrix[-1].path
    if complete:
        return complete[-1].path
    lacking = interpreters.inspect(Path(sys.executable))
    if lacking is None or not lacking.missing:
        return Path(sys.executable)
    advice = ADVICE[lacking.missing[0]].format(series=lacking.series)
    sys.exit(f"{lacking.path} has no module {lacking.missing[0]!r}. {advice}")


def run_version(python: Path) -> str | None:
    """Return a Python's version and prefix, or None if it doesn't run."""
    code = "import sys; print(sys.version.split()[0], sys.base_prefix)"
    try:
        output = subprocess.run([python, "-c", code], capture_output=True, text=True).stdout
    except OSError:
        return None
    return output.strip() or None


def make_venv(python: Path) -> None:
    print(f"Making {VENV.name} with {python} …", flush=True)
    made = subprocess.run([python, "-m", "venv", "--clear", VENV], stdout=subprocess.PIPE)
    if made.returncode:
        sys.exit(f"{made.stdout.decode()}{python} -m venv failed.")


def install(groups: list[str]) -> None:
    print("Installing packages …", flush=True)
    wanted = ["--editable", f"{PROJECT}[{EXTRAS}]"]
    for group in groups:
        wanted += ["--group", group]
    if uv := find_uv():
        # With tox-uv, tox's environments are made by uv as well.
        plugin = ["--group", "uv"] if "dev" in groups else []
        if runs([uv, "pip", "install", "--quiet", "--python", PYTHON, *wanted, *plugin]):
            return
        print("uv couldn't install the packages; pip tries …", flush=True)
    # pip knows dependency groups from 25.1 on.
    if not runs([*PIP, "pip>=25.1"]) or not runs([*PIP, *wanted]):
        sys.exit("pip couldn't install the project's dependencies: see above.")


def find_uv() -> str | Path | None:
    """Return the machine's uv, or one that pip installs into `.venv`, or None."""
    if uv := shutil.which("uv"):
        return uv
    own = VENV / "bin" / "uv"
    return own if own.exists() or (runs([*PIP, "uv>=0.9"]) and own.exists()) else None


def runs(command: list[str | Path]) -> bool:
    return subprocess.run(command, cwd=PROJECT).returncode == 0


if __name__ == "__main__":
    main()
