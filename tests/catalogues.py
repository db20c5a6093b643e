"""The texts of the package that are to be translated, and literals that nobody can translate.

Texts are found as `makemessages` finds them, but without gettext's programs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from django.utils.translation.template import templatize

import django_dbos

PACKAGE = Path(django_dbos.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)
TEMPLATES = sorted((PACKAGE / "templates").rglob("*.html"))

Text = tuple[str, str, str]
"""The context, the text, and its plural; "" for none."""

PLAIN = {"_", "gettext", "gettext_lazy", "gettext_noop"}
PLURAL = {"ngettext", "ngettext_lazy"}
CONTEXT = {"pgettext", "pgettext_lazy"}
FUNCTIONS = PLAIN | PLURAL | CONTEXT
# Their texts are marked elsewhere, by gettext_noop().
INDIRECT = {"reason.template"}

_STRING = r"""u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_IN_TEMPLATE = re.compile(rf"\b(n?)(?:gettext|_)\(\s*{_STRING}(?:,\s*{_STRING})?")
_WORDS = re.compile(r"[A-Za-z]{2,} [A-Za-z]{2,}|^[A-Z][a-z]+\.$")
# Texts for developers, not for the readers of a page: errors, log lines, names of steps.
UNSEEN = {"change page", "The message"}


def texts_in_python(source: str) -> set[Text]:
    """Return the texts of a module; fail for one that isn't a literal."""
    return {_text_of(call) for call in _translations(ast.parse(source)) if not _is_indirect(call)}


def texts_in_template(source: str) -> set[Text]:
    """Return the texts of a template."""
    found = set()
    for plural, first, second in _IN_TEMPLATE.findall(templatize(source)):
        found.add(("", ast.literal_eval(first), ast.literal_eval(second) if plural else ""))
    return found


def texts() -> set[Text]:
    """Return all texts of the package."""
    in_modules = (texts_in_python(path.read_text()) for path in MODULES)
    return set().union(*in_modules, *(texts_in_template(path.read_text()) for path in TEMPLATES))


def literals_in_python(source: str) -> list[str]:
    """Return the literals of a module that read like texts, but aren't translated."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        is_error = isinstance(node, ast.Raise) or _name_of(node).endswith("Error")
        if is_error or _is_log(node) or _name_of(node) in FUNCTIONS:
            skipped |= {id(inner) for inner in ast.walk(node)}
    found = [node for node in ast.walk(tree) if id(node) not in skipped]
    values = [node.value for node in found if isinstance(node, ast.Constant)]
    words = [value for value in values if isinstance(value, str) and _WORDS.search(value)]
    return [value for value in words if "<" not in value and value not in UNSEEN]


def literals_in_template(source: str) -> list[str]:
    """Return the words of a template, and of its attributes that people read, outside of tags."""
    source = re.sub(r"{% comment %}.*?{% endcomment %}", "", source, flags=re.DOTALL)
    source = re.sub(r"{% blocktrans.*?{% endblocktrans\w* %}", "", source, flags=re.DOTALL)
    parser = _Words()
    parser.feed(re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}", "", source, flags=re.DOTALL))
    return [text.strip() for text in parser.found if re.search("[A-Za-z]", text)]


def _translations(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name_of(node) in FUNCTIONS and node.args:
            yield node


def _is_indirect(call: ast.Call) -> bool:
    return ast.unparse(call.args[0]) in INDIRECT


def _text_of(call: ast.Call) -> Text:
    name, given = _name_of(call), [ast.literal_eval(found) for found in call.args[:1]]
    if name in PLAIN:
        return "", given[0], ""
    second = ast.literal_eval(call.args[1])
    return ("", given[0], second) if name in PLURAL else (given[0], second, "")


def _name_of(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _is_log(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger.")


class _Words(HTMLParser):
    """Collects the texts of a page, and those of attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            is_label = name == "value" and dict(attrs).get("type") == "submit"
            if is_label or name in ("title", "aria-label", "placeholder", "alt"):
                self.found.append(value or "")

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def words_of(html: str) -> set[str]:
    """Return the texts of a page, each as it stands between two tags or in an attribute."""
    parser = _Words()
    parser.feed(re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL))
    return {" ".join(text.split()) for text in parser.found}
