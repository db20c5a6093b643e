"""What the tests of the websockets share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from channels.layers import channel_layers


@pytest.fixture(autouse=True)
def _own_layer() -> Iterator[None]:
    """Every test has an event loop of its own, but Redis' layer keeps locks of the last one."""
    yield
    channel_layers.backends.clear()
