"""The browser's own reader of server-sent events, which goes on by itself after a killed server."""

from __future__ import annotations

import json
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.executor import Executor
from tests.browser.chromium import Chromium
from tests.browser.servers import Server
from tests.live_http.client import address
from tests.live_http.workflows import echoes

# As the guide to live pages shows it.
FOLLOW = """
window.found = [];
window.isClosed = false;
const source = new EventSource(ADDRESS);
source.addEventListener("data", ({ data }) => window.found.push(...JSON.parse(data)));
source.addEventListener("control", ({ data }) => {
  if (JSON.parse(data).streamClosed) { source.close(); window.isClosed = true; }
});
"""


@pytest.mark.process
def test_an_event_source_goes_on_after_a_killed_server(
    viewer: Chromium, server: Server, worker: Executor
) -> None:
    handle = echoes.start()

    def send(*values: Any) -> None:
        dbos.send_many([{"workflow_id": handle.workflow_id, "message": one} for one in values])

    path = address("streams", handle.workflow_id, key="s", offset="-1", live="sse")
    viewer.go(server.url + address("streams", handle.workflow_id, key="s"))
    viewer.run(FOLLOW.replace("ADDRESS", json.dumps(path)))
    send(0, 1, 2)
    viewer.wait(lambda: viewer.run("window.found.length === 3"))
    server.kill()
    send(3, 4)
    server.start()
    send(5, None)
    viewer.wait(lambda: viewer.run("window.isClosed"))

    assert viewer.run("window.found") == [0, 1, 2, 3, 4, 5]
