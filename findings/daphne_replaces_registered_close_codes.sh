#!/usr/bin/env bash
# daphne 4.2.3 with autobahn 26.10.2 and Twisted 26.10.0; beside uvicorn 0.54.0 and hypercorn 0.18.0; the client is
# websockets 17.4.
#
# Expected: an ASGI application closes a websocket with a code of IANA's registry, and the client receives that
#           code: 1008 (policy violation), 1009 (message too big), 1013 (try again later).
# Seen:     uvicorn and hypercorn pass on each code. daphne passes on 1000 and those from 3000 on. Of the others
#           autobahn takes none from an application: the application's send() raises "invalid close code", and the
#           client receives 1011 (internal error) instead.
# Who meets it: a page that decides by the code whether to log in, to wait or to give up. Under daphne it is told
#           that the application has failed. Codes from 4000 on mean the same under all three servers.
#
# Exits 0 while the behaviour is as described, 1 when it has changed. Takes a minute.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    daphne==4.2.3 autobahn==26.10.2 Twisted==26.10.0 uvicorn==0.54.0 hypercorn==0.18.0 websockets==17.4
cat > "$folder/app.py" <<'PYTHON'
async def app(scope, receive, send):
    """Accept a websocket, then close it with the code that is its path."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": int(scope["path"].strip("/"))})
PYTHON
cat > "$folder/try.py" <<'PYTHON'
import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import websockets

CODES = (1000, 1008, 1009, 1011, 1013, 3000, 4500)
SERVERS = {
    "uvicorn": ["--host", "127.0.0.1", "--port", "{port}", "--lifespan", "off", "app:app"],
    "hypercorn": ["--bind", "127.0.0.1:{port}", "app:app"],
    "daphne": ["--bind", "127.0.0.1", "--port", "{port}", "app:app"],
}
folder = Path(sys.argv[1])


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


async def received(port, code):
    async with websockets.connect(f"ws://127.0.0.1:{port}/{code}") as client:
        try:
            await asyncio.wait_for(client.recv(), 60)
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


async def codes_of(name):
    port = free_port()
    words = [word.format(port=port) for word in SERVERS[name]]
    with (folder / f"{name}.log").open("w") as log:
        server = subprocess.Popen(
            [folder / "venv" / "bin" / name, *words], cwd=folder, stdout=log, stderr=log
        )
        try:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    await asyncio.sleep(0.1)
            return [await received(port, code) for code in CODES]
        finally:
            server.terminate()
            server.wait()


found = {name: asyncio.run(codes_of(name)) for name in SERVERS}
print(f"{'sent':>10}", *CODES)
for name, codes in found.items():
    print(f"{name:>10}", *codes)
log = (folder / "daphne.log").read_text()
as_described = (
    found["uvicorn"] == found["hypercorn"] == list(CODES)
    and found["daphne"] == [1000, 1011, 1011, 1011, 1011, 3000, 4500]
    and all(f"invalid close code {code}" in log for code in (1008, 1009, 1011, 1013))
)
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder"
