"""Column types that mean the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Func
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone


class KeyField(models.CharField):  # type: ignore[type-arg]
    """Text that is compared byte by byte.

    On PostgreSQL the column has the collation "C": comparisons cost a `memcmp`, its one
    index also serves prefix searches, and Django adds no second `_like` index (it does so
    for columns whose type begins with `varchar`).
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        if connection.vendor == "postgresql":
            return f'character varying({self.max_length}) COLLATE "C"'
        return super().db_type(connection)

    def cast_db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return super().db_type(connection)


# The range that Python can show in any time zone. Other instants are read as the nearest of these:
# PostgreSQL has instants from -infinity to infinity, and a single row must not fail a whole list.
FIRST_INSTANT = datetime(1, 1, 3, tzinfo=UTC)
LAST_INSTANT = datetime(9998, 12, 31, tzinfo=UTC)


class InstantField(models.DateTimeField):  # type: ignore[type-arg]
    """An instant, kept in UTC whatever `USE_TZ` and `TIME_ZONE` say.

    Python gets the values of `DateTimeField`: aware ones with `USE_TZ`, else naive local ones. On
    SQLite, Django stores naive local text without `USE_TZ`, while the database's own clock is in
    UTC; here both are in UTC (rule 42 of the correctness page).

    An instant that Python's datetime can't hold is read as the nearest one that it can.
    """

    def select_format(self, compiler: SQLCompiler, sql: str, params: Any) -> tuple[str, Any]:
        if compiler.connection.vendor != "postgresql":
            # Django reads the text first, and fails without a year of four digits.
            is_instant = f"{sql} GLOB '[0-9][0-9][0-9][0-9]-*' AND {sql} >= '0001'"
            return f"CASE WHEN {is_instant} THEN {sql} END", [*params, *params, *params]
        nearest = f"least(greatest({sql}, '{FIRST_INSTANT}'), '{LAST_INSTANT}')"
        # Both leave NULLs out.
        return f"CASE WHEN {sql} IS NOT NULL THEN {nearest} END", [*params, *params]

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> Any:
        if connection.vendor != "sqlite" or not isinstance(value, datetime):
            return super().get_db_prep_value(value, connection, prepared)
        return instant_to_text(value)

    def from_db_value(
        self, value: Any, expression: Any, connection: BaseDatabaseWrapper
    ) -> datetime | None:
        if connection.vendor != "sqlite" or value is None:
            return value  # type: ignore[no-any-return]
        return text_to_instant(value)

    def get_internal_type(self) -> str:
        # Django subtracts, truncates and extracts by this name.
        return "DateTimeField"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "timestamp with time zone" if connection.vendor == "postgresql" else "datetime"


def instant_to_text(value: datetime) -> str:
    """Return the text that SQLite keeps for an instant; texts sort as their instants do."""
    aware = value if timezone.is_aware(value) else timezone.make_aware(value)
    # Not strftime(), which writes the year 900 in three digits.
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def text_to_instant(value: str | datetime) -> datetime:
    """Return the instant of SQLite's text as Django shows it: aware, or local without `USE_TZ`."""
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    # Django has read it before, as if it were of the connection's time zone: the digits are right.
    aware = min(max(instant.replace(tzinfo=UTC), FIRST_INSTANT), LAST_INSTANT)
    return aware if settings.USE_TZ else timezone.make_naive(aware)


def to_utc(text: str | None) -> datetime | None:
    """Return the instant of a text in UTC, as statements return them for both databases.

    Instants that the drivers return are local, and naive, in some settings.
    """
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


def as_shown(instant: datetime) -> datetime:
    """Return an aware instant as Django shows it: in UTC, or local without `USE_TZ`."""
    return instant if settings.USE_TZ else timezone.make_naive(instant)


class DatabaseNow(Func):
    """The database's clock at this statement, not at the start of the transaction."""

    template = "clock_timestamp()"
    output_field = InstantField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # Doubled twice: for the template here, and for the parameters of the whole statement.
        template = "strftime('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'now')"
        return self.as_sql(compiler, connection, template=template, **extra)


class StoredSize(Func):
    """The size of a text in bytes, which PostgreSQL knows without reading the text."""

    function = "OCTET_LENGTH"
    output_field = models.IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # The size in characters: OCTET_LENGTH came with SQLite 3.43.
        return self.as_sql(compiler, connection, function="LENGTH", **extra)
