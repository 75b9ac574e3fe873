"""The project's settings on embedded parts, whatever the machine's environment and `.env` say."""

import os

for _name in (
    "ALLOWED_HOSTS CSRF_TRUSTED_ORIGINS CORS_ALLOWED_ORIGINS TRUSTED_PROXY_COUNT SECURE_SSL_REDIRECT "
    "SECURE_HSTS_SECONDS SECRET_KEY_FALLBACKS REDIS_URL FRONTEND_URL SITE_URL SMS_DLR_ENABLED SMS_SERVICE_BASE_URL "
    "SMS_SERVICE_USERNAME SMS_SERVICE_PASSWORD SMS_RATE_LIMIT_SECONDS SMS_TOKEN_FALLBACK_SECONDS SMS_TOKEN_PATH "
    "SMS_SEND_PATH SMS_DLR_PATH SMS_CONNECT_TIMEOUT SMS_READ_TIMEOUT SMS_DELIVERY SMS_LEASE_SECONDS "
    "SMS_SEGMENT_COST_UGX MOMO_CALLBACK_SECRET MOMO_AUTO_APPROVE MIN_STAKE_AMOUNT MAX_STAKE_AMOUNT "
    "QUEUE_EXPIRY_MINUTES COMMISSION_FLAT LOG_LEVEL LOG_FORMAT INVITES_PER_INVITER_DAY INVITES_PER_RECIPIENT_DAY "
    "INVITES_PER_ADDRESS_HOUR WRONG_CODES_PER_ADDRESS METRICS_TOKEN LANGUAGE_CODE"
).split():
    os.environ[_name] = ""
os.environ["DEBUG"] = "false"
os.environ["SECRET_KEY"] = "a-key-for-tests-only-" + "x" * 40
os.environ["MOMO_AUTO_APPROVE"] = "true"
os.environ["MOMO_CALLBACK_SECRET"] = "callback-secret-for-tests"
# TEST_DATABASE_URL runs the whole suite on another database, PostgreSQL say.
os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", "")

from playmatatu.settings import *  # noqa: E402, F403
from playmatatu.settings import DATABASES, STORAGES  # noqa: E402

ALLOWED_HOSTS = ["*"]
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Threads of one test must see one database, so it is a file.
    DATABASES["default"]["TEST"] = {"NAME": f"/tmp/playmatatu-test-{os.getpid()}.sqlite3"}
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Nothing is collected for the tests; WhiteNoise then finds files as it does in development.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
