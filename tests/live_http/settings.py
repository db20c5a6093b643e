"""The test project behind a server of its own; with a sync middleware, if that is asked for."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import MIDDLEWARE

ALLOWED_HOSTS = ["127.0.0.1"]
if os.environ.get("DBOS_TEST_SYNC_MIDDLEWARE"):
    MIDDLEWARE = ["tests.live_http.middleware.sync_only", *MIDDLEWARE]
