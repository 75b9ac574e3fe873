"""Django settings, read from the environment or `.env`. `.env.example` lists every setting with its default."""

from pathlib import Path
from typing import Any

from django import VERSION as DJANGO
from django.core.exceptions import ImproperlyConfigured

from playmatatu import environment
from playmatatu.environment import choice, env, flag, items, lists, number, text, url, whole

BASE_DIR = Path(__file__).resolve().parent.parent

environment.read_file(BASE_DIR / ".env")

DEBUG = flag("DEBUG", default=False)
SECRET_KEY = text("SECRET_KEY", "insecure-key-for-development-only-never-for-real-money" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Put a long random one into the environment or .env, "
        "or set DEBUG=true on a development machine."
    )
SECRET_KEY_FALLBACKS = items("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = items("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = items("CSRF_TRUSTED_ORIGINS")
CORS_ALLOWED_ORIGINS = items("CORS_ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/api/"
TRUSTED_PROXY_COUNT = whole("TRUSTED_PROXY_COUNT", 0)

SECURE_SSL_REDIRECT = flag("SECURE_SSL_REDIRECT", default=False)
SECURE_HSTS_SECONDS = whole("SECURE_HSTS_SECONDS", 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = flag("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = flag("SECURE_HSTS_PRELOAD", default=False)
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Only the admin uses sessions. They last 8 hours, the length of an operator's shift.
SESSION_COOKIE_AGE = 8 * 3600
# The checks W005 and W021 recommend HSTS for subdomains and HSTS preload. Both affect the whole domain, so they are the
# operator's decision.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT
# Hides players' links from other sites. With `no-referrer`, forms would send `Origin: null`, which Django refuses.
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "playmatatu",
    "playmatatu.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "ninja",
    "sms",
    "payments",
    "game",
]
MIDDLEWARE = [
    "playmatatu.middleware.Https",
    "django.middleware.security.SecurityMiddleware",
    "playmatatu.middleware.PageHeaders",
    "playmatatu.middleware.Refusals",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "playmatatu.api.ApiMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "playmatatu.middleware.Languages",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "playmatatu.middleware.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# A redirect to an address with a slash would lose the body of a POST.
APPEND_SLASH = False
ROOT_URLCONF = "playmatatu.urls"
WSGI_APPLICATION = "playmatatu.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGES = [("en", "English"), ("lg", "Luganda"), ("sw", "Kiswahili")]
LANGUAGE_CODE = choice("LANGUAGE_CODE", "en", tuple(dict(LANGUAGES)))
LANGUAGE_COOKIE_AGE = 365 * 86400
LANGUAGE_COOKIE_HTTPONLY, LANGUAGE_COOKIE_SAMESITE, LANGUAGE_COOKIE_SECURE = True, "Lax", SECURE_SSL_REDIRECT
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "Africa/Kampala"
# The format `28 Nov 2026, 07:15` is used in every language. FORMAT_MODULE_PATH is needed to override Django's formats
# for English.
FORMAT_MODULE_PATH = "playmatatu.formats"
DATE_FORMAT = SHORT_DATE_FORMAT = "j M Y"
DATETIME_FORMAT = SHORT_DATETIME_FORMAT = "j M Y, H:i"
TIME_FORMAT = "H:i"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}


# Timeouts in seconds. The last three apply only to web processes, not to workers and commands (playmatatu/postgres).
DATABASE_CONNECT_TIMEOUT = number("DATABASE_CONNECT_TIMEOUT", 3)
DATABASE_STATEMENT_TIMEOUT = number("DATABASE_STATEMENT_TIMEOUT", 5)
DATABASE_LOCK_TIMEOUT = number("DATABASE_LOCK_TIMEOUT", 1)
DATABASE_IDLE_TIMEOUT = number("DATABASE_IDLE_TIMEOUT", 15)


# Options of libpq: `keepalives_idle` and `keepalives_interval` in seconds, and `tcp_user_timeout` in milliseconds. A
# connection ends if sent bytes stay unacknowledged for longer than `tcp_user_timeout`.
_TCP_LIMITS = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}


def _database() -> dict[str, Any]:
    default = f"sqlite:///{BASE_DIR / 'db.sqlite3'}"
    config = dict(
        env.db_url_config(url("DATABASE_URL", default, ("postgres", "postgresql", "psql", "pgsql", "sqlite")))
    )
    options = config.setdefault("OPTIONS", {})
    if config["ENGINE"].endswith("sqlite3"):
        # WAL allows reads during a write. IMMEDIATE makes a writer wait at BEGIN instead of failing at its first write.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 20)
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
    else:
        if config["ENGINE"] == "django.db.backends.postgresql":
            config["ENGINE"] = "playmatatu.postgres"
            options.setdefault("connect_timeout", max(2, round(DATABASE_CONNECT_TIMEOUT)))
            # If the network or the server's machine fails, the connection is closed after 30 to 60 seconds.
            for name, value in _TCP_LIMITS.items():
                options.setdefault(name, value)
            # Prepared statements (see playmatatu/postgres) need server-side binding.
            options.setdefault("server_side_binding", True)
        # In seconds. A new connection is expensive, because it plans every frequent statement several times.
        config.setdefault("CONN_MAX_AGE", 600)
        config.setdefault("CONN_HEALTH_CHECKS", True)
    return config


DATABASES = {"default": _database()}


def caches(redis_url: str) -> dict[str, Any]:
    if not redis_url:
        return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    options = {
        "SOCKET_CONNECT_TIMEOUT": 1,
        "SOCKET_TIMEOUT": 1,
        # JSON instead of pickles: anyone who can write pickles to Redis could run code in our processes.
        "SERIALIZER": "playmatatu.serializer.Json",
    }
    return {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url, "OPTIONS": options}}


CACHES = caches(url("REDIS_URL", "", ("redis", "rediss", "unix")))

DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

FRONTEND_URL = text("FRONTEND_URL", "http://127.0.0.1:8000").rstrip("/")
SITE_URL = text("SITE_URL", FRONTEND_URL).rstrip("/")

SMS_DLR_ENABLED = flag("SMS_DLR_ENABLED", default=True)
SMS_SERVICE_BASE_URL = text("SMS_SERVICE_BASE_URL").rstrip("/")
SMS_SERVICE_USERNAME = text("SMS_SERVICE_USERNAME")
SMS_SERVICE_PASSWORD = text("SMS_SERVICE_PASSWORD")
SMS_RATE_LIMIT_SECONDS = whole("SMS_RATE_LIMIT_SECONDS", 30)
SMS_TOKEN_FALLBACK_SECONDS = whole("SMS_TOKEN_FALLBACK_SECONDS", 3000)
SMS_LIFE_SECONDS = number("SMS_LIFE_SECONDS", 3600)
SMS_CATEGORIES = text("SMS_CATEGORIES")
SMS_EXTRA_MOBILE_PREFIXES = text("SMS_EXTRA_MOBILE_PREFIXES")
SMS_INBOUND_SECRET = text("SMS_INBOUND_SECRET")
SMS_DLR_URL_SUFFIX = text("SMS_DLR_URL_SUFFIX")
SMS_TOKEN_PATH = text("SMS_TOKEN_PATH", "/api/get_token/")
SMS_SEND_PATH = text("SMS_SEND_PATH", "/v3/api/send_sms/")
SMS_DLR_PATH = text("SMS_DLR_PATH", "/v3/api/dlr/")
SMS_CONNECT_TIMEOUT = number("SMS_CONNECT_TIMEOUT", 3)
SMS_READ_TIMEOUT = number("SMS_READ_TIMEOUT", 10)
SMS_DELIVERY = choice("SMS_DELIVERY", "inline", ("inline", "worker", "tasks"))
SMS_LEASE_SECONDS = number("SMS_LEASE_SECONDS", 15)
SMS_SEGMENT_COST_UGX = number("SMS_SEGMENT_COST_UGX", 0)
# Names of credentials. Their values must not appear in log lines, on pages or in old messages.
SMS_REDACT = {
    "links": ["pt"],
    "names": ["queue_token", "player_token", "x-callback-secret", "x-callback-signature", "x-game-signature"],
    "settings": ["MOMO_CALLBACK_SECRET", "DMARK_PAY_PASSWORD", "GAME_SERVER_SECRET"],
}

MOMO_CALLBACK_SECRET = text("MOMO_CALLBACK_SECRET")
MOMO_CALLBACK_SECRET_FALLBACKS = items("MOMO_CALLBACK_SECRET_FALLBACKS")
DMARK_PAY_BASE_URL = text("DMARK_PAY_BASE_URL", "https://wallet.dmarkmobile.com").rstrip("/")
DMARK_PAY_TOKEN_URL = text("DMARK_PAY_TOKEN_URL", "/o/token/")
DMARK_PAY_USERNAME = text("DMARK_PAY_USERNAME")
DMARK_PAY_PASSWORD = text("DMARK_PAY_PASSWORD")
DMARK_PAY_ACCOUNT_CODE = text("DMARK_PAY_ACCOUNT_CODE")
DMARK_PAY_WALLET = text("DMARK_PAY_WALLET", "dmark")
DMARK_PAY_TIMEOUT = number("DMARK_PAY_TIMEOUT", 30)
_COLLECTS = bool(DMARK_PAY_USERNAME and DMARK_PAY_PASSWORD and DMARK_PAY_ACCOUNT_CODE)
MOMO_AUTO_APPROVE = flag("MOMO_AUTO_APPROVE", default=DEBUG and not _COLLECTS)

MIN_STAKE_AMOUNT = whole("MIN_STAKE_AMOUNT", 1000)
MAX_STAKE_AMOUNT = whole("MAX_STAKE_AMOUNT", 5_000_000)
QUEUE_EXPIRY_MINUTES = number("QUEUE_EXPIRY_MINUTES", 10)
COMMISSION_FLAT = whole("COMMISSION_FLAT", 0)

INVITES_PER_INVITER_DAY = whole("INVITES_PER_INVITER_DAY", 20)
INVITES_PER_RECIPIENT_DAY = whole("INVITES_PER_RECIPIENT_DAY", 5)
INVITES_PER_ADDRESS_HOUR = whole("INVITES_PER_ADDRESS_HOUR", 300)
WRONG_CODES_PER_ADDRESS = whole("WRONG_CODES_PER_ADDRESS", 100)
LINKS_PER_PHONE_HOUR = whole("LINKS_PER_PHONE_HOUR", 3)
LINKS_PER_ADDRESS_HOUR = whole("LINKS_PER_ADDRESS_HOUR", 200)
UNPAID_STAKES_PER_PHONE_HOUR = whole("UNPAID_STAKES_PER_PHONE_HOUR", 6)
UNPAID_STAKES_PER_ADDRESS_HOUR = whole("UNPAID_STAKES_PER_ADDRESS_HOUR", 300)
FAILED_TEXTS_PER_PHONE_DAY = whole("FAILED_TEXTS_PER_PHONE_DAY", 3)

# Settings for the footer of every page. An empty value, or 0, is not shown.
SUPPORT_CONTACT = text("SUPPORT_CONTACT")
TERMS_URL = text("TERMS_URL")
MIN_AGE = whole("MIN_AGE", 0)
# URL of a match in the game. {token} stands for the match and {pt} for the player's token.
GAME_URL = text("GAME_URL")
# The game server signs match results with this secret.
GAME_SERVER_SECRET = text("GAME_SERVER_SECRET")
PRIZE_AUTO_PAYOUT = flag("PRIZE_AUTO_PAYOUT", default=False)
# If true, the operator who marked a payment as paid may also pay out its money.
PAYMENTS_SINGLE_OPERATOR = flag("PAYMENTS_SINGLE_OPERATOR", default=False)
# URL of the sandbox in a demo. If set, the pages and the admin link to it and say that no money moves.
SANDBOX_URL = text("SANDBOX_URL").rstrip("/")

# Mobile networks and their phone prefixes. A prefix is only a hint, because numbers can be ported.
NETWORK_PREFIXES = lists("NETWORK_PREFIXES", "mtn=076 077 078 079 039,airtel=070 074 075")

METRICS_TOKEN = text("METRICS_TOKEN")

# Recipients of alerts. Before Django 6.0, each recipient is a pair of name and address.
ADMINS: list[Any] = items("ADMINS") if DJANGO >= (6, 0) else [(address, address) for address in items("ADMINS")]
ALERT_WEBHOOK_URL = text("ALERT_WEBHOOK_URL")
SERVER_EMAIL = DEFAULT_FROM_EMAIL = text("SERVER_EMAIL", "root@localhost")
EMAIL_SUBJECT_PREFIX = "[PlayMatatu] "
_email = env.email_url_config(url("EMAIL_URL", "smtp://localhost:25", tuple(env.EMAIL_SCHEMES)))
_smtp: dict[str, Any] = {
    "host": _email["EMAIL_HOST"],
    "port": _email["EMAIL_PORT"] or 25,
    "username": _email["EMAIL_HOST_USER"] or "",
    "password": _email["EMAIL_HOST_PASSWORD"] or "",
    "use_tls": bool(_email.get("EMAIL_USE_TLS")),
    "use_ssl": bool(_email.get("EMAIL_USE_SSL")),
    "timeout": 10,
}
# Django 6.1 replaces the separate email settings with MAILERS and refuses the old settings.
if DJANGO >= (6, 1):
    _smtp = _smtp if _email["EMAIL_BACKEND"].endswith("smtp.EmailBackend") else {}
    MAILERS = {"default": {"BACKEND": _email["EMAIL_BACKEND"], "OPTIONS": _smtp}}
else:
    EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT = _email["EMAIL_BACKEND"], _smtp["host"], _smtp["port"]
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _smtp["username"], _smtp["password"]
    EMAIL_USE_TLS, EMAIL_USE_SSL, EMAIL_TIMEOUT = _smtp["use_tls"], _smtp["use_ssl"], _smtp["timeout"]

LOG_LEVEL = choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error", "critical")).upper()
LOG_FORMAT = choice("LOG_FORMAT", "console", ("console", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "console": {"()": "playmatatu.logs.ConsoleFormatter"},
        "json": {"()": "playmatatu.logs.JsonFormatter"},
    },
    "filters": {"callers": {"()": "playmatatu.logs.CallersErrors"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["callers"]}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Django's loggers get no handlers here, because Django's default handlers print unredacted lines.
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.server": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
    },
}
