"""The settings of the site that the browser tests visit: the tests' own, and strict headers."""

from tests.settings import *  # noqa: F403
from tests.settings import MIDDLEWARE

ROOT_URLCONF = "tests.browser.site"
MIDDLEWARE = ["tests.browser.site.headers", *MIDDLEWARE]
LOGIN_URL = "admin:login"
ALLOWED_HOSTS = ["127.0.0.1"]
DBOS = {**DBOS, "CAN_READ": "example_project.shop.access.can_read"}  # noqa: F405
