"""Serialization of stored values: the setting, the size limit, and Django's own types."""

from __future__ import annotations

import base64
import pickle
import smtplib
import subprocess
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError, IntegrityError, connection, models
from django.http import Http404, QueryDict
from django.test import override_settings
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy

from django_dbos import django_values, exceptions, serializers
from django_dbos.core.values.json import JSONSerializer


class Reversed:
    """A project's own serializer."""

    name = "reversed"

    def dumps(self, value: Any) -> str:
        if isinstance(value, bytes):
            raise TypeError("no bytes, please")
        return repr(value)[::-1]

    def loads(self, text: str) -> Any:
        return eval(text[::-1])


class Nameless(Reversed):
    name = "json"


class Unstorable(Reversed):
    def dumps(self, value: Any) -> Any:
        return value


an_instance = Reversed()
not_a_serializer = object()


class Colour(models.TextChoices):
    RED = "r", gettext_lazy("Red")


@pytest.fixture(autouse=True)
def plain_settings() -> Iterator[None]:
    with override_settings(DBOS={}):
        yield


def dumps(value: Any) -> str:
    return serializers.dumps(value, label="The result of step 'charge'")


def round_trip(value: Any) -> Any:
    return serializers.loads(dumps(value))


# The setting


def test_values_are_written_as_json() -> None:
    assert dumps({"a": [1, Decimal("1.50")]}) == '{"a":[1,{"$decimal":"1.50"}]}'


def test_an_error_names_the_value_its_type_and_its_path() -> None:
    with pytest.raises(exceptions.SerializationError) as caught:
        dumps({"items": [{"price": object()}]})

    assert str(caught.value) == (
        "The result of step 'charge' can't be stored: at $.items[0].price, type object isn't "
        "registered. Convert it to plain values, or register it with "
        "django_dbos.serializers.register()."
    )


def test_pickle_is_used_if_the_setting_says_so() -> None:
    with override_settings(DBOS={"SERIALIZER": "pickle"}):
        text = dumps({1: range(3)})
        value = serializers.loads(text)

    assert text.startswith("!pickle:")
    assert value == {1: range(3)}


def test_pickle_is_never_read_otherwise() -> None:
    text = "!pickle:" + base64.b64encode(pickle.dumps([1])).decode()

    with pytest.raises(exceptions.SerializationError, match="only read while DBOS"):
        serializers.loads(text)


def test_json_stays_readable_when_the_serializer_changes() -> None:
    text = dumps((1, Decimal(2)))

    with override_settings(DBOS={"SERIALIZER": f"{__name__}.Reversed"}):
        assert serializers.loads(text) == (1, Decimal(2))


@pytest.mark.parametrize("path", [f"{__name__}.Reversed", f"{__name__}.an_instance"])
def test_the_text_of_a_projects_serializer_has_its_name(path: str) -> None:
    with override_settings(DBOS={"SERIALIZER": path}):
        text = dumps({"a": (1, 2)})

        assert text == "!reversed:})2 ,1( :'a'{"
        assert serializers.loads(text) == {"a": (1, 2)}

    with pytest.raises(
        exceptions.SerializationError,
        match="recorded by serializer 'reversed', but the one in use is 'json'",
    ):
        serializers.loads(text)


def test_a_projects_serializer_may_refuse() -> None:
    with (
        override_settings(DBOS={"SERIALIZER": f"{__name__}.Reversed"}),
        pytest.raises(
            exceptions.SerializationError,
            match=r"'charge' can't be stored: serializer 'reversed' refuses this bytes \(TypeError",
        ),
    ):
        dumps(b"x")


@pytest.mark.parametrize("text", [b"x", None, "a\0b", "\ud800"])
def test_a_projects_serializer_must_return_storable_text(text: Any) -> None:
    with (
        override_settings(DBOS={"SERIALIZER": f"{__name__}.Unstorable"}),
        pytest.raises(exceptions.SerializationError, match="must return a str without NUL"),
    ):
        dumps(text)


@pytest.mark.parametrize(
    ("serializer", "text"),
    [("pickle", "!pickle:AAAA"), (f"{__name__}.Reversed", "!reversed:((")],
)
def test_text_that_a_serializer_cannot_read_is_an_error(serializer: str, text: str) -> None:
    with (
        override_settings(DBOS={"SERIALIZER": serializer}),
        pytest.raises(exceptions.SerializationError, match="can't be read"),
    ):
        serializers.loads(text)


@pytest.mark.parametrize("text", ["!gone:5", "!", "!json:5"])
def test_text_of_an_unknown_format_is_an_error(text: str) -> None:
    with pytest.raises(exceptions.SerializationError, match="A value was recorded by serializer"):
        serializers.loads(text)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.such.Serializer", "is 'no.such.Serializer': No module named"),
        (f"{__name__}.Nameless", "whose name is 'json'"),
        (f"{__name__}.not_a_serializer", "whose name is None"),
        (f"{__name__}.Colour.RED", "DBOS"),
    ],
)
def test_a_setting_without_a_serializer_is_a_misconfiguration(path: str, message: str) -> None:
    with (
        override_settings(DBOS={"SERIALIZER": path}),
        pytest.raises(ImproperlyConfigured, match=message),
    ):
        serializers.get_serializer()


def test_a_serializer_without_methods_is_a_misconfiguration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{__name__}.not_a_serializer", type("Half", (), {"name": "half"})())

    with (
        override_settings(DBOS={"SERIALIZER": f"{__name__}.not_a_serializer"}),
        pytest.raises(ImproperlyConfigured, match=r"which has no dumps\(\)"),
    ):
        serializers.get_serializer()


# The size


@pytest.mark.parametrize("value", ["x" * 98, "ą" * 49, "😀" * 24 + "xx"])
def test_the_size_is_counted_in_bytes(value: str) -> None:
    with override_settings(DBOS={"MAX_PAYLOAD_BYTES": 100}):
        dumps(value)

        with pytest.raises(exceptions.PayloadTooLarge) as caught:
            dumps(value + "x")

    assert (caught.value.size, caught.value.limit) == (101, 100)
    assert (
        "The result of step 'charge' can't be stored: 101 bytes exceed the limit of 100, "
        in str(caught.value)
    )


def test_the_size_of_other_formats_is_counted_too() -> None:
    with (
        override_settings(DBOS={"SERIALIZER": "pickle", "MAX_PAYLOAD_BYTES": 50}),
        pytest.raises(exceptions.PayloadTooLarge),
    ):
        dumps("x" * 50)


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["NUL \0 in it", "ą😀\u2028\x1f", b"\0\xff", {"\0": ("\0",)}])
def test_a_database_returns_the_stored_text(value: Any) -> None:
    """PostgreSQL's text can't contain NUL; JSON escapes it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(%s AS text)", [dumps(value)])
        (text,) = cursor.fetchone()

    assert serializers.loads(text) == value


# Django's own types


def test_a_choice_comes_back_as_itself() -> None:
    assert round_trip(Colour.RED) is Colour.RED
    assert serializers.to_plain(dumps(Colour.RED)) == "r"


def test_a_lazy_translation_is_recorded_in_the_current_language() -> None:
    with translation.override("de"):
        text = dumps({"label": gettext_lazy("Yes")})

    assert serializers.loads(text) == {"label": "Ja"}


def test_safe_html_stays_safe() -> None:
    loaded = round_trip([mark_safe("<b>ą</b>")])

    assert loaded == ["<b>ą</b>"]
    assert type(loaded[0]) is SafeString
    assert serializers.to_plain(dumps(mark_safe("<b>"))) == "<b>"


def test_request_data_is_refused_with_a_hint() -> None:
    with pytest.raises(exceptions.SerializationError, match="QueryDict is a subclass of dict"):
        dumps(QueryDict("a=1"))


def test_an_anonymous_user_is_refused() -> None:
    with pytest.raises(exceptions.SerializationError, match="AnonymousUser isn't registered"):
        dumps(SimpleLazyObject(AnonymousUser))


@pytest.mark.django_db(databases=["default", "other"])
class TestModelInstances:
    def test_a_saved_instance_is_reloaded(self) -> None:
        user = User.objects.create(username="ada")
        text = dumps({"user": user})
        User.objects.filter(pk=user.pk).update(username="grace")

        loaded = serializers.loads(text)["user"]

        assert text == f'{{"user":{{"$model":["auth.User",{user.pk},"default"]}}}}'
        assert loaded == user
        assert loaded.username == "grace"

    def test_it_is_loaded_from_the_database_that_it_came_from(self) -> None:
        group = Group.objects.using("other").create(name="staff")

        loaded = round_trip(group)

        assert loaded._state.db == "other"
        assert loaded == group

    def test_the_lazy_user_of_a_request_is_its_user(self) -> None:
        user = User.objects.create(username="ada")
        evaluated = SimpleLazyObject(lambda: user)
        str(evaluated)

        for lazy in (SimpleLazyObject(lambda: user), evaluated):
            loaded = round_trip(lazy)
            assert type(loaded) is User
            assert loaded == user

    def test_an_unsaved_instance_is_refused(self) -> None:
        for user in (User(username="ada"), User(pk=5, username="ada")):
            with pytest.raises(exceptions.SerializationError, match=r"it isn't saved\. Save it"):
                dumps([user])

    def test_a_deleted_instance_is_refused(self) -> None:
        user = User.objects.create(username="ada")
        user.delete()

        with pytest.raises(exceptions.SerializationError, match="it isn't saved"):
            dumps(user)

    def test_a_missing_instance_has_its_own_error(self) -> None:
        user = User.objects.create(username="ada")
        text = dumps(user)
        User.objects.all().delete()

        with pytest.raises(exceptions.ModelInstanceGone, match=r"auth\.User with primary") as gone:
            serializers.loads(text)

        assert (gone.value.label, gone.value.using) == ("auth.User", "default")

    def test_a_queryset_is_refused_with_a_hint(self) -> None:
        with pytest.raises(
            exceptions.SerializationError, match="Convert the needed part to a list"
        ):
            dumps(User.objects.all())

    def test_plain_json_names_the_instance_without_loading_it(
        self, django_assert_num_queries: Any
    ) -> None:
        text = dumps(User.objects.create(username="ada", pk=5))

        with django_assert_num_queries(0):
            assert serializers.to_plain(text) == "auth.User:5"

    def test_reading_an_instance_needs_a_thread(self) -> None:
        user = User.objects.create(username="ada")

        assert serializers.needs_thread(dumps({"user": user}))
        assert not serializers.needs_thread(dumps({"user": "ada", "at": Decimal(1)}))
        with override_settings(DBOS={"SERIALIZER": "pickle"}):
            assert serializers.needs_thread(dumps("ada"))

    def test_an_error_that_contains_an_instance_comes_back(self) -> None:
        user = User.objects.create(username="ada")

        loaded = serializers.load_error(serializers.dump_error(ValueError("blocked", user)))

        assert loaded.args == ("blocked", user)


def test_a_missing_model_or_database_is_an_unknown_type() -> None:
    for text in (
        '{"$model":["auth.Gone",5,"default"]}',
        '{"$model":["nonsense",5,"default"]}',
        '{"$model":["auth.User",5,"gone"]}',
    ):
        with pytest.raises(exceptions.UnknownTypeInHistory, match="was recorded"):
            serializers.loads(text)


# Errors


@pytest.mark.parametrize(
    "error",
    [
        ValidationError("bad", code="c"),
        ValidationError(["a", ValidationError("b")]),
        ValidationError({"name": ["too long"], "age": ["too low", "odd"]}),
        ValidationError(gettext_lazy("bad %(x)s"), params={"x": 1}),
        Http404("no such page"),
        User.DoesNotExist("no such user"),
        IntegrityError("duplicate key"),
        smtplib.SMTPResponseException(550, b"no such mailbox"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_django_come_back(error: Any) -> None:
    text = serializers.dump_error(error)

    loaded: Any = serializers.load_error(text)

    assert type(loaded) is type(error)
    assert str(loaded) == str(error)
    if isinstance(error, ValidationError):
        assert loaded.messages == error.messages
    assert type(serializers.round_trip_error(error)) is type(error)
    assert type(serializers.round_trip_error(error, text)) is type(error)


@pytest.mark.django_db
def test_an_error_of_the_database_comes_back() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nonsense")
    except DatabaseError as error:
        original = error
    text = serializers.dump_error(original)

    loaded: Any = serializers.load_error(text)

    assert "SELECT nonsense" in loaded.recorded_traceback
    assert type(loaded) is type(original)
    assert str(loaded) == str(original)


def test_an_error_is_json_with_every_serializer() -> None:
    with override_settings(DBOS={"SERIALIZER": "pickle"}):
        text = serializers.dump_error(ValueError("bad"))

    assert str(serializers.load_error(text)) == "bad"
    assert serializers.summarize_error(text).message == "bad"


def test_an_error_that_is_too_large_is_described() -> None:
    with override_settings(DBOS={"MAX_PAYLOAD_BYTES": 100_000}):
        text = serializers.dump_error(ValueError("x" * 200_000))

    assert len(text) < 100_000
    assert type(serializers.load_error(text)) is exceptions.RecordedError


def test_reports_always_get_an_error() -> None:
    text = serializers.dump_error(ValueError("bad")).replace("builtins:ValueError", "gone:Error")

    assert str(serializers.load_error_or_stand_in(text)) == "gone.Error('bad')"


# Finding classes


def test_a_listed_library_is_imported_for_its_error() -> None:
    """Django's mail backend imports smtplib when it sends; a replay sends nothing."""
    text = serializers.dump_error(smtplib.SMTPRecipientsRefused({}))
    program = f"""if True:
        import sys
        from django.conf import settings
        settings.configure()
        import django
        django.setup()
        from django_dbos import serializers
        sys.modules.pop("smtplib", None)
        print(type(serializers.load_error({text!r})))
    """

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert result.stdout == "<class 'smtplib.SMTPRecipientsRefused'>\n", result.stderr


@pytest.mark.parametrize(
    ("module", "is_found"),
    [
        ("smtplib", True),
        ("library.errors", True),
        ("library.errors.http", True),
        ("library", False),
        ("library.errorsome", False),
        ("antigravity", False),
        ("django.contrib.gis.geos", False),
        ("tests.some.module", False),
        ("pip.__main__", False),
        ("", False),
        (".relative", False),
    ],
)
def test_only_listed_modules_are_imported(settings: Any, module: str, is_found: bool) -> None:
    settings.DBOS = {**settings.DBOS, "IMPORT_MODULES": ["smtplib", "library.errors"]}

    assert django_values._may_be_imported(module) is is_found


@pytest.mark.parametrize("kind", ["exception", "enum", "dataclass", "namedtuple"])
def test_a_stored_text_cannot_import_other_modules(kind: str) -> None:
    assert "this" not in sys.modules
    with pytest.raises(exceptions.UnknownTypeInHistory, match="IMPORT_MODULES"):
        serializers.loads(f'{{"${kind}:this:x": {{}}}}')

    assert "this" not in sys.modules


def test_a_module_that_cannot_be_imported_is_an_unknown_type(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "IMPORT_MODULES": ["tests"]}
    with pytest.raises(exceptions.UnknownTypeInHistory, match="its module can't be imported"):
        serializers.loads('{"$enum:tests.no_such_module:E":["A"]}')


def test_the_class_of_a_script_is_never_searched() -> None:
    with pytest.raises(
        exceptions.UnknownTypeInHistory, match=r"can't be found\. Import its module"
    ):
        serializers.loads('{"$enum:manage:E":["A"]}')


# Plain values, fingerprints, registration


def test_plain_values_of_other_formats_are_deserialized_first() -> None:
    with override_settings(DBOS={"SERIALIZER": "pickle"}):
        known, unknown = dumps({"a": Decimal(1)}), dumps(range(3))

        assert serializers.to_plain(known) == {"a": "1"}
        assert serializers.to_plain(unknown) == f"<pickle: {len(unknown)} characters>"

    assert serializers.to_plain(known) == f"<pickle: {len(known)} characters>"


def test_different_arguments_have_different_fingerprints() -> None:
    fingerprints = {
        serializers.fingerprint(dumps(args))
        for args in ([[1], {}], [[2], {}], [["1"], {}], [[1], {"a": 1}], [[1], {"b": 1}])
    }

    assert len(fingerprints) == 5
    assert {len(text) for text in fingerprints} == {16}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([[], {"a": 1, "b": {"c": 2, "d": 3}}], [[], {"b": {"d": 3, "c": 2}, "a": 1}]),
        ([[{"x", "y", "z"}], {}], [[{"z", "y", "x"}], {}]),
    ],
)
def test_a_fingerprint_ignores_the_order_of_keys_and_sets(first: Any, second: Any) -> None:
    assert serializers.fingerprint(dumps(first)) == serializers.fingerprint(dumps(second))


def test_a_fingerprint_never_changes() -> None:
    """Fingerprints are stored: with another algorithm every running workflow would diverge."""
    assert serializers.fingerprint('[["a",1],{}]') == "82164484ca9179ed"
    assert serializers.fingerprint('[[{"b":1,"a":"ą"}],{}]') == "672a70f6999c2357"
    assert serializers.fingerprint("!pickle:{AAA") == "c5f43ba91927c472"


def test_projects_register_their_own_types(monkeypatch: pytest.MonkeyPatch) -> None:
    class Token:
        def __init__(self, number: uuid.UUID) -> None:
            self.number = number

    own = JSONSerializer()
    monkeypatch.setattr(serializers, "json_serializer", own)
    serializers._load_serializer.cache_clear()
    serializers.register(Token, "token", lambda token: token.number, Token, plain=str)

    loaded = round_trip(Token(uuid.UUID(int=5)))

    assert type(loaded) is Token
    assert loaded.number == uuid.UUID(int=5)
    serializers._load_serializer.cache_clear()
