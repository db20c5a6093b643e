"""The settings of the site that the browser tests visit: the tests' own, and strict headers."""

import os
from pathlib import Path

from tests.settings import *  # noqa: F403
from tests.settings import DBOS, MIDDLEWARE, TEMPLATES

ROOT_URLCONF = "tests.browser.site"
MIDDLEWARE = ["tests.browser.site.headers", *MIDDLEWARE]
LOGIN_URL = "admin:login"
ALLOWED_HOSTS = ["127.0.0.1"]
DBOS = {**DBOS, "CAN_READ": "example_project.shop.access.can_read", "RECHECK": 1}
# What a test writes.
FOLDER = Path(os.environ["DBOS_TEST_SITE"])
STATICFILES_DIRS = [FOLDER / "static"]
TEMPLATES = [{**TEMPLATES[0], "DIRS": [FOLDER / "templates"]}]
