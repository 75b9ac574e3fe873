"""The settings of `make run`, and how `make manage` comes by them while the site runs.

What is set here wins over `.env`, and the environment wins over what is set here.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"
# Locked for as long as a site runs; its settings are read by nobody else.
RUNNING = VAR / "running.json"


def prepare(site: int, sandbox: int) -> dict[str, str]:
    """Put into the environment what is not there yet, for a site and its sandbox on these ports.

    Returns every setting that the environment has now; what `.env` adds is not among them.
    """
    url, stand_in = f"http://127.0.0.1:{site}", f"http://127.0.0.1:{sandbox}"
    for name, value in {
        "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
        "DJANGO_RUNSERVER_HIDE_WARNING": "true",
        "DEBUG": "true",
        "ALLOWED_HOSTS": "",
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "FRONTEND_URL": url,
        "SITE_URL": url,
        "SECURE_SSL_REDIRECT": "false",
        "SMS_SERVICE_BASE_URL": stand_in,
        "SMS_SERVICE_USERNAME": "sandbox",
        "SMS_SERVICE_PASSWORD": "sandbox-password",
        # Asked for on the phones there, unless the environment says that every stake counts as paid.
        "MOMO_AUTO_APPROVE": "false",
        "DMARK_PAY_BASE_URL": stand_in,
        "DMARK_PAY_TOKEN_URL": "/o/token/",
        "DMARK_PAY_USERNAME": "sandbox",
        "DMARK_PAY_PASSWORD": "sandbox-password",
        "DMARK_PAY_ACCOUNT_CODE": "SANDBOX",
    }.items():
        os.environ.setdefault(name, value)
    listed = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    return {name: os.environ[name] for name in ("DJANGO_SETTINGS_MODULE", *listed) if name in os.environ}


@contextmanager
def remembered(settings: dict[str, str]) -> Iterator[None]:
    """While it lasts, `recall` gives these settings. A second site beside the first is not remembered."""
    VAR.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(RUNNING, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield
            return
        file.truncate()
        json.dump(settings, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def recall() -> bool:
    """Put the running site's settings into the environment, where they win. False: none runs."""
    try:
        with RUNNING.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.environ.update(json.load(file))
                return True
    except FileNotFoundError:
        pass
    return False
