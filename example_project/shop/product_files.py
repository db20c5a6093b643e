"""Reads CSV files of products, and reports each mistake with its line and column."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from decimal import Decimal

from django import forms
from django.core.exceptions import ValidationError

# Each column is checked by a form's field. A form for each row would take ten times as long.
COLUMNS: dict[str, forms.Field] = {
    "sku": forms.RegexField(
        r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,39}\Z",
        error_messages={"invalid": "Use up to 40 letters, digits, '.', '_' and '-'."},
    ),
    "name": forms.CharField(max_length=200),
    "price": forms.DecimalField(min_value=Decimal("0.01"), max_digits=10, decimal_places=2),
    "stock": forms.IntegerField(min_value=0, max_value=1_000_000),
}
MAX_MISTAKES = 20

# As JSON stores it: sku, name, price, stock.
Row = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A mistake in a file; `line` counts from 1, and `column` is empty where no column is meant."""

    line: int
    column: str = ""
    message: str

    def __str__(self) -> str:
        column = f", {self.column}" if self.column else ""
        return f"Line {self.line}{column}: {self.message}"


class MalformedFileError(Exception):
    """The file can't be imported; `mistakes` are the first ones found."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__(str(mistakes[0]))
        self.mistakes = mistakes[:MAX_MISTAKES]


def read_products(data: bytes) -> list[Row]:
    """Return the rows of the file; raise MalformedFileError if there is any mistake."""
    reader = csv.reader(io.StringIO(decode(data), newline=""), strict=True)
    rows: list[Row] = []
    mistakes: list[Mistake] = []
    line_of_sku: dict[str, int] = {}
    line = 1
    try:
        check_header(next(reader, []))
        line = reader.line_num + 1
        for fields in filter(None, reader):
            try:
                rows.append(read_row(line, fields))
            except MalformedFileError as error:
                mistakes += error.mistakes
            else:
                sku = rows[-1][0]
                if (first := line_of_sku.setdefault(sku, line)) != line:
                    message = f"'{sku}' is on line {first} already."
                    mistakes.append(Mistake(line=line, column="sku", message=message))
            line = reader.line_num + 1
    except csv.Error as error:
        mistakes.append(Mistake(line=line, message=f"Not CSV: {error}."))
    if not mistakes and not rows:
        mistakes.append(Mistake(line=2, message="There are no products."))
    if mistakes:
        raise MalformedFileError(*mistakes)
    return rows


def decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"The byte 0x{data[error.start]:02x} isn't UTF-8."
        raise MalformedFileError(Mistake(line=line, message=message)) from error


def check_header(header: list[str]) -> None:
    names = ",".join(name.strip().lower() for name in header)
    if names != ",".join(COLUMNS):
        message = f"The first line must be '{','.join(COLUMNS)}', not '{names[:100]}'."
        raise MalformedFileError(Mistake(line=1, message=message))


def read_row(line: int, fields: list[str]) -> Row:
    if len(fields) != len(COLUMNS):
        message = f"{len(fields)} fields instead of {len(COLUMNS)}."
        raise MalformedFileError(Mistake(line=line, message=message))
    values, mistakes = {}, []
    for (column, field), text in zip(COLUMNS.items(), fields, strict=True):
        try:
            values[column] = field.clean(text.strip())
        except ValidationError as error:
            message = f"'{text[:40]}': {' '.join(error.messages)}"
            mistakes.append(Mistake(line=line, column=column, message=message))
    if mistakes:
        raise MalformedFileError(*mistakes)
    return values["sku"], values["name"], f"{values['price']:f}", values["stock"]
