"""What `make test` makes of failures: which run again, and which of them fail the run."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
SUITE = """
import pytest

@pytest.fixture
def leaves_something():
    yield
    raise ValueError

def test_good(): pass
def test_bad(): assert False
def test_left(leaves_something): pass
@pytest.mark.parametrize("text", ["a b", "ä::c[1]"])
def test_texts(text): assert text == "a b"
"""


@pytest.fixture
def reruns(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    return importlib.import_module("reruns")


def test_what_passes_whenever_it_is_alone_is_unsteady(reruns: Any) -> None:
    runs: list[tuple[str, str]] = []

    def passes(environment: str, test: str) -> bool:
        runs.append((environment, test))
        return True

    assert reruns.find_unsteady({"a": ["x", "y"], "b": ["x"]}, passes) == [
        ("a", "x"),
        ("a", "y"),
        ("b", "x"),
    ]
    assert runs.count(("a", "x")) == runs.count(("b", "x")) == reruns.TIMES


@pytest.mark.parametrize("time", [1, 5])
def test_what_fails_once_more_has_failed(reruns: Any, time: int) -> None:
    runs: list[str] = []

    def passes(environment: str, test: str) -> bool:
        runs.append(test)
        return runs.count("x") < time

    assert reruns.find_unsteady({"a": ["x", "y"]}, passes) == []
    assert runs == ["x"] * time


def test_many_failures_are_no_coincidence(reruns: Any) -> None:
    def passes(environment: str, test: str) -> bool:
        raise AssertionError

    many = [str(number) for number in range(reruns.MOST)]
    assert reruns.find_unsteady({"a": many, "b": ["x"]}, passes) == []


@pytest.mark.process
def test_failures_and_errors_of_teardowns_are_found(reruns: Any, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    options = ["-q", "-o", "cache_dir=a.cache", "-p", "no:django", "-c", "/dev/null"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", ".", "test_it.py"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )

    assert run.returncode == reruns.TESTS_FAILED
    (tests,) = reruns.read_failed(tmp_path, {"a": run.returncode}).values()
    assert len(tests) == 3
    assert {"test_it.py::test_bad", "test_it.py::test_left"} < set(tests)


@pytest.mark.parametrize("code", [-9, 0, 2, 3, 4, 5])
def test_a_run_that_broke_off_is_not_repaired(reruns: Any, tmp_path: Path, code: int) -> None:
    record = tmp_path / "a.cache" / "v" / "cache" / "lastfailed"
    record.parent.mkdir(parents=True)
    record.write_text('{"test_it.py::test_bad": true}')

    assert reruns.read_failed(tmp_path, {"a": code}) == {}
    assert reruns.read_failed(tmp_path, {"a": 1, "b": 1}) == {"a": ["test_it.py::test_bad"]}
