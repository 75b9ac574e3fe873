"""Settings from the environment: errors at startup, and a complete `.env.example`."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from playmatatu import environment
from tests import preloaded

ROOT = Path(__file__).parents[2]


def manage(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    names = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    clean = {key: value for key, value in os.environ.items() if key not in names}
    # An empty value in the environment overrides a `.env` in this folder.
    return preloaded.run(
        ["manage.py", *arguments],
        env=clean | dict.fromkeys(names, "") | {"DJANGO_SETTINGS_MODULE": "playmatatu.settings"} | environment,
    )


def test_the_example_lists_every_setting_with_its_default() -> None:
    source = (ROOT / "playmatatu" / "settings.py").read_text()
    read = set(re.findall(r"""(?:text|whole|number|flag|choice|items|lists|url)\(\s*"([A-Z_]+)\"""", source))
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
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be debug, info, warning, error or critical"),
        ("SECURE_SSL_REDIRECT", "enabled", "SECURE_SSL_REDIRECT must be true or false"),
        ("REDIS_URL", "127.0.0.1:6379", "REDIS_URL must start with one of redis://"),
        ("DATABASE_URL", "mysql://u:p@h/n", "DATABASE_URL must start with one of postgres://"),
        ("LANGUAGE_CODE", "fr", "LANGUAGE_CODE must be en, lg or sw"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str, words: str) -> None:
    ended = manage("check", SECRET_KEY="k" * 50, **{name: value})
    assert words in ended.stderr


SECRET = "S3cretWord"


@pytest.mark.parametrize("character", "#/?[]")
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("DATABASE_URL", "postgres://user:", "@127.0.0.1:5432/name"),
        ("REDIS_URL", "redis://:", "@127.0.0.1:6379/0"),
        ("EMAIL_URL", "smtp+tls://user:", "@mail.example.com:587"),
    ],
)
@pytest.mark.parametrize("password", ["{}" + SECRET, "12{}" + SECRET, SECRET + "{}"])
def test_a_url_with_an_unencoded_password_names_the_setting_and_hides_the_password(
    monkeypatch: Any, name: str, before: str, after: str, character: str, password: str
) -> None:
    """joke2k/django-environ#497: a ValueError with half of the password, or a site without its cache."""
    monkeypatch.setitem(os.environ, name, before + password.format(character) + after)
    with pytest.raises(ImproperlyConfigured, match=f"{name} cannot be read. Percent-encode") as raised:
        environment.url(name, "", ("postgres", "redis", "smtp+tls"))
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    "value",
    [
        "postgres://user:p%23%2F%3F%5Bx@127.0.0.1:5432/name",
        "postgres://user:a@b@127.0.0.1/name?sslmode=verify-full",
        "postgres://user:x@one:5432,two:5433/name?target_session_attrs=read-write",
        "postgres://user@[::1]:5432/name",
        "postgres:///name",
        "sqlite:////srv/a@b#c.sqlite3",
    ],
)
def test_a_url_that_can_be_read(monkeypatch: Any, value: str) -> None:
    monkeypatch.setitem(os.environ, "DATABASE_URL", value)
    assert environment.url("DATABASE_URL", "", ("postgres", "sqlite")) == value


def test_the_error_at_start_up_shows_no_part_of_the_password() -> None:
    ended = manage("check", SECRET_KEY="k" * 50, DATABASE_URL=f"postgres://u:{SECRET}#{SECRET}@h/n")
    assert "DATABASE_URL cannot be read" in ended.stderr
    assert SECRET not in ended.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("SMS_SERVICE_PASSWORD = S3cretWord", "line 3: SMS_SERVICE_PASSWORD cannot be read: write NAME=value"),
        (" SMS_SERVICE_PASSWORD=S3cretWord", "line 3: SMS_SERVICE_PASSWORD cannot be read: write NAME=value"),
        ("SMS_SERVICE_PASSWORD: S3cretWord", "line 3: SMS_SERVICE_PASSWORD cannot be read: write NAME=value"),
        ("SMS_SERVICE_PASSWORD", "line 3: SMS_SERVICE_PASSWORD cannot be read: write NAME=value"),
        ("S3cretWord", "line 3: a setting cannot be read: write NAME=value"),
        ("SMS_SERVICE_PASSWORD='S3cretWord", "line 3: SMS_SERVICE_PASSWORD cannot be read: the quotation mark"),
        ("SMS_SERVICE_PASSWORD=S3cretWord\\n", "line 3: SMS_SERVICE_PASSWORD cannot be read: systemd drops"),
    ],
)
def test_a_line_of_the_file_that_cannot_be_read_is_named_without_its_value(
    tmp_path: Path, capfd: Any, line: str, words: str
) -> None:
    """joke2k/django-environ#666, #278: the line is skipped and printed with its password."""
    file = tmp_path / ".env"
    file.write_text(f"# a comment\n\n{line}\n")
    with pytest.raises(ImproperlyConfigured) as raised:
        environment.read_file(file)
    assert f"{file}, {words}" in str(raised.value)
    assert SECRET not in str(raised.value) + "".join(capfd.readouterr())


def test_lines_of_the_file_that_can_be_read(tmp_path: Path, monkeypatch: Any) -> None:
    names = [f"PLAIN_{letter}" for letter in "ABCDEF"]
    for name in names:
        # The variable is set and deleted, so that it is gone again after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    file = tmp_path / ".env"
    file.write_text(
        "\ufeff# comment\n  \nPLAIN_A=$x#y=z\nexport PLAIN_B= b \nPLAIN_C='c d'\nPLAIN_D=\nPLAIN_E='e\\f'\nPLAIN_F=ü\n"
    )
    environment.read_file(file)
    assert [environment.text(name) for name in names] == ["$x#y=z", "b", "c d", "", "e\\f", "ü"]
    environment.read_file(tmp_path / "missing")
    file.write_bytes(b"PLAIN_A=\xff")
    with pytest.raises(ImproperlyConfigured, match="is not UTF-8"):
        environment.read_file(file)


def test_a_missing_callback_secret_is_an_error_of_plain_check() -> None:
    ended = manage("check", SECRET_KEY="k" * 50)
    assert ended.returncode != 0
    assert "payments.E001" in ended.stderr
    assert manage("check", SECRET_KEY="k" * 50, MOMO_CALLBACK_SECRET="s").returncode == 0
    assert manage("check", DEBUG="true").returncode == 0


def test_values_are_read_without_interpretation() -> None:
    code = "from django.conf import settings as s; print(s.SMS_SERVICE_PASSWORD, s.FRONTEND_URL, s.SITE_URL, s.DEBUG)"
    shown = manage(
        "shell", "-v0", "-c", code, DEBUG="true", SMS_SERVICE_PASSWORD="$ecret", FRONTEND_URL="https://a.example/"
    )
    assert shown.stdout.split() == ["$ecret", "https://a.example", "https://a.example", "True"]
