"""Write docs/reference/api.md from the package's docstrings; `--check` only compares.

The public names are those of each module's `__all__`. An async twin (`asend`) is named beside
the function that it mirrors (`send`), instead of having an entry of its own.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import importlib.util
import inspect
import itertools
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, is_typeddict

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "reference" / "api.md"
# Beside the root, whose names come first; a module is shown if it exists and has `__all__`.
MODULES = ("testing", "executor", "routers", "consumers", "routing", "signals")
WIDTH = 88
INTRODUCTION = """\
# API reference

Made from the docstrings by `make docs-api`. Everything here is importable from the module that
heads its section. `await` the twin named beside a function on an event loop.
"""


class Verbatim:
    """An annotation that is printed as its source has it, without quotes."""

    def __init__(self, annotation: Any) -> None:
        is_text = isinstance(annotation, str)
        self.text = annotation if is_text else inspect.formatannotation(annotation)

    def __repr__(self) -> str:
        return self.text


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the API reference.")
    parser.add_argument("--check", action="store_true", help="fail if the page is out of date")
    arguments = parser.parse_args()

    page = render()
    if arguments.check:
        is_current = PAGE.exists() and PAGE.read_text() == page
        print("up to date" if is_current else f"{PAGE} is out of date: run `make docs-api`.")
        return 0 if is_current else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page)
    print(f"Wrote {PAGE.relative_to(PROJECT)}.")
    return 0


def render() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(line for module in modules() for line in section(module))])


def modules() -> Iterator[ModuleType]:
    # Some modules import models, which need settings.
    sys.path.insert(0, str(PROJECT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    importlib.import_module("django").setup()
    yield importlib.import_module("django_dbos")
    for name in MODULES:
        if importlib.util.find_spec(f"django_dbos.{name}"):
            module = importlib.import_module(f"django_dbos.{name}")
            if hasattr(module, "__all__"):
                yield module


def section(module: ModuleType) -> Iterator[str]:
    yield f"## `{module.__name__}`\n"
    yield f"{inspect.getdoc(module)}\n"
    names = set(module.__all__)
    for name in module.__all__:
        if not is_twin(name, names) and not name.startswith("__"):
            yield from entry(name, getattr(module, name), names, depth=3)


def entry(name: str, value: Any, names: set[str], depth: int) -> Iterator[str]:
    """One name: heading, signature, docstring, and a class's public methods."""
    yield f"{'#' * depth} `{name}`\n"
    if signature := signature_of(value):
        yield f"```python\n{layout(name, signature)}\n```\n"
    if f"a{name}" in names:
        yield f"Async twin: `a{name}`.\n"
    if inspect.getdoc(value) and not is_plain_value(value):
        yield f"{inspect.getdoc(value)}\n"
    if inspect.isclass(value):
        yield from fields_of(value)
        members = {key: member for key, member in vars(value).items() if not key.startswith("_")}
        for key, member in members.items():
            function = getattr(member, "__func__", member)
            if isinstance(member, property) and member.__doc__:
                yield f"{'#' * (depth + 1)} `{key}`\n\n{inspect.getdoc(member)}\n"
            elif not is_twin(key, set(members)) and is_documented_function(function):
                yield from entry(key, function, set(members), depth + 1)


def fields_of(cls: type) -> Iterator[str]:
    """What a dataclass or a TypedDict has, with the docstrings below its fields."""
    if not (dataclasses.is_dataclass(cls) or is_typeddict(cls)):
        return
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    for statement, following in itertools.pairwise([*tree.body, ast.Pass()]):
        if isinstance(statement, ast.AnnAssign):
            line = f"* `{ast.unparse(statement.target)}: {ast.unparse(statement.annotation)}`"
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                line += ": " + " ".join(str(following.value.value).split())
            yield line
    yield ""


def is_twin(name: str, names: set[str]) -> bool:
    return name.startswith("a") and name[1:] in names


def is_plain_value(value: Any) -> bool:
    """Whether the docstring is only its type's, as with a constant."""
    return not callable(value) and inspect.getdoc(value) == inspect.getdoc(type(value))


def is_documented_function(value: Any) -> bool:
    return inspect.isroutine(value) and bool(value.__doc__)


def signature_of(value: Any) -> inspect.Signature | None:
    if not callable(value) or (inspect.isclass(value) and issubclass(value, BaseException)):
        return None
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    empty = inspect.Parameter.empty
    parameters = [
        one if one.annotation is empty else one.replace(annotation=Verbatim(one.annotation))
        for one in signature.parameters.values()
        if one.name != "self"
    ]
    answer = signature.return_annotation
    return signature.replace(
        parameters=parameters,
        return_annotation=answer if answer is empty else Verbatim(answer),
    )


def layout(name: str, signature: inspect.Signature) -> str:
    """On one line if it fits, else a parameter a line."""
    if len(line := f"{name}{signature}") <= WIDTH:
        return line
    answer = f"{signature}".rsplit(")", 1)[1]
    return "\n".join([f"{name}(", *(f"    {word}," for word in words(signature)), f"){answer}"])


def words(signature: inspect.Signature) -> Iterator[str]:
    """The parameters, with the marks of positional-only and keyword-only ones between them."""
    kinds = inspect.Parameter
    has_star = False
    parameters = list(signature.parameters.values())
    for index, parameter in enumerate(parameters):
        has_star |= parameter.kind is kinds.VAR_POSITIONAL
        if parameter.kind is kinds.KEYWORD_ONLY and not has_star:
            has_star = True
            yield "*"
        yield str(parameter)
        is_last = index + 1 == len(parameters)
        if parameter.kind is kinds.POSITIONAL_ONLY and (
            is_last or parameters[index + 1].kind is not kinds.POSITIONAL_ONLY
        ):
            yield "/"


if __name__ == "__main__":
    sys.exit(main())
