"""Settings of the example project: nothing to set for a first look, environment variables for more.

`DATABASE_URL` (PostgreSQL) and `REDIS_URL` (channel layer) replace the SQLite file and
the missing layer; `SHOP_…` are explained in the project's README.
"""

import os
from datetime import timedelta
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent
# Whatever running leaves behind: the database, the supervisor's lock. Delete it to start over.
STATE_DIR = Path(os.environ.get("DEMO_DIR") or BASE_DIR.parent / ".demo")
STATE_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = os.environ.get("DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY") or ("for-the-demo-only" if DEBUG else "")
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "channels",
    "django_dbos",
    "example_project.shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

if django.VERSION >= (6, 0):
    MIDDLEWARE.insert(1, "django.middleware.csp.ContentSecurityPolicyMiddleware")
    SECURE_CSP = {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
        "frame-ancestors": ["'none'"],
    }

ROOT_URLCONF = "example_project.config.urls"
ASGI_APPLICATION = "example_project.config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def postgresql(url: str) -> dict[str, object]:
    """Read a PostgreSQL URL as psycopg does: sockets, several hosts and options included."""
    from psycopg.conninfo import conninfo_to_dict

    options = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": options.pop("dbname", ""),
        "USER": options.pop("user", ""),
        "PASSWORD": options.pop("password", ""),
        "HOST": options.pop("host", ""),
        "PORT": options.pop("port", ""),
        "OPTIONS": options,
    }


def sqlite(path: Path) -> dict[str, object]:
    """SQLite as durable workflows need it: writers queue up, and a commit is on the disk."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }


DATABASE_URL = os.environ.get("DATABASE_URL")
DATABASES = {
    "default": postgresql(DATABASE_URL) if DATABASE_URL else sqlite(STATE_DIR / "shop.sqlite3")
}
DATABASE_ROUTERS = ["django_dbos.routers.DbosRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The layer only says that there is something new: without Redis, progress is polled.
if REDIS_URL := os.environ.get("REDIS_URL"):
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL]},
        }
    }
else:
    SILENCED_SYSTEM_CHECKS = ["django_dbos.W003"]

DBOS = {
    "CAN_READ": "example_project.shop.access.can_read",
    # The summaries of sales are short-lived; orders and imports stay.
    "RETENTION": [{"name": "example_project.shop.workflows.report_sales", "count": 100}],
    # However many files are uploaded at once, imports leave room for orders.
    "QUEUES": {"imports": {"concurrency": 2}},
    "SCHEDULES": {
        "sales": {
            "workflow": "example_project.shop.workflows.report_sales",
            "every": timedelta(minutes=5),
            "overlap": "skip",
        },
    },
}

SHOP_STEP_SECONDS = float(os.environ.get("SHOP_STEP_SECONDS", "0.3"))
SHOP_PACKING_SECONDS = float(os.environ.get("SHOP_PACKING_SECONDS", "0.3"))
SHOP_KILL_COMMAND = os.environ.get("SHOP_KILL_COMMAND", "")
SHOP_PAYMENT_SECONDS = float(os.environ.get("SHOP_PAYMENT_SECONDS", "900"))
SHOP_ANSWER_SECONDS = float(os.environ.get("SHOP_ANSWER_SECONDS", "10"))
SHOP_WEBHOOK_SECRET = os.environ.get("SHOP_WEBHOOK_SECRET", "")

if not DEBUG:
    # The site is served over HTTPS alone. A proxy that ends TLS says so in this header, which it
    # must not let clients set.
    if os.environ.get("BEHIND_PROXY") == "1":
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 30 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
STATIC_URL = "static/"
# The sample catalogue can be downloaded from the import page.
STATICFILES_DIRS = [("shop", BASE_DIR / "data")]
LOGIN_URL = "admin:login"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"short": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "short"}},
    "loggers": {"django_dbos": {"handlers": ["console"], "level": "INFO"}},
}
