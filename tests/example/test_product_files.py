"""CSV files of products, and the mistakes that are reported of malformed ones."""

from __future__ import annotations

import pytest

from example_project.shop.product_files import MalformedFileError, read_products

HEADER = b"sku,name,price,stock\n"


def find_first_mistake(data: bytes) -> str:
    with pytest.raises(MalformedFileError) as caught:
        read_products(data)
    return str(caught.value)


def test_rows_are_read_as_they_are_stored() -> None:
    data = b'\xef\xbb\xbfSKU, Name ,price,stock\r\nA-1,"Caf\xc3\xa9, ""big""",12.5,03\r\n\r\n'

    assert read_products(data) == [("A-1", 'Café, "big"', "12.5", 3)]


@pytest.mark.parametrize(
    ("data", "mistake"),
    [
        (b"", "Line 1: The first line must be"),
        (HEADER, "Line 2: There are no products."),
        (b"sku;name;price;stock\n", "Line 1: The first line must be"),
        (b"sku,name,price\n", "Line 1: The first line must be"),
        (b"sku,name,price,stock,x\n", "Line 1: The first line must be"),
        (HEADER + b"A,a,1\n", "Line 2: 3 fields instead of 4."),
        (HEADER + b"A,a,1,1,1\n", "Line 2: 5 fields instead of 4."),
        (HEADER + b" ,a,1,1\n", "Line 2, sku: ' '"),
        (HEADER + b"A b,a,1,1\n", "Line 2, sku: 'A b'"),
        (HEADER + b"A,,1,1\n", "Line 2, name: ''"),
        (HEADER + b"A," + b"a" * 201 + b",1,1\n", "Line 2, name: 'aaa"),
        (HEADER + b"A,a,1.234,1\n", "Line 2, price: '1.234'"),
        (HEADER + b"A,a,0.00,1\n", "Line 2, price: '0.00'"),
        (HEADER + b"A,a,NaN,1\n", "Line 2, price: 'NaN'"),
        (HEADER + b"A,a,999999999,1\n", "Line 2, price: '999999999'"),
        (HEADER + b"A,a,1,1.5\n", "Line 2, stock: '1.5'"),
        (HEADER + b"A,a,1,1000001\n", "Line 2, stock: '1000001'"),
        (HEADER + b"A,a,1,-1\n", "Line 2, stock: '-1'"),
        (HEADER + b'A,"a\nb",1,1\nA,a,1,1\n', "Line 4, sku: 'A' is on line 2"),
        (HEADER + b'A,"a"b,1,1\n', "Line 2: Not CSV"),
        (HEADER + b'A,a,1,1\nB,b,"1,1\n', "Line 3: Not CSV"),
        (HEADER + b"A," + b"a" * 200_000 + b",1,1\n", "Line 2: Not CSV"),
        (HEADER + b"A,caf\xe9,1,1\n", "Line 2: The byte 0xe9 isn't UTF-8"),
        (HEADER + b"A,a\0,1,1\n", "Line 2, name: 'a\0'"),
        (HEADER + b"A,a,\0,1\n", "Line 2, price: '\0'"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_column(data: bytes, mistake: str) -> None:
    assert find_first_mistake(data).startswith(mistake)


def test_mistakes_before_the_unreadable_place_come_first() -> None:
    assert find_first_mistake(HEADER + b'A,a,x,1\nB,"b').startswith("Line 2, price")


def test_twenty_mistakes_are_enough() -> None:
    with pytest.raises(MalformedFileError) as caught:
        read_products(HEADER + b"A,a,x,1\n" * 50)

    assert len(caught.value.mistakes) == 20
