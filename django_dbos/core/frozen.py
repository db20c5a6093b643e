"""`dataclass(frozen=True)` without its cost at run time, for records created by the thousand."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(**options):
        """Apply the standard decorator, and leave `frozen` to the type checker.

        A frozen dataclass assigns each field by a function call, which makes creating an instance
        take three times as long.
        """
        if options.pop("frozen", False):
            options["unsafe_hash"] = True
        return dataclasses.dataclass(**options)
