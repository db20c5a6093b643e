"""Instances of pydantic models and attrs classes come back unchanged, or are refused."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import subprocess
import sys
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from django_dbos import exceptions
from django_dbos.core.values.json import JSONSerializer

attrs = pytest.importorskip("attrs")
pydantic = pytest.importorskip("pydantic")

serializer = JSONSerializer()


class Size(enum.Enum):
    SMALL = "s"


class Item(pydantic.BaseModel):
    sku: str
    price: Decimal = Decimal("1.00")
    size: Size | None = None


class Gift(Item):
    wrapped: bool = True


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    items: list[Item]
    at: dt.datetime
    anything: Any = None
    number: int = pydantic.Field(default=0, alias="orderNumber")
    page: pydantic.HttpUrl | None = None
    made: str = pydantic.Field(default_factory=lambda: "by default")

    @functools.cached_property
    def total(self) -> Decimal:
        return sum((item.price for item in self.items), Decimal(0))


class Hashes(pydantic.BaseModel):
    secret: str

    @pydantic.field_validator("secret")
    @classmethod
    def hashed(cls, value: str) -> str:
        return f"hash of {value}"


class Private(pydantic.BaseModel):
    number: int
    _note: str = "none"


class Below(pydantic.BaseModel):
    limit: ClassVar[int] = 10
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def is_below(cls, value: int) -> int:
        if value >= cls.limit:
            raise ValueError("too large")
        return value


@attrs.define
class Parcel:
    weight: float
    tags: set[str] = attrs.field(factory=set)
    label: str = attrs.field(default=attrs.Factory(lambda self: "a label", takes_self=True))


@attrs.frozen(slots=False)
class Route:
    stops: tuple[Parcel, ...]
    count: int = attrs.field(default=1, validator=attrs.validators.ge(0))

    def __attrs_post_init__(self) -> None:
        assert not hasattr(self, "count") or self.count < 100, "It isn't run when it is read."


@attrs.define(slots=False)
class Open:
    number: int


def round_trip(value: Any) -> Any:
    return serializer.loads(serializer.dumps(value))


NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
ORDER = Order.model_validate(
    {
        "items": [Item(sku="pan", size=Size.SMALL), Gift(sku="pot", price="2.50")],
        "at": NOW,
        "anything": ({1, 2}, Item(sku="lid")),
        "orderNumber": 7,
        "page": "https://example.org/pans",
        "extra": Decimal("0.1"),
    }
)


@pytest.mark.parametrize(
    "value",
    [
        Item(sku="pan"),
        ORDER,
        [Private(number=1)],
        Parcel(1.5, {"a"}),
        {"route": Route((Parcel(1.0), Parcel(2.0, label="x")), 3)},
    ],
)
def test_instances_come_back_unchanged(value: Any) -> None:
    found = round_trip(value)

    assert found == value
    assert type(found) is type(value)


def test_nested_values_keep_their_classes() -> None:
    found = round_trip(ORDER)

    assert [type(item) for item in found.items] == [Item, Gift]
    assert found.anything == ({1, 2}, Item(sku="lid"))
    assert type(found.page) is pydantic.HttpUrl
    assert found.model_extra == {"extra": Decimal("0.1")}
    assert (found.number, found.total) == (7, Decimal("3.50"))


def test_unset_fields_stay_unset() -> None:
    found = round_trip(Item(sku="pan", size=None))

    assert found.model_dump(exclude_unset=True) == {"sku": "pan", "size": None}


def test_a_recorded_default_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    text = serializer.dumps(ORDER)
    monkeypatch.setattr(Order.model_fields["made"], "default_factory", lambda: "anew")

    assert serializer.loads(text).made == "by default"


def test_browsers_are_shown_the_fields() -> None:
    assert serializer.to_plain(serializer.dumps(Item(sku="pan", size=Size.SMALL))) == {
        "sku": "pan",
        "price": "1.00",
        "size": "s",
    }
    assert serializer.to_plain(serializer.dumps(Parcel(1.0, {"a"}, "x"))) == {
        "weight": 1.0,
        "tags": ["a"],
        "label": "x",
    }
    assert serializer.to_plain(serializer.dumps(ORDER))["page"] == "https://example.org/pans"


def noted() -> Private:
    value = Private(number=1)
    value._note = "something"
    return value


def with_an_attribute() -> Open:
    value = Open(1)
    value.other = 2  # type: ignore[attr-defined]
    return value


class Undecorated(Parcel):
    pass


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Hashes(secret="x"), "would come back as another one"),
        (noted(), "would come back as another one"),
        (Item.model_construct(sku=7), "couldn't be read back"),
        (Item.model_construct(), "couldn't be read back"),
        (pydantic.create_model("Local", number=(int, 1))(), "can't be found again by its name"),
        (with_an_attribute(), "'other' isn't a field"),
        (Undecorated(1.0), "isn't registered"),
        (attrs.make_class("Made", ["x"])(1), "can't be found again by its name"),
    ],
)
def test_a_value_that_would_not_come_back_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(exceptions.SerializationError, match=reason):
        serializer.dumps([value])


def test_a_secret_is_not_stored() -> None:
    with pytest.raises(exceptions.SerializationError, match="SecretStr isn't registered"):
        serializer.dumps(pydantic.SecretStr("hidden"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"$pydantic:tests.core.test_foreign_codecs:Below":[{"number":10}]}', "too large"),
        ('{"$pydantic:tests.core.test_foreign_codecs:Below":[{}]}', "Field required"),
        ('{"$pydantic:tests.core.test_foreign_codecs:Below":[{"number":1,"old":2}]}', "'old'"),
        ('{"$pydantic:tests.core.test_foreign_codecs:Parcel":[{"number":1}]}', "isn't one"),
        ('{"$pydantic:os:environ":[{}]}', "can't be found"),
        ('{"$attrs:tests.core.test_foreign_codecs:Route":{"stops":[],"count":-1}}', "must be >= 0"),
        ('{"$attrs:tests.core.test_foreign_codecs:Parcel":{"weight":1,"old":2}}', "'old'"),
        ('{"$attrs:tests.core.test_foreign_codecs:Parcel":{}}', "'weight'"),
        ('{"$attrs:tests.core.test_foreign_codecs:Item":{}}', "isn't one"),
        ('{"$url:tests.core.test_foreign_codecs:Item":"x"}', "isn't one"),
    ],
)
def test_an_invalid_instance_is_not_created(text: str, reason: str) -> None:
    with pytest.raises(exceptions.UnknownTypeInHistory, match=reason):
        serializer.loads(text)


def test_new_fields_have_their_defaults() -> None:
    parcel = serializer.loads('{"$attrs:tests.core.test_foreign_codecs:Parcel":{"weight":1.0}}')
    item = serializer.loads('{"$pydantic:tests.core.test_foreign_codecs:Item":[{"sku":"pan"}]}')

    assert parcel == Parcel(1.0)
    assert parcel.label == "a label"
    assert item == Item(sku="pan")


def test_the_libraries_are_never_imported() -> None:
    code = (
        "import sys\n"
        "from django_dbos.core.values.json import JSONSerializer\n"
        "serializer = JSONSerializer()\n"
        "class Own: pass\n"
        "try: serializer.dumps(Own())\n"
        "except Exception as error: assert 'isn' in str(error), error\n"
        "assert not {'pydantic', 'attr', 'attrs'} & sys.modules.keys()\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
