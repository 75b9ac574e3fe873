#!/usr/bin/env python3
"""usage: pg_env.py [DATABASE]: print DATABASE_URL as `export PG…=…` lines. DATABASE replaces the name of the database.

pg_dump and psql then read the password from the environment. In their arguments every user of the machine could see it.
DATABASE_URL comes from the environment, or from `.env` in the folder of this release.
"""

import os
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

url = os.environ.get("DATABASE_URL", "")
env_file = Path(__file__).resolve().parents[1] / ".env"
if not url and env_file.exists():
    url = "".join(re.findall(r"(?m)^DATABASE_URL=(.*)$", env_file.read_text(encoding="utf-8"))[-1:]).strip()
if not url.startswith(("postgres", "psql:", "pgsql:")):
    sys.exit("DATABASE_URL is not set to a PostgreSQL database.")
parts = urlsplit(url)
user, _, host = parts.netloc.rpartition("@")
name, _, password = user.partition(":")
hosts = [one.rpartition(":") if re.search(r":\d+$", one) else (one, "", "") for one in host.split(",")]
settings = {
    "PGUSER": unquote(name),
    "PGPASSWORD": unquote(password),
    "PGHOST": ",".join(one[0].strip("[]") for one in hosts),
    "PGPORT": ",".join(one[2] for one in hosts).strip(","),
    "PGDATABASE": sys.argv[1] if len(sys.argv) > 1 else unquote(parts.path[1:]),
}
for option, value in parse_qsl(parts.query):
    settings["PG" + option.replace("_", "").upper()] = value
for variable, value in settings.items():
    if value:
        print(f"export {variable}={shlex.quote(value)}")  # noqa: T201
