"""The JSON serializer: values come back with their types, or are refused with a path."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import subprocess
import sys
import types
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, namedtuple
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum, auto
from fractions import Fraction
from typing import Any, Generic, NamedTuple, TypeVar

import pytest

from django_dbos import exceptions
from django_dbos.core.values.json import MAX_DEPTH, JSONSerializer, find_loaded_class

serializer = JSONSerializer()
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
T = TypeVar("T")


class Colour(Enum):
    RED = (255, 0, 0)
    GREEN = "green"
    CRIMSON = (255, 0, 0)  # noqa: PIE796


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class State(StrEnum):
    PAID = "paid"


class Access(Flag):
    READ = auto()
    WRITE = auto()


Point = namedtuple("Point", "x y")


class Span(NamedTuple):
    start: dt.date
    days: int = 7


class LabelledPoint(namedtuple("LabelledPoint", "x y")):  # noqa: SLOT002
    pass


@dataclasses.dataclass
class Line:
    price: Decimal
    quantity: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    number: int
    lines: list[Line]
    total: Decimal = dataclasses.field(init=False, default=Decimal(0))

    class Kind(Enum):
        GIFT = "gift"


@dataclasses.dataclass
class Loud:
    """Counts the calls of its __init__."""

    name: str
    calls: int = 0

    def __post_init__(self) -> None:
        self.calls += 1

    @functools.cached_property
    def shouted(self) -> str:
        return self.name.upper()


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


@dataclasses.dataclass
class Grown:
    """Has fields that a recorded instance may lack."""

    name: str
    tags: list[str] = dataclasses.field(default_factory=list)
    version: int = dataclasses.field(init=False, default=2)


@dataclasses.dataclass
class Leaky:
    name: str

    def __post_init__(self) -> None:
        self.connection = object()


@dataclasses.dataclass
class Unset:
    name: str = dataclasses.field(init=False)


@dataclasses.dataclass
class DictLike(dict):  # type: ignore[type-arg]
    name: str


class NotADataclassItself(Line):
    pass


class MyInt(int):
    pass


class MyStr(str):
    __slots__ = ()


class MyFloat(float):
    pass


class MyList(list):  # type: ignore[type-arg]
    pass


class MyDict(dict):  # type: ignore[type-arg]
    pass


class MyDatetime(dt.datetime):
    pass


class OtherZone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def dst(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def tzname(self, when: dt.datetime | None) -> str:
        return "other"


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class GiftMoney(Money):
    pass


PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    10**4000,
    0.1,
    -0.0,
    1e308,
    5e-324,
    "",
    "zażółć 😀",
    'quo"te \\ back',
    "NUL \0 and \x1f and \u2028",
    '{"$decimal": "1"}',
    [],
    {},
    [[], {}, [{}]],
    {"": 1, "a.b": [1, 2.5, None, True, "x"]},
    {"$a": 1, "$b": 2},
    {"a": {"$b": 1, "c": 2}},
]

TAGGED: list[Any] = [
    dt.datetime(2024, 2, 29, 12, 30, 15, 123456),
    dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
    dt.datetime(2024, 2, 29, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=-3, seconds=7))),
    dt.datetime(2024, 2, 29, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
    dt.datetime(2024, 7, 1, 12, tzinfo=BERLIN),
    dt.datetime(2024, 10, 27, 2, 30, fold=0, tzinfo=BERLIN),
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
    dt.datetime(2024, 10, 27, 2, 30, fold=1),
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=dt.UTC),
    dt.datetime(1, 1, 1),
    dt.datetime.max,
    dt.date(2024, 2, 29),
    dt.time(12, 30, 15, 5),
    dt.time(12, 30, tzinfo=dt.UTC),
    dt.time(12, 30, tzinfo=BERLIN, fold=1),
    dt.timedelta(days=-1, seconds=3, microseconds=5),
    dt.timedelta.max,
    Decimal("1.50"),
    Decimal("-0"),
    Decimal("1E+30"),
    Decimal("Infinity"),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    b"",
    bytes(range(256)),
    (),
    (1, (2, [3, (4,)])),
    set(),
    {1, "a", (2, 3), None},
    frozenset({1, frozenset({2})}),
    {1: "one", "1": "another", (1, 2): "pair", None: 0, 2.5: 1, 7: 2},
    {dt.date(2024, 1, 1): {State.PAID: 1}},
    {"$decimal": "1.50"},
    {"$": 1},
    {"$dict": [[1, 2]]},
    {"$enum:os:path": ["x"]},
    {"$a": {"$b": {"$c": Decimal(1)}}},
    Colour.RED,
    Colour.GREEN,
    Colour.CRIMSON,
    Level.HIGH,
    State.PAID,
    Order.Kind.GIFT,
    Access.READ,
    Access.READ | Access.WRITE,
    Access(0),
    Point(1, (2, 3)),
    Span(dt.date(2024, 1, 1)),
    LabelledPoint(1, 2),
    Line(Decimal("9.99")),
    Order(number=5, lines=[Line(Decimal(1)), Line(Decimal(2), 3)]),
    Box(content=[1, (2,)]),
    {"mixed": [1, {"deep": (Decimal(1), {"er": {dt.date(2024, 1, 1)}})}]},
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:40])
def test_plain_json_is_written_as_plain_json(value: Any) -> None:
    text = serializer.dumps(value)

    assert json.loads(text) == value
    assert "$dict" not in text
    assert_same(serializer.loads(text), value)


@pytest.mark.parametrize("value", TAGGED, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"key": [x]}, lambda x: (x, {"$a": x})])
def test_a_value_of_a_registered_type_comes_back_unchanged(value: Any, wrap: Any) -> None:
    text = serializer.dumps(wrap(value))

    json.loads(text)
    text.encode()
    assert "\0" not in text
    assert_same(serializer.loads(text), wrap(value))


@pytest.mark.parametrize("value", [*PLAIN, *TAGGED], ids=lambda value: repr(value)[:40])
def test_writing_a_value_again_gives_the_same_text(value: Any) -> None:
    text = serializer.dumps(value)

    assert serializer.dumps(serializer.loads(text)) == text


def test_a_zone_and_a_fold_come_back() -> None:
    value = dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)

    loaded = serializer.loads(serializer.dumps(value))

    assert loaded.tzinfo is BERLIN
    assert loaded.fold == 1
    assert loaded.utcoffset() == value.utcoffset()


def test_an_enum_member_comes_back_as_itself() -> None:
    assert serializer.loads(serializer.dumps(Colour.CRIMSON)) is Colour.RED


def test_a_dataclass_is_rebuilt_without_calling_it() -> None:
    value = Loud("x")
    assert value.shouted == "X"

    loaded = serializer.loads(serializer.dumps(value))

    assert loaded.calls == 1
    assert loaded == value
    assert loaded.shouted == "X"


def test_a_field_that_only_the_class_has_comes_back() -> None:
    value = Grown("x")

    assert serializer.loads(serializer.dumps(value)) == value


def test_the_alias_of_a_generic_dataclass_is_left_out() -> None:
    value = Box[int](content=5)

    assert serializer.loads(serializer.dumps(value)) == value


def test_equal_sets_give_equal_texts_in_every_process() -> None:
    program = (
        "from django_dbos.core.values.json import JSONSerializer\n"
        "print(JSONSerializer().dumps({'a', 'b', 'c', 'd', ('e', 1)}))"
    )

    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(texts) == 1


def test_a_list_that_occurs_twice_is_not_a_cycle() -> None:
    shared = [1]

    assert serializer.loads(serializer.dumps([shared, shared])) == [[1], [1]]


# Refusals


def a_cycle() -> list[Any]:
    items: list[Any] = []
    items.append({"again": items, "and again": items})
    return items


def a_tuple_in_a_cycle() -> list[Any]:
    items: list[Any] = []
    items.append((items, items))
    return items


def nested(depth: int, wrap: Any = lambda inner: [inner]) -> Any:
    value: Any = None
    for _ in range(depth):
        value = wrap(value)
    return value


def a_local_class_instance() -> Any:
    @dataclasses.dataclass
    class Local:
        x: int

    return Local(1)


def an_undeclared_member() -> Any:
    stray = object.__new__(Colour)
    stray._name_, stray._value_ = "STRAY", 5
    return stray


REFUSED: list[tuple[Any, str]] = [
    (float("nan"), "nan isn't a JSON number. Use None or a str for it."),
    ({"items": [1, 2, 3, {"price": float("inf")}]}, "at $.items[3].price, inf isn't a JSON number"),
    ([(1, {"a b": [float("nan")]})], "at $[0][1]['a b'][0], nan isn't a JSON number"),
    ({(1, 2): object()}, "at $[(1, 2)], type object isn't registered"),
    ({object: 1}, "type type isn't registered"),
    ({"a": {1, frozenset({Fraction(1)})}}, "type fractions.Fraction isn't registered"),
    (Order(number=1, lines=[Line(1j)]), "at $.lines[0].price, type complex isn't registered"),  # type: ignore[arg-type]
    ("\ud800", r"the str '\ud800' contains a lone surrogate. Record bytes instead."),
    ({"name": "a\udfffb"}, r"at $.name, the str 'a\udfffb' contains a lone surrogate"),
    ({"\udfff": 1}, "contains a lone surrogate"),
    ({"x": 10**5000}, "at $.x, the int has too many digits"),
    (MyInt(5), "MyInt is a subclass of int that isn't registered"),
    (MyStr("x"), "MyStr is a subclass of str that isn't registered"),
    ({MyStr("x"): 1}, "MyStr is a subclass of str that isn't registered"),
    (MyFloat(5), "MyFloat is a subclass of float that isn't registered"),
    (MyList(), "MyList is a subclass of list that isn't registered"),
    (MyDict(), "MyDict is a subclass of dict that isn't registered"),
    (OrderedDict(a=1), "collections.OrderedDict is a subclass of dict that isn't registered"),
    (defaultdict(list), "collections.defaultdict is a subclass of dict that isn't registered"),
    (Counter("aab"), "collections.Counter is a subclass of dict that isn't registered"),
    (MyDatetime(2024, 1, 1), "MyDatetime is a subclass of datetime.datetime that isn't registered"),
    (bytearray(b"x"), "type bytearray isn't registered"),
    (memoryview(b"x"), "type memoryview isn't registered"),
    (range(3), "type range isn't registered"),
    ({"a": 1}.keys(), "type dict_keys isn't registered"),
    ((i for i in [1]), "type generator isn't registered. Convert it to a list."),
    (len, "type builtin_function_or_method isn't registered"),
    (types.SimpleNamespace(a=1), "type types.SimpleNamespace isn't registered"),
    (sys.version_info, "type sys.version_info is a subclass of tuple that isn't registered"),
    (dt.datetime(2024, 1, 1, tzinfo=OtherZone()), "its time zone is a"),
    (Leaky("x"), "its attribute 'connection' isn't a field of its class"),
    (Unset(), "its field 'name' has no value"),
    (DictLike("x"), "its class derives from a built-in type"),
    (NotADataclassItself(Decimal(1)), "NotADataclassItself isn't registered"),
    (a_local_class_instance(), "can't be found again by its name. Define it at the top level"),
    (an_undeclared_member(), "it isn't among the members of its class, as 'STRAY' should be"),
    (a_cycle(), "it is nested more than 100 deep, or contains itself"),
    (a_tuple_in_a_cycle(), "it is nested more than 100 deep, or contains itself"),
    (nested(MAX_DEPTH + 1), "it is nested more than 100 deep, or contains itself"),
    (nested(100_000), "it is nested more than 100 deep, or contains itself"),
    (nested(100_000, lambda inner: (inner,)), "it is nested more than 100 deep"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=lambda value: repr(type(value)))
def test_a_value_that_would_not_come_back_is_refused(value: Any, message: str) -> None:
    with pytest.raises(exceptions.SerializationError) as caught:
        serializer.dumps(value)

    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_coroutine_is_refused_with_a_hint_about_await() -> None:
    async def answer() -> int:
        return 42

    coroutine = answer()
    with pytest.raises(exceptions.SerializationError, match="Is an await missing"):
        serializer.dumps({"answer": coroutine})
    coroutine.close()


def test_a_named_tuple_with_attributes_of_its_own_is_refused() -> None:
    value = LabelledPoint(1, 2)
    value.label = "home"  # type: ignore[attr-defined]

    with pytest.raises(exceptions.SerializationError, match="attributes besides its fields"):
        serializer.dumps(value)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: [inner],
        lambda inner: {"key": inner},
        lambda inner: (inner,),
        lambda inner: {1: inner},
        lambda inner: {"$key": inner},
        lambda inner: Box(inner),
        lambda inner: Point(inner, 1),
    ],
)
def test_a_value_of_the_maximum_depth_comes_back(wrap: Any) -> None:
    value = nested(MAX_DEPTH, wrap)

    assert serializer.dumps(serializer.loads(serializer.dumps(value))) == serializer.dumps(value)


def test_a_value_is_refused_when_the_stack_is_full() -> None:
    def dumps_at_the_end_of_the_stack() -> None:
        try:
            dumps_at_the_end_of_the_stack()
        except RecursionError:
            serializer.dumps(nested(60, lambda inner: (inner,)))

    with pytest.raises(exceptions.SerializationError, match="nested more than"):
        dumps_at_the_end_of_the_stack()


def test_a_class_of_a_script_is_refused() -> None:
    """Its module is "__main__", which is another script in another process."""
    program = (
        "import enum\n"
        "from django_dbos.core.values.json import JSONSerializer\n"
        "class E(enum.Enum):\n    A = 1\n"
        "JSONSerializer().dumps(E.A)"
    )

    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "can't be found again by its name" in result.stderr


# Reading text of other programs and of older releases


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can't be read"),
        ("{", "can't be read"),
        ('{"$decimal":"abc"}', "can't be read"),
        ('{"$datetime":5}', "can't be read"),
        ('{"$bytes":"???"}', "can't be read"),
        ('{"$dict":[1,2]}', "can't be read"),
        ('{"$dataclass:tests.core.test_serialization:DictLike":{"name":1}}', "can't be read"),
        ("[" * 200_000, "can't be read"),
    ],
)
def test_a_malformed_text_is_an_error(text: str, message: str) -> None:
    with pytest.raises(exceptions.SerializationError, match=message) as caught:
        serializer.loads(text)

    assert len(str(caught.value)) < 500


HERE = __name__


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"$money":5}', "type 'money' was recorded, but no such type is registered"),
        ('{"$ref":"#/definitions/a"}', "type 'ref' was recorded"),
        ('{"$decimal:os:path":5}', None),
        ('{"$enum:no.such.module:E":["A"]}', "'no.such.module:E' was recorded, but can't be found"),
        ('{"$enum:enum":["A"]}', "'enum' was recorded, but can't be found"),
        (f'{{"$enum:{HERE}:Gone":["A"]}}', "but can't be found. Import its module"),
        (f'{{"$enum:{HERE}:serializer.dumps":["A"]}}', "but can't be found"),
        (f'{{"$enum:{HERE}:Line":["A"]}}', "was recorded as enum, but isn't one"),
        (f'{{"$dataclass:{HERE}:Money":{{}}}}', "was recorded as dataclass, but isn't one"),
        (f'{{"$exception:{HERE}:Money":{{}}}}', "was recorded as exception, but isn't one"),
        ('{"$enum:builtins:eval":["1"]}', "can't be found"),
        ('{"$namedtuple:subprocess:Popen":{"args":["true"]}}', "but isn't one"),
        (f'{{"$enum:{HERE}:Colour":["BLUE","blue"]}}', "had a member 'BLUE' when it was recorded"),
        (f'{{"$dataclass:{HERE}:Line":{{"quantity":1}}}}', "have changed .* \\('price'\\)"),
        (f'{{"$dataclass:{HERE}:Line":{{"price":1,"old":2}}}}', "have changed .* \\('old'\\)"),
        (f'{{"$namedtuple:{HERE}:Point":{{"x":1}}}}', "have changed .* \\('y'\\)"),
        ('{"$datetime":["2024-01-01T00:00:00",0,"Mars/Olympus"]}', "Time zone 'Mars/Olympus'"),
    ],
)
def test_an_unknown_type_has_its_own_error(text: str, message: str | None) -> None:
    if message is None:
        assert serializer.loads(text) == Decimal(5)
        return

    with pytest.raises(exceptions.UnknownTypeInHistory, match=message):
        serializer.loads(text)


def test_a_new_field_has_its_default() -> None:
    line = serializer.loads(f'{{"$dataclass:{HERE}:Line":{{"price":5}}}}')
    span = serializer.loads(f'{{"$namedtuple:{HERE}:Span":{{"start":1}}}}')
    grown = serializer.loads(f'{{"$dataclass:{HERE}:Grown":{{"name":"x"}}}}')

    assert line == Line(5, 1)  # type: ignore[arg-type]
    assert grown == Grown("x")
    assert span == Span(1, 7)  # type: ignore[arg-type]


def test_finding_a_class_imports_nothing_and_runs_nothing() -> None:
    class Trap(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("ran")

    sys.modules["a_trap"] = Trap("a_trap")
    try:
        assert find_loaded_class("a_trap:Anything") is None
        assert find_loaded_class("antigravity:Anything") is None
        assert "antigravity" not in sys.modules
    finally:
        del sys.modules["a_trap"]


# Types that users register


def money_serializer(**options: Any) -> JSONSerializer:
    own = JSONSerializer()
    own.register(Money, "money", lambda money: money.cents, Money, **options)
    return own


def test_a_type_that_a_user_registers_comes_back() -> None:
    own = money_serializer()

    text = own.dumps([Money(5)])

    assert text == '[{"$money":5}]'
    assert own.loads(text) == [Money(5)]
    assert own.to_plain(text) == [5]


def test_a_registration_applies_to_the_exact_type() -> None:
    with pytest.raises(exceptions.SerializationError, match="GiftMoney is a subclass of"):
        money_serializer().dumps(GiftMoney(5))


def test_a_registration_may_include_subclasses() -> None:
    own = JSONSerializer()
    kinds = {"Money": Money, "GiftMoney": GiftMoney}
    own.register(
        Money,
        "money",
        lambda money: (type(money).__name__, money.cents),
        lambda payload: kinds[payload[0]](payload[1]),
        subclasses=True,
        plain=lambda payload: f"{payload[1]} cents",
    )

    text = own.dumps([GiftMoney(5), Money(6)])

    assert own.loads(text) == [GiftMoney(5), Money(6)]
    assert own.to_plain(text) == ["5 cents", "6 cents"]


def test_an_encoder_that_fails_is_named() -> None:
    with pytest.raises(exceptions.SerializationError) as caught:
        money_serializer().dumps({"price": Money.__new__(Money)})

    assert "at $.price, this" in str(caught.value)
    assert "its encoder raised AttributeError" in str(caught.value)
    assert isinstance(caught.value.__cause__, AttributeError)


def test_an_encoder_that_returns_its_own_type_is_a_refusal() -> None:
    own = JSONSerializer()
    own.register(Money, "money", lambda money: money, Money)

    with pytest.raises(exceptions.SerializationError, match="contains itself"):
        own.dumps(Money(5))


def test_the_same_registration_can_be_repeated() -> None:
    own = money_serializer()

    own.register(Money, "money", lambda money: money.cents, Money)

    assert own.loads(own.dumps(Money(5))) == Money(5)


@pytest.mark.parametrize(
    ("cls", "tag", "message"),
    [
        (Fraction, "money", "Tag 'money' is taken"),
        (Fraction, "decimal", "Tag 'decimal' is taken"),
        (Fraction, "enum", "Tag 'enum' is taken"),
        (Fraction, "dict", "Tag 'dict' is taken"),
        (Fraction, "a:b", "Tag 'a:b' isn't an identifier"),
        (Fraction, "", "Tag '' isn't an identifier"),
        (list, "items", "list is plain JSON"),
    ],
)
def test_a_conflicting_registration_is_refused(cls: type, tag: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        money_serializer().register(cls, tag, str, str)


def test_a_replacement_is_recorded_instead() -> None:
    own = JSONSerializer()
    own.register_replacement(Money, lambda money: Decimal(money.cents))

    assert own.loads(own.dumps([GiftMoney(5)])) == [Decimal(5)]


def test_serializers_do_not_share_registrations() -> None:
    money_serializer()

    with pytest.raises(exceptions.SerializationError):
        JSONSerializer().dumps(Money(5))


# Plain JSON, for browsers


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [1, None, "x"]}, {"a": [1, None, "x"]}),
        (dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC), "2024-01-02T03:00:00+00:00"),
        (dt.datetime(2024, 7, 2, 3, tzinfo=BERLIN), "2024-07-02T03:00:00+02:00"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.time(3, 4, tzinfo=BERLIN), "03:04:00"),
        (dt.timedelta(minutes=1, milliseconds=500), 60.5),
        (Decimal("1.50"), "1.50"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (b"abc", "YWJj"),
        ((1, (2,)), [1, [2]]),
        ({3, 1, 2}, [1, 2, 3]),
        ({1: "a", (1, 2): "b", "c": Decimal(1)}, {"1": "a", "[1,2]": "b", "c": "1"}),
        ({"$decimal": "1.50"}, {"$decimal": "1.50"}),
        (State.PAID, "paid"),
        (Level.HIGH, 2),
        (Colour.RED, "RED"),
        (Point(1, Decimal(2)), {"x": 1, "y": "2"}),
        (Line(Decimal("9.5")), {"price": "9.5", "quantity": 1}),
        (ValueError("bad", 5), {"error": "builtins.ValueError", "args": ["bad", 5]}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_browsers_get_plain_json(value: Any, plain: Any) -> None:
    result = serializer.to_plain(serializer.dumps(value))

    assert result == plain
    assert json.loads(json.dumps(result)) == result


def test_plain_json_needs_no_class() -> None:
    text = '[{"$dataclass:gone:Order":{"id":{"$enum:gone:Kind":["A","a"]}}},{"$gone":1}]'

    assert serializer.to_plain(text) == [{"id": "a"}, 1]


def test_without_its_time_zone_the_local_time_is_shown() -> None:
    text = '{"$datetime":["2024-01-01T00:00:00",0,"Mars/Olympus"]}'

    assert serializer.to_plain(text) == "2024-01-01T00:00:00"


def assert_same(loaded: Any, value: Any) -> None:
    """Assert that values and their types are equal at all levels."""
    assert type(loaded) is type(value)
    if isinstance(value, dict):
        assert list(map(type, loaded)) == list(map(type, value))
        assert list(loaded) == list(value)
        for one, other in zip(loaded.values(), value.values(), strict=True):
            assert_same(one, other)
    elif isinstance(value, list | tuple):
        assert len(loaded) == len(value)
        for one, other in zip(loaded, value, strict=True):
            assert_same(one, other)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            assert_same(getattr(loaded, field.name), getattr(value, field.name))
    else:
        assert loaded == value
        assert repr(loaded) == repr(value) or isinstance(value, set | frozenset)
