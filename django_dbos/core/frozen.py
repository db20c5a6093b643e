"""`dataclass`, for what is made by the thousand."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(**options):
        """The standard library's, but that `frozen` is left to the type checker.

        It makes each field cost a call: three times as long for each instance.
        """
        if options.pop("frozen", False):
            options["unsafe_hash"] = True
        return dataclasses.dataclass(**options)
