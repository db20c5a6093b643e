"""Parts of hostile requests: texts at the limits of types, columns and parsers, and random ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, quote_from_bytes

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

NUMBERS = (0, 1, -1, 2, 50, 2**31 - 1, 2**31, 9_999_999_999, 2**63 - 1, 2**63, -(2**63) - 1, 10**40)
# Python converts no number of more than 4,300 digits.
LONG_NUMBER = "9" * 5_000
TEXTS = (
    *map(str, NUMBERS),
    LONG_NUMBER,
    *(
        "",
        " ",
        "x",
        "x" * 255,
        "x" * 256,
        "x" * 5_000,
        "\0",
        "a\0b",
        "a\nb",
        "\r\n",
        "%",
        "%s",
        "%00",
    ),
    # Digits for isdigit() that int() refuses, and digits of other scripts.
    *("²", "٣", "1_0", "+1", " 1 ", "1e400", "0x1", "1.5", "-0", "NaN", "Infinity"),
    *("'", '"', "\\", "{}", "{0}", "%(x)s", "../..", "//evil.example", "javascript:1", "<b>"),
    *("\U0001f600", "e\u0301", "\u202e", "\ufeff", "\U0010ffff", "_5F", "_00", "_", "_zz", "_D8"),
    *("null", "true", "[]", "{}", '"x"', '["k",9999999999]', '["k"]', "[null,1]", "[1e400,1]"),
    *('["\\u0000",1]', '["\\ud800",1]', '[["k"],1]', '{"a":1}', "[" * 5_000, '["k",1,2]', "[NaN]"),
    *("2026-11-28", "0001-01-01", "9999-12-31", "2026-02-30", "2026-11-28T00:00:00+23:59", "T"),
    *("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2026-11-28,", ",x", "10:00"),
    *("-1", "now", "12", "a" * 8 + "_1", "0" * 8 + "_0000000000", "0" * 8 + "_0000000001_AAAA"),
    *("*", '"x"', 'W/"x"', ",", "W/", "Bearer", "Bearer x", "Bearer \u00e9", "a:b:c"),
)
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
TEXT = st.sampled_from(TEXTS) | st.integers().map(str) | ANY_TEXT
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.sampled_from(TEXTS),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=6,
)
# As it is sent: also bytes that are no UTF-8, and escapes that are none.
QUOTED = (
    TEXT.map(lambda text: quote(text, safe=""))
    | st.binary(max_size=8).map(quote_from_bytes)
    | st.sampled_from(["%ff", "%", "%zz", "%ED%A0%80", "%00", "+", ";", "&", "=", "#"])
)
METHODS = st.sampled_from(
    ["GET"] * 5 + ["POST"] * 3 + ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]
)


T = TypeVar("T")


def mostly(usual: st.SearchStrategy[T], other: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Return a strategy for the usual values, and for the others one time in eight."""
    return st.integers(0, 7).flatmap(lambda number: usual if number else other)


def queries(
    names: Sequence[str], values: st.SearchStrategy[str] = QUOTED
) -> st.SearchStrategy[str]:
    """Return query strings with known names, some given twice, and now and then an unknown one."""
    pair = st.tuples(st.sampled_from(names), values).map("=".join)
    unknown = st.tuples(QUOTED, QUOTED).map("=".join)
    known = st.lists(pair, max_size=3).map("&".join)
    return mostly(known, st.tuples(known, unknown).map("&".join))


def fields(names: Sequence[str], values: st.SearchStrategy[Any] = TEXT) -> st.SearchStrategy[Any]:
    """Return the fields of a form, a list of values each."""
    name = mostly(st.sampled_from(names), TEXT)
    return st.dictionaries(name, st.lists(values, min_size=1, max_size=2), max_size=5)


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Return the settings of a test with so many examples: the same each time, and no files."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
