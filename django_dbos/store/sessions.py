"""Sessions: connections that run the store's statements.

Django's connection and those of the executors have the same few methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from django.db import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connections,
    transaction,
)

from django_dbos.store import errors, statements

Row = tuple[Any, ...]
Params = dict[str, Any]
Statement = tuple[str, Params]


class Batch(Protocol):
    """Rows for one statement."""

    def lists(self) -> dict[str, Sequence[Any]]:
        """Return the values of each column, for a statement that takes all rows at once."""

    def each(self) -> list[Params]:
        """Return, for each row, the parameters of a statement that takes one row."""


class Session(Protocol):
    """A connection that runs the store's statements and raises the errors of `store.errors`."""

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        """Run a statement; return its rows."""

    def run_all(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run several statements, in one round trip where the database can."""

    def run_as_one(self, statements: Sequence[Statement]) -> list[Row]:
        """Run several statements in one transaction; return the rows of the last."""

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        """Run each statement for all of its rows; in a transaction, together with its COMMIT."""

    def pack(self, values: Sequence[Any]) -> Any:
        """Return any number of values as one parameter."""

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        """Return any number of rows as parameters, for a statement that joins them to a table."""

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        """Run several statements, each in a transaction of its own, in one round trip if possible.

        Inside an open transaction all of them are part of that.
        """

    def transaction(self) -> AbstractContextManager[None]:
        """Return a block whose statements commit together, or not at all."""

    def close(self) -> None:
        """Close the connection; the next statement reconnects."""


class DjangoSession:
    """Django's connection of the calling thread, with the caller's transaction.

    The databases' client sessions add the packing of lists, which differs.
    """

    def __init__(self, alias: str, vendor: str) -> None:
        self.alias = alias
        self.vendor = vendor

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        """Run a statement; return its rows."""
        with translated_errors(self.alias), connections[self.alias].cursor() as cursor:
            cursor.execute(statements.load(self.vendor, name), params or {})
            return list(cursor.fetchall()) if cursor.description else []

    def run_all(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run several statements, one after the other."""
        return [self.run(name, params) for name, params in statements]

    def run_as_one(self, statements: Sequence[Statement]) -> list[Row]:
        """Run several statements in one transaction: the caller's, if one is open."""
        with self.transaction():
            return self.run_all(statements)[-1]

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        """Run several statements, each in a transaction of its own if none is open."""
        return self.run_all(work)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Return a block as `atomic()` does; the errors inside become the store's."""
        with translated_errors():
            self._begin_by_hand()
            with transaction.atomic(using=self.alias):
                yield

    def _begin_by_hand(self) -> None:
        """Begin a transaction on SQLite without autocommit.

        Otherwise the release of the first savepoint would commit.
        """
        connection = connections[self.alias]
        if self.vendor != "sqlite" or connection.in_atomic_block or connection.get_autocommit():
            return
        if not connection.connection.in_transaction:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close the connection; the next statement reconnects."""
        connections[self.alias].close()


@contextmanager
def translated_errors(alias: str | None = None) -> Iterator[None]:
    """Turn Django's database errors into the store's.

    Args:
        alias: The database, if all statements in the block are the engine's: a missing table there
            is one that hasn't been migrated.
    """
    try:
        yield
    except errors.StoreError:
        # Translated by an inner block.
        raise
    except (DataError, IntegrityError) as error:
        raise errors.BadStatement(str(error)) from error
    except (OperationalError, InterfaceError, InternalError, ProgrammingError) as error:
        if alias is not None and errors.means_not_migrated(error):
            raise errors.NotMigrated(alias, error) from error
        if isinstance(error, ProgrammingError):
            raise
        raise errors.of_meaning(errors.meaning_of(error), str(error)) from error
    except OSError as error:
        if errors.is_exhaustion(error):
            raise errors.Unavailable(str(error)) from error
        raise


def is_of_testcase(block: transaction.Atomic) -> bool:
    """Return whether an atomic block is the one around a `TestCase`'s test."""
    # Django's own mark, by which atomic(durable=True) recognizes TestCase's blocks.
    return bool(getattr(block, "_from_testcase", False))
