#!/usr/bin/env bash
# dbos 3.4.0 (Python), SQLite, all settings at their defaults.
#
# Expected: a second process of the same application leaves alone what the first one is running.
# Seen:     each process has the executor id "local", and at its start takes everything that "local" has not
#           finished for work of a process that died: it puts that back into an internal queue, from which
#           either process takes it. While the first process is in a step, launching a second one has the same
#           step of the same workflow begun again, here by the first process itself: both run at the same time.
# Who meets it: a web server with two worker processes, a reloader, a management command beside a server.
#
# Exits 0 while the behaviour is as described, 1 when it has changed. Takes half a minute.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check dbos==3.4.0
cat > "$folder/app.py" <<'PYTHON'
import os
import sys
import time
from pathlib import Path

from dbos import DBOS

folder = Path(__file__).parent
DBOS(config={"name": "shop", "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}"})


@DBOS.step()
def pack():
    with (folder / "packed").open("a") as file:
        file.write(f"{os.getpid()} begins at {time.time():.1f}\n")
    time.sleep(8)
    with (folder / "packed").open("a") as file:
        file.write(f"{os.getpid()} ends at {time.time():.1f}\n")


@DBOS.workflow()
def order():
    pack()


DBOS.launch()
if sys.argv[1] == "first":
    order()
else:
    time.sleep(10)
DBOS.destroy()
PYTHON
cat > "$folder/try.py" <<'PYTHON'
import subprocess
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
packed = folder / "packed"


def run(word):
    command = [sys.executable, folder / "app.py", word]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


first = run("first")
until = time.monotonic() + 60
while not packed.exists() and time.monotonic() < until:
    time.sleep(0.1)
second = run("second")
first.wait(60)
second.wait(60)
lines = packed.read_text().splitlines()
print(*lines, sep="\n")
words = [line.split()[1] for line in lines]
sys.exit(words != ["begins", "begins", "ends", "ends"])
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder"
