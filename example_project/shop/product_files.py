"""Reads CSV files of products, and says what is wrong with them and where."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = ("sku", "name", "price", "stock")
MAX_MISTAKES = 20
MAX_STOCK = 1_000_000
SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
PRICE = re.compile(r"[0-9]{1,8}(\.[0-9]{1,2})?")
STOCK = re.compile(r"[0-9]{1,7}")
# A field of well-formed CSV and what ends it.
FIELD = re.compile(r'(?:"(?:[^"]|"")*+"|(?!")[^,\r\n]*+)(,|\r?\n|\Z)')

# As JSON stores it: sku, name, price, stock.
Row = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """`line` and `column` count from 1; `column` is the field's place in its row."""

    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        field = f" ({self.field})" if self.field else ""
        return f"Line {self.line}, column {self.column}{field}: {self.message}"


class MalformedFileError(Exception):
    """The file can't be imported; `mistakes` are the first ones found."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(str(mistakes[0]))
        self.mistakes = mistakes


def read_products(data: bytes) -> list[Row]:
    """The rows of the file, all of them good, or MalformedFileError."""
    mistakes: list[Mistake] = []
    rows: list[Row] = []
    line_of_sku: dict[str, int] = {}
    try:
        for line, fields in read_records(decode(data)):
            found = list(find_mistakes(line, fields))
            if not found and (first := line_of_sku.setdefault(fields[0], line)) != line:
                found = [mistake(line, 1, f"'{fields[0]}' is on line {first} already.")]
            mistakes += found
            if not mistakes:
                sku, name, price, stock = fields
                rows.append((sku, name, price, int(stock)))
    except MalformedFileError as unreadable:
        mistakes += unreadable.mistakes
    if not mistakes and not rows:
        mistakes.append(Mistake(line=2, column=1, field="", message="There are no products."))
    if mistakes:
        raise MalformedFileError(mistakes[:MAX_MISTAKES])
    return rows


def decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        message = f"The byte 0x{data[error.start]:02x} isn't UTF-8"
        raise bad_character(before, message) from error
    if (position := text.find("\0")) != -1:
        raise bad_character(text[:position], "A NUL character isn't text")
    return text


def bad_character(before: str, message: str) -> MalformedFileError:
    line = before[before.rfind("\n") + 1 :]
    return malformed(
        before.count("\n") + 1, line.count(",") + 1, f"{message} (character {len(line) + 1})."
    )


def malformed(line: int, column: int, message: str) -> MalformedFileError:
    return MalformedFileError([Mistake(line=line, column=column, field="", message=message)])


def read_records(text: str) -> Iterator[tuple[int, list[str]]]:
    """The records below the header with the line each begins on; empty lines are skipped."""
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        check_header(next(reader, []))
        while True:
            line = reader.line_num + 1
            record = next(reader)
            if record:
                yield line, [field.strip() for field in record]
    except StopIteration:
        return
    except csv.Error as error:
        column = bad_column("".join(lines[line - 1 :]))
        raise malformed(line, column, f"Not CSV: {error}.") from error


def bad_column(text: str) -> int:
    """Which field of the record that `text` begins with csv couldn't read."""
    column, position = 1, 0
    while field := FIELD.match(text, position):
        if field[1] != "," or len(field[0]) > csv.field_size_limit():
            return column
        column, position = column + 1, field.end()
    return column


def check_header(header: list[str]) -> None:
    names = [name.strip().lower() for name in header]
    if tuple(names) == COLUMNS:
        return
    pairs = enumerate(zip_longest(names, COLUMNS), start=1)
    column = next(number for number, (name, wanted) in pairs if name != wanted)
    message = f"The first line must be '{','.join(COLUMNS)}', not '{','.join(names)[:100]}'."
    raise malformed(1, column, message)


def find_mistakes(line: int, fields: list[str]) -> Iterator[Mistake]:
    if len(fields) != len(COLUMNS):
        column = min(len(fields), len(COLUMNS)) + 1
        message = f"{len(fields)} fields instead of {len(COLUMNS)}."
        yield Mistake(line=line, column=column, field="", message=message)
        return
    sku, name, price, stock = fields
    if not SKU.fullmatch(sku):
        yield mistake(line, 1, f"'{shown(sku)}' isn't a SKU: letters, digits, '.', '_' and '-'.")
    if not 1 <= len(name) <= 200:
        yield mistake(line, 2, f"A name has 1 to 200 characters, not {len(name)}.")
    if not PRICE.fullmatch(price) or Decimal(price) == 0:
        yield mistake(line, 3, f"'{shown(price)}' isn't a price such as 12.50.")
    if not STOCK.fullmatch(stock) or int(stock) > MAX_STOCK:
        yield mistake(line, 4, f"'{shown(stock)}' isn't a whole number up to {MAX_STOCK:,}.")


def mistake(line: int, column: int, message: str) -> Mistake:
    return Mistake(line=line, column=column, field=COLUMNS[column - 1], message=message)


def shown(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:40]}…"
