"""Settings for tests. The environment variables of the machine and the file `.env` have no effect."""

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
# TEST_DATABASE_URL selects another database for the tests, such as PostgreSQL.
os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", "")

from playmatatu.settings import *  # noqa: E402, F403
from playmatatu.settings import DATABASES, STORAGES  # noqa: E402
from tests.servers import folder_in_memory  # noqa: E402

ALLOWED_HOSTS = ["*"]
# Connections are closed after each request, because the test run deletes its database at the end.
DATABASES["default"]["CONN_MAX_AGE"] = 0
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # The threads of a test share this database file. The tests take 7% less CPU if it is in memory.
    DATABASES["default"]["TEST"] = {"NAME": f"{folder_in_memory()}/playmatatu-db-{os.getpid()}-.sqlite3"}
    # Tests need no protection against a power failure.
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"
# TEST_DATABASE_TEMPLATE names a migrated database on the same server. The test database is a copy of it.
elif _template := os.environ.get("TEST_DATABASE_TEMPLATE"):
    DATABASES["default"]["TEST"] = {"TEMPLATE": _template}
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# WhiteNoise finds the static files in their source folders, because they are not collected for the tests.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
