"""The project's settings for tests. The machine's environment and `.env` have no effect."""

import os
import re
from pathlib import Path

_EXAMPLE = Path(__file__).parents[1] / ".env.example"
for _name in re.findall(r"^([A-Z_]+)=", _EXAMPLE.read_text(), re.MULTILINE):
    os.environ[_name] = ""
os.environ["DEBUG"] = "false"
os.environ["SECRET_KEY"] = "a-key-for-tests-only-" + "x" * 40
os.environ["MOMO_AUTO_APPROVE"] = "true"
os.environ["MOMO_CALLBACK_SECRET"] = "callback-secret-for-tests"
# TEST_DATABASE_URL runs the suite on another database, such as PostgreSQL.
os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", "")

from playmatatu.settings import *  # noqa: E402, F403
from playmatatu.settings import DATABASES, STORAGES  # noqa: E402

ALLOWED_HOSTS = ["*"]
# No thread keeps a connection to a database that the test run deletes.
DATABASES["default"]["CONN_MAX_AGE"] = 0
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, so that the threads of a test share one database.
    DATABASES["default"]["TEST"] = {"NAME": f"/tmp/playmatatu-test-{os.getpid()}.sqlite3"}
    # No test loses the machine's power.
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"
# The name of a migrated database on the same server, which is then copied.
elif _template := os.environ.get("TEST_DATABASE_TEMPLATE"):
    DATABASES["default"]["TEST"] = {"TEMPLATE": _template}
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Static files are not collected for the tests, so WhiteNoise finds them as in development.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
