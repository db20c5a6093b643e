"""Fixtures of the websocket tests."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.layers import channel_layers
from django.contrib.auth.models import User

from tests.consumers.servers import Server, log_in


@pytest.fixture(autouse=True)
def _own_layer() -> Iterator[None]:
    """Discard the channel layer: Redis' keeps locks of the event loop, which each test has anew.

    Before, too: tests elsewhere open sockets.
    """
    channel_layers.backends.clear()
    yield
    channel_layers.backends.clear()


@pytest.fixture(autouse=True)
def _rare_checks(settings: Any) -> None:
    """Keep the users of sockets, who aren't in the database, on a machine that is slow."""
    settings.DBOS = {**settings.DBOS, "RECHECK": 3_600}


@pytest.fixture
def start_server(
    transactional_db: None, process_environment: dict[str, str]
) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(name: str = "uvicorn", **options: object) -> Server:
        environment = {**process_environment, "DBOS_TEST_SETTINGS": json.dumps(options)}
        servers.append(Server(name, environment))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.returncode is None:
            server.stop(signal.SIGKILL)


@pytest.fixture
def viewer(transactional_db: None) -> str:
    """Return the session key of a superuser."""
    return log_in(User.objects.create_superuser("root"))
