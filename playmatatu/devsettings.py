"""The settings of `make run`. `make manage` uses the same settings while the site is running.

Precedence: environment variables, then these settings, then `.env`.
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"
# File with the settings of the running site. The site keeps the file locked. Only the file's owner can read it.
RUNNING = VAR / "running.json"


def prepare(site: int, sandbox: int) -> dict[str, str]:
    """Set the missing environment variables for a site and a sandbox on these ports. Return the current settings."""
    url, sandbox_url = f"http://127.0.0.1:{site}", f"http://127.0.0.1:{sandbox}"
    for name, value in {
        "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
        "DJANGO_RUNSERVER_HIDE_WARNING": "true",
        "DEBUG": "true",
        "ALLOWED_HOSTS": "",
        # With this log level, `make run` prints only warnings and its own lines (which README.md shows).
        "LOG_LEVEL": "warning",
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "FRONTEND_URL": url,
        "SITE_URL": url,
        "SECURE_SSL_REDIRECT": "false",
        "SMS_SERVICE_BASE_URL": sandbox_url,
        "SMS_SERVICE_USERNAME": "sandbox",
        "SMS_SERVICE_PASSWORD": "sandbox-password",
        "SMS_INBOUND_SECRET": secrets.token_urlsafe(16),
        "SANDBOX_URL": sandbox_url,
        "GAME_SERVER_SECRET": secrets.token_urlsafe(24),
        "PRIZE_AUTO_PAYOUT": "true",
        "GAME_URL": sandbox_url + "/table/{token}?pt={pt}",
        # With "true", stakes would count as paid without a payment prompt.
        "MOMO_AUTO_APPROVE": "false",
        "DMARK_PAY_BASE_URL": sandbox_url,
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
    """Store these settings for `recall` while the block runs. If another site is running, store nothing."""
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
    """Load the running site's settings into the environment. Return False if no site is running."""
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
