"""`python -m benchmarks run` measures; `python -m benchmarks report FILE` prints kept results."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.environment import PROJECT
from benchmarks.report import render
from benchmarks.results import Results
from benchmarks.run import Plan, choose_systems, choose_workloads, run

BEGIN, END = "<!-- figures -->", "<!-- end of the figures -->"


def main() -> None:
    arguments = parse()
    is_kept = arguments.command == "report"
    results = Results.joined(arguments.files) if is_kept else measure(arguments)
    if is_kept and arguments.into:
        put_between_marks(arguments.into, render(results, is_markdown=True))
    else:
        print(render(results, is_markdown=arguments.markdown), end="")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("run", help="measure, and print tables")
    measuring.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="workloads with this in their names"
    )
    measuring.add_argument(
        "--peers", default="all", help="names with commas, none or all (default)"
    )
    measuring.add_argument(
        "--rounds", type=int, help="number of rounds (default: 3; with --quick 1)"
    )
    measuring.add_argument("--quick", action="store_true", help="small sizes, for a first try")
    measuring.add_argument(
        "--heavy", action="store_true", help="include workloads that take minutes"
    )
    measuring.add_argument("--json", type=Path, metavar="FILE", help="save all raw values")
    measuring.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="WORKLOAD=N",
        help="the size of a workload, for every system",
    )
    measuring.add_argument("--prefix", default=Plan.prefix, help="prefix of the databases' names")
    report = commands.add_parser("report", help="print the tables of kept runs")
    report.add_argument("files", type=Path, nargs="+", metavar="FILE")
    report.add_argument(
        "--into", type=Path, metavar="PAGE", help="write them between the page's marks"
    )
    for command in (measuring, report):
        command.add_argument("--markdown", action="store_true", help="as in the docs")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> Results:
    """Start the servers, and measure."""
    plan = Plan(
        workloads=choose_workloads(arguments.only, with_heavy=arguments.heavy),
        systems=choose_systems(arguments.peers),
        rounds=arguments.rounds or (1 if arguments.quick else 3),
        is_quick=arguments.quick,
        scale=sizes(arguments.size),
        prefix=arguments.prefix,
    )
    if not plan.workloads:
        raise SystemExit(f"No workload has {' or '.join(arguments.only)} in its name.")
    sys.path.insert(0, str(PROJECT / "scripts"))
    import servers

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    needs_redis = any(getattr(system, "needs_redis", False) for system in plan.systems.values())
    with servers.running("benchmarks", postgres=True, valkey=needs_redis) as urls:
        results = run(plan, urls["DATABASE_URL"], urls.get("REDIS_URL"))
    if arguments.json:
        results.save(arguments.json)
    return results


def put_between_marks(page: Path, tables: str) -> None:
    """Replace the text between the two marks of a page."""
    before, mark, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise SystemExit(f"{page} lacks {BEGIN} or {END}.")
    page.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}")


def sizes(options: list[str]) -> dict[str, int]:
    return {name: int(size) for name, _, size in (option.rpartition("=") for option in options)}


if __name__ == "__main__":
    main()
