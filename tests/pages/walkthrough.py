"""Do what a page of the docs says, to the letter: its commands, its files, and what they answer.

A console block's commands are run, a Python block that begins with `# path` is that file (of
settings: its end). What a command that starts with `curl` prints must be what the page shows.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.ports import own_port

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PATIENCE = 90.0


class Walk:
    """A folder, an environment that has the wheel, and what runs in its terminals."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._wheel = wheel
        self.port = own_port()
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        self._bin = _make_environment(folder / "environment") / "bin"
        self.folder = folder / "work"
        self.folder.mkdir()
        self.before: Callable[[str], None] = lambda command: None
        """Called before each command."""
        self.instead: dict[str, str] = {}
        """Replacements for the steps at which a page offers a choice."""
        self._is_installed = False

    def copy_project(self, folder: Path) -> None:
        """Go on in a copy of another walk's project folder, with its database."""
        # Beside the database are the sockets and locks of processes that have ended.
        without = shutil.ignore_patterns("*-dbos-*")
        self.folder = Path(shutil.copytree(folder, self.folder / folder.name, ignore=without))

    @property
    def environment(self) -> dict[str, str]:
        """That of a newcomer's shell."""
        kept = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
        return {**kept, "PATH": f"{self._bin}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}

    def follow(self, page: Path) -> None:
        """Do all that the page says, from its first block to its last."""
        for language, shown in BLOCK.findall(page.read_text()):
            text = shown
            for one, other in self.instead.items():
                text = text.replace(one, other)
            if language == "console":
                for command, answer in _commands(text):
                    self.before(command)
                    self.do(command, answer)
            else:
                self.write(text)

    def do(self, command: str, answer: str = "") -> None:
        """Run a command; one that never ends runs in a terminal of its own."""
        command = self.local(command.partition("  #")[0])
        words = shlex.split(command)
        if words[0] == "cd":
            self.folder /= words[1]
        elif words[0] == "curl":
            self._fetch(words, json.loads(answer))
        elif words[:2] == ["pip", "install"]:
            self._install()
        elif "runserver" in words or words[0] in ("uvicorn", "gunicorn"):
            at = [str(self.port)] if "runserver" in words else ["--port", str(self.port)]
            # The reloader's child may outlive it for a moment.
            self.wait(lambda: not self._is_open())
            self.serve("web", [*words, *at])
            self.wait(self._is_open)
        elif "dbos_worker" in words:
            self.serve("worker", words)
        else:
            self.run(words)

    def write(self, text: str) -> None:
        """Write the file that a block is; text without a path is nobody's file."""
        if (found := re.match(r"(?:#|//|\{#) ([\w/]+\.\w+)", text)) is not None:
            path = self.folder / found[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            is_settings = path.name == "settings.py"
            path.write_text(f"{path.read_text()}\n{text}" if is_settings else text)
        elif text.startswith("# python manage.py shell\n"):
            self.run(["python", "manage.py", "shell", "-c", text])

    def run(self, words: list[str]) -> str:
        """Run a command to its end; it must succeed. What it printed."""
        done = subprocess.run(
            self._found(words),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout}"
        return done.stdout

    def serve(self, name: str, words: list[str]) -> None:
        """Run a command in a terminal of its own, whose log is `name`.log."""
        assert name not in self.servers, f"{name} runs already."
        with (self.folder / f"{name}.log").open("ab") as log:
            self.servers[name] = subprocess.Popen(
                self._found(words),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """End what runs in a terminal, with `kill -9`, and its children."""
        process = self.servers.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End everything."""
        for name in list(self.servers):
            self.kill(name)

    def log(self, name: str) -> str:
        """Return the output that a terminal would show."""
        return (self.folder / f"{name}.log").read_text()

    def wait(self, check: Callable[[], Any]) -> None:
        """Wait until something is so."""
        until = time.monotonic() + PATIENCE
        while not check():
            logs = {name: self.log(name) for name in self.servers}
            assert time.monotonic() < until, f"It didn't become so in time. {logs}"
            time.sleep(0.1)

    def local(self, text: str) -> str:
        """The port that is free here, instead of the page's."""
        return text.replace(":8000", f":{self.port}")

    def _install(self) -> None:
        """Only ours: the others are there, and no index is asked."""
        if not self._is_installed:
            alone = ["--no-index", "--no-deps", "--ignore-installed", "--quiet"]
            self.run(["python", "-m", "pip", "install", *alone, str(self._wheel)])
            self._is_installed = True

    def _found(self, words: list[str]) -> list[str]:
        return [str(self._bin / "python") if words[0] == "python" else words[0], *words[1:]]

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _fetch(self, words: list[str], answer: dict[str, Any]) -> None:
        """A GET is repeated until it answers what the page shows, a POST is made once."""
        if "POST" in words:
            assert _get(words[-1], b"").keys() == answer.keys()
            return
        self.wait(lambda: _get(words[-1]) == answer)


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, answer = part.partition("\n")
        yield command, answer


def _get(url: str, data: bytes | None = None) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, data) as response:
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        return {"error": error.code}
    return answer


def _make_environment(folder: Path) -> Path:
    """A fresh environment that finds Django and the servers where the tests have theirs.

    Paths of a .pth file aren't searched for more of them: the package that is being worked on,
    which is installed by one, isn't found.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    others = {
        str(Path(spec.origin).parent.parent)
        for name in ("django", "channels", "daphne", "uvicorn")
        if (spec := find_spec(name)) is not None and spec.origin
    }
    (packages / "others.pth").write_text("\n".join(sorted(others)))
    python = folder / "bin" / "python"
    for name, module in (("django-admin", "django"), ("uvicorn", "uvicorn")):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{python}" -m {module} "$@"\n')
        program.chmod(0o755)
    return folder


def build(target: Path, project: Path) -> Path:
    """The wheel of the project."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)]
    done = subprocess.run([*command, str(project)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(target.glob("*.whl"))
