#!/usr/bin/env bash
# celery 5.7.0 (kombu 5.7.0), tzdata 2026.6; the clock is set by time-machine 3.6.0.
#
# Expected: a daily task is sent once a day, also in the night in which the clocks go back: crontab(hour=2, minute=30)
#           with timezone="Europe/Berlin". A beat that starts after 02:30 waits for the next day.
# Seen:     02:00 to 03:00 comes twice in that night. A beat whose first look is in the second of these hours, before
#           its 02:30, sends the task again and again without a pause, thousands of times in five seconds. Once
#           02:30 has come for the second time, or if beat was started before that hour, all is as expected.
# Who meets it: a first deployment in that half hour, and a beat that returns then and was down when 02:30 came first.
#
# Exits 0 while the behaviour is as described, 1 when it has changed. Takes a minute.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    celery==5.7.0 kombu==5.7.0 tzdata==2026.6 time-machine==3.6.0
cat > "$folder/beat.py" <<'PYTHON'
"""Celery's own beat, started at an instant."""

import sys
from datetime import datetime

import time_machine
from celery import Celery
from celery.schedules import crontab

app = Celery("shop", broker="memory://")
app.conf.timezone = "Europe/Berlin"
app.conf.beat_schedule = {
    "nightly": {"task": "shop.report", "schedule": crontab(hour=2, minute=30)},
}
time_machine.travel(datetime.fromisoformat(sys.argv[1]), tick=True).start()
app.Beat(loglevel="INFO", schedule=sys.argv[2]).run()
PYTHON
cat > "$folder/try.py" <<'PYTHON'
import subprocess
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
# The clocks go back at 01:00 UTC. 02:30 comes at 00:30 UTC and again at 01:30 UTC.
STARTS = {
    "before that night": "2026-10-24T22:10:00+00:00",
    "in the first hour": "2026-10-25T00:10:00+00:00",
    "in the second hour": "2026-10-25T01:10:00+00:00",
    "after 02:30 in it": "2026-10-25T01:40:00+00:00",
}


def sent_by(number, start):
    """Count the tasks that a beat sends in its first five seconds."""
    log = folder / f"{number}.log"
    with log.open("w") as output:
        beat = subprocess.Popen(
            [sys.executable, folder / "beat.py", start, folder / f"schedule-{number}"],
            cwd=folder,
            stdout=output,
            stderr=output,
        )
        try:
            while "beat: Starting" not in log.read_text():
                if beat.poll() is not None:
                    sys.exit(f"beat has ended: {log.read_text()}")
                time.sleep(0.1)
            time.sleep(5)
        finally:
            beat.terminate()
            beat.wait()
    return log.read_text().count("Sending due task nightly")


sent = {name: sent_by(number, start) for number, (name, start) in enumerate(STARTS.items())}
for name, count in sent.items():
    print(f"beat started {name}: the daily task sent {count} times in 5 s")
as_described = sent.pop("in the second hour") > 100 and set(sent.values()) == {0}
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder"
