"""Looks at stored values: the reader's right to see them, and their redaction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Self

from django.http import HttpRequest
from django.utils.translation import gettext

from django_dbos import redaction
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.admin")

PERMISSION = "django_dbos.view_payload"


class Unshowable(Exception):
    """A value can't be shown; the message says why, without any part of the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at values.

    Attributes:
        user: Who looks.
        may_see: They may see values, not only that there are some.
        is_whole: A single row is shown, so that its values may be longer.
    """

    user: Any
    may_see: bool
    is_whole: bool = False

    @classmethod
    def of(cls, request: HttpRequest, *, is_whole: bool = False) -> Self:
        """Return the look of the user of a request."""
        may_see = bool(request.user.has_perm(PERMISSION))
        return cls(user=request.user, may_see=may_see, is_whole=is_whole)

    def redacted(self, row: Any, field: str, value: Any) -> Any:
        """Return plain JSON as DBOS["REDACT"] lets this user see it.

        Raises:
            Unshowable: The function has failed, or can't be imported.
        """
        try:
            return redaction.redacted(self.user, row, field, value)
        except Exception as error:
            # The message of the error may contain the value.
            shown = concealing.shown("", error)
            logger.error("DBOS['REDACT'] failed for %r of %r", field, row, exc_info=shown)
            raise Unshowable(
                gettext("the function of DBOS['REDACT'] failed with %s") % type(error).__name__
            ) from None


def field_of(column: str) -> str:
    """Return the name by which DBOS["REDACT"] knows a column."""
    return column.removesuffix("_text")


def hidden() -> str:
    """Return what is shown instead of a value that the user may not see."""
    return gettext("(hidden)")


def unshowable(error: Exception) -> str:
    """Return what is shown instead of a value that can't be read or redacted."""
    return gettext("This value can't be shown: %s") % error
