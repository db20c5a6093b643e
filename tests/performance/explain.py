"""PostgreSQL's execution of the engine's statements, in figures for tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from django_dbos.store import statements
from tests.performance.history import GUARDED


@dataclass(frozen=True)
class Plan:
    """The figures of one execution."""

    scanned: list[str]
    """The guarded tables that were scanned."""
    rows: int
    """The number of rows read from guarded tables, including those that a filter removed."""
    pages: int
    handled: int
    """The number of rows that all parts of the plan returned or removed."""
    array_searches: list[str]
    """The conditions that search an array again for each row."""
    text: str


def explain(
    connection: psycopg.Connection[Any],
    query: str,
    params: dict[str, Any] | None = None,
    before: Sequence[str] = (),
) -> Plan:
    """Run a statement after others, roll all back, and return the figures of its execution."""
    text = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}"
    with connection.transaction(force_rollback=True):
        for one in before:
            connection.execute(one)
        (found,) = connection.execute(text, params).fetchone() or ()
    nodes = [one for one in _nodes(found[0]["Plan"]) if one["Actual Loops"]]
    reads = [one for one in nodes if one.get("Relation Name") in GUARDED and _is_scan(one)]
    return Plan(
        scanned=[one["Relation Name"] for one in reads if one["Node Type"] == "Seq Scan"],
        rows=sum(_rows_read(one) for one in reads),
        pages=nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"],
        handled=sum(map(_rows_handled, nodes)),
        array_searches=[found for one in nodes for found in _repeated(one) if "ANY" in found],
        text="\n".join(map(_line, nodes)),
    )


def prepare(connection: psycopg.Connection[Any], name: str) -> None:
    """Prepare a statement on the server, under its own name."""
    text, _ = statements.numbered(statements.load("postgresql", name))
    connection.execute(f"PREPARE {name} AS {text}")


def call(connection: psycopg.Connection[Any], name: str, params: dict[str, Any]) -> str:
    """Return the text that executes a prepared statement."""
    _, names = statements.numbered(statements.load("postgresql", name))
    arguments = f"({', '.join(['%s'] * len(names))})" if names else ""
    return psycopg.ClientCursor(connection).mogrify(
        f"EXECUTE {name}{arguments}", [params[one] for one in names]
    )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _is_scan(node: dict[str, Any]) -> bool:
    return str(node["Node Type"]).endswith("Scan")


def _rows_read(node: dict[str, Any]) -> int:
    # The plan has averages over the loops.
    kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return round(sum(node.get(kind, 0) for kind in kinds) * node["Actual Loops"])


def _rows_handled(node: dict[str, Any]) -> int:
    return _rows_read(node) + round(
        node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"]
    )


def _repeated(node: dict[str, Any]) -> list[str]:
    """Return the conditions that are evaluated for each row of this node, or of an outer one."""
    kinds = ["Filter", "Join Filter"]
    if node["Actual Loops"] > 1:
        kinds += ["Index Cond", "Recheck Cond"]
    return [node[kind] for kind in kinds if kind in node]


def _line(node: dict[str, Any]) -> str:
    where = node.get("Index Name") or node.get("Relation Name") or ""
    cond = node.get("Index Cond") or node.get("Filter") or ""
    return f"{node['Node Type']} {where} {_rows_read(node)} rows {cond[:150]}"
