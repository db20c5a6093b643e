"""Time zones, and the version of their data: hosts differ, since governments change the rules."""

from __future__ import annotations

import zoneinfo
from functools import cache
from pathlib import Path

from django_dbos.core import names

# The zones whose rules can't change.
FIXED = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT"})
VERSION_LINE = "# version "


def find(key: object) -> zoneinfo.ZoneInfo:
    """Return the zone with an IANA key such as "Europe/Berlin".

    Raises:
        TypeError: The key isn't a str.
        ValueError: This host knows no such zone.
    """
    if not isinstance(key, str):
        raise TypeError(
            f"timezone must be the name of a time zone such as 'Europe/Berlin', not "
            f"{type(key).__name__} {key!r}."
        )
    try:
        return zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        suggestion = names.suggest(key, _usual_names()) or " Zones are named like 'Europe/Berlin'."
        raise ValueError(f"timezone {key!r} isn't known on this host.{suggestion}") from None


def _usual_names() -> list[str]:
    """Return the keys to suggest: those of places and UTC, no abbreviations such as "EST"."""
    return sorted(key for key in zoneinfo.available_timezones() if "/" in key or key == "UTC")


@cache
def data_version() -> str:
    """Return the version of the time-zone data in use, such as "2026c"; "" if it isn't known.

    `zoneinfo` prefers the operating system's files to the tzdata package, even to a newer one.
    """
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "UTC").is_file() or (folder / "Etc" / "UTC").is_file():
            return _version_of(folder)
    try:
        import tzdata  # type: ignore[import-untyped]
    except ImportError:
        return ""
    return str(tzdata.IANA_VERSION)


def _version_of(folder: Path) -> str:
    """Return the version that a folder of compiled zones names; "" if it names none."""
    try:
        with (folder / "tzdata.zi").open(encoding="ascii", errors="replace") as lines:
            line = lines.readline()
        if line.startswith(VERSION_LINE):
            return line.removeprefix(VERSION_LINE).strip()
        return (folder / "+VERSION").read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
