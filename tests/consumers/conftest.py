"""Fixtures of the websocket tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from channels.layers import channel_layers


@pytest.fixture(autouse=True)
def _own_layer() -> Iterator[None]:
    """Discard the channel layer: Redis' keeps locks of the event loop, which each test has anew."""
    yield
    channel_layers.backends.clear()


@pytest.fixture(autouse=True)
def _rare_checks(settings: Any) -> None:
    """Keep the users of sockets, who aren't in the database, on a machine that is slow."""
    settings.DBOS = {**settings.DBOS, "RECHECK": 3_600}
