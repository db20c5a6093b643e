"""The check of texts for characters that no database stores."""

from __future__ import annotations


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
