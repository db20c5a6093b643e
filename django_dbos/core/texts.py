"""Texts: a mark for those that are translated, and a check for those that are stored."""

from __future__ import annotations


def gettext_noop(text: str) -> str:
    """Return the text as it is; `makemessages` finds it by the name of this function."""
    return text


def is_encodable(text: str) -> bool:
    """Return whether the text is valid Unicode.

    A lone surrogate, which Python allows in a str, has no UTF-8 form, and no database stores it.
    """
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
