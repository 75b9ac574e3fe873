"""Settings from the environment: what start-up says, and that the example lists them all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def manage(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    names = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    clean = {key: value for key, value in os.environ.items() if key not in names}
    # An empty value wins over a `.env` that may lie here.
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=clean | dict.fromkeys(names, "") | {"DJANGO_SETTINGS_MODULE": "playmatatu.settings"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_lists_every_setting_with_its_default() -> None:
    source = (ROOT / "playmatatu" / "settings.py").read_text()
    read = set(re.findall(r"""(?:text|whole|number|flag|items|lists)\(\s*"([A-Z_]+)\"""", source))
    assert len(read) > 30
    assert read == set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def test_a_missing_key_is_a_clear_error() -> None:
    ended = manage("check")
    assert ended.returncode != 0
    assert "SECRET_KEY is not set" in ended.stderr


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SMS_RATE_LIMIT_SECONDS", "soon", "SMS_RATE_LIMIT_SECONDS must be a whole number"),
        ("QUEUE_EXPIRY_MINUTES", "x", "QUEUE_EXPIRY_MINUTES must be a number"),
        ("SMS_DELIVERY", "pigeon", "SMS_DELIVERY must be inline, worker or tasks"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be console or json"),
        ("LANGUAGE_CODE", "fr", "LANGUAGE_CODE must be one of en, lg, sw"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str, words: str) -> None:
    ended = manage("check", SECRET_KEY="k" * 50, **{name: value})
    assert words in ended.stderr


def test_a_missing_callback_secret_is_an_error_of_plain_check() -> None:
    ended = manage("check", SECRET_KEY="k" * 50)
    assert ended.returncode != 0
    assert "payments.E001" in ended.stderr
    assert manage("check", SECRET_KEY="k" * 50, MOMO_CALLBACK_SECRET="s").returncode == 0
    assert manage("check", DEBUG="true").returncode == 0


def test_values_are_read_as_they_stand() -> None:
    code = "from django.conf import settings as s; print(s.SMS_SERVICE_PASSWORD, s.FRONTEND_URL, s.SITE_URL, s.DEBUG)"
    shown = manage(
        "shell", "-v0", "-c", code, DEBUG="true", SMS_SERVICE_PASSWORD="$ecret", FRONTEND_URL="https://a.example/"
    )
    assert shown.stdout.split() == ["$ecret", "https://a.example", "https://a.example", "True"]
