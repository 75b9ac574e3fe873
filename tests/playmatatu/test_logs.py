"""No log line contains a secret, a full phone number or a player's token."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from playmatatu.logs import ConsoleFormatter, JsonFormatter
from sms.text import redaction
from sms.text.redaction import blank_link, mask_phone, redact
from tests.conftest import free_port, wait_for
from tests.preloaded import Process
from tests.system import sqlite_database

ROOT = Path(__file__).parents[2]
TOKEN = "KjcIWMmTdfMdIWthq-92_Yt2bN3tvnQwa_8XMDuCUS8"


@pytest.mark.parametrize(
    "text",
    [
        f"GET /g/abc?pt={TOKEN} HTTP/1.1",
        f"/api/v1/game/queue/status?queue_token={TOKEN}&x=1",
        f"queue_token=7.{TOKEN}",
        f'{{"player_token": "{TOKEN}", "x": 1}}',
        f"{{'access_token': '{TOKEN}'}}",
        f"authToken: {TOKEN}",
        f"%3Fpt%3D{TOKEN}",
        f"/sms/dlr/7.{TOKEN}/",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.KjcIWMmTdfMdIWthq",
        "X-Callback-Secret: KjcIWMmTdfMdIWthq",
        f"x-callback-signature={TOKEN}",
        f"PLAYER_TOKEN={TOKEN}",
        f"Password: {TOKEN}",
        f"attempt=1 next=%2fg%2fabc%3fPT%3D{TOKEN}",
        f"a=1%26pt%3d{TOKEN}",
        f"\u0345pt={TOKEN}",
    ],
)
def test_tokens_are_hidden(text: str) -> None:
    assert "KjcIWMmTdfMdIWthq" not in redact(text)


@pytest.mark.parametrize(
    "written",
    ["+256772123456", "256772123456", "0772123456", "%2B256772123456", "0772 123 456", "+256-772-123-456"],
)
def test_phone_numbers_are_masked(written: str) -> None:
    shown = redact(f"to {written}, now")
    assert "****" in shown
    digits = "".join(char for char in shown if char.isdigit())
    assert "2123" not in digits


def test_secrets_of_the_settings_are_hidden(settings: Any) -> None:
    settings.SMS_SERVICE_PASSWORD = "pass-word-9"
    assert "pass-word-9" not in redact("the password is pass-word-9!")


def test_another_project_adds_its_own_names(settings: Any) -> None:
    settings.SMS_REDACT = {"links": ["ticket"], "names": ["seat"], "settings": ["VAULT_KEY"]}
    settings.VAULT_KEY = "vault-key-1"
    shown = redact("GET /in?ticket=abc1 Seat: 'row9' pt=mine, with vault-key-1 and access_token=x")
    hidden = "[redacted]"
    assert shown == f"GET /in?ticket={hidden} Seat: '{hidden}' pt=mine, with {hidden} and access_token={hidden}"
    assert blank_link("Come in: http://x/in?a=1&ticket=abc1&b=2") == f"Come in: http://x/in?a=1&ticket={hidden}&b=2"
    settings.SMS_REDACT = None
    assert blank_link("http://x/?pt=1") == redact("http://x/?pt=1") == "http://x/?pt=1"


def test_mask_and_blank() -> None:
    assert mask_phone("+256772123456") == "+25677****456"
    assert blank_link(f"Play: http://x/g/t?pt={TOKEN}") == "Play: http://x/g/t?pt=[redacted]"


PIECES = ["pt", "PT", "%3f", "%26", "=", "%3D", ": ", '"', "token", "auth", "queue_", "Password", "x-callback-secret"]


@given(st.lists(st.sampled_from([*PIECES, "at", "em", "_", " ", "&", "opaque9"]), max_size=8).map("".join))
def test_the_quick_check_misses_no_name(text: str) -> None:
    hidden = redaction.rules().keyed.sub(rf"\1{redaction.HIDDEN}", text)
    assert redact(text) == hidden


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def record(message: str, **extra: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelname": "ERROR", "name": "x", **extra})
    try:
        raise ValueError(f"pt={TOKEN} 0772123456")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


@pytest.mark.parametrize("formatter", [ConsoleFormatter(), JsonFormatter()])
def test_formatters_redact_fields_and_tracebacks(formatter: logging.Formatter) -> None:
    line = formatter.format(record(f"hello pt={TOKEN}", phone="0772123456", number=5))
    assert TOKEN not in line
    assert "0772123456" not in line
    assert "ValueError" in line
    assert "5" in line


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter().format(record("two\nlines", event="sms.send", ms=7))
    assert "\n" not in line
    read = json.loads(line)
    assert (read["event"], read["ms"], read["level"]) == ("sms.send", 7, "ERROR")


@pytest.mark.parametrize("char", ["\n", "\r", "\r\n", "\x1b", "\x00", "\x85", "\x9b", "\u2028", "\u2029"], ids=ascii)
def test_no_caller_can_forge_a_console_line(char: str) -> None:
    hostile = f"a{char}12:00:00 INFO sms.delivery: sms.send: all is well"
    made = logging.makeLogRecord({"msg": "refused: %s", "args": (hostile,), "name": "x", "answer": hostile})
    line = ConsoleFormatter().format(made)
    assert len(line.splitlines()) == 1
    assert char not in line
    assert line.count("all is well") == 2


def test_a_traceback_is_indented() -> None:
    made = record("two\nlines")
    try:
        raise ValueError("x\n12:00:00 INFO forged\r12:00:00 INFO forged")
    except ValueError:
        made.exc_info = sys.exc_info()
    first, *rest = ConsoleFormatter().format(made).splitlines()
    assert first.endswith("two\\nlines")
    assert len(rest) > 3
    assert all(line.startswith("    ") for line in rest)


def test_the_console_repeats_nothing() -> None:
    facts = {"event": "sms.send", "message_id": 7, "kind": "hint", "phone": "+25677****456", "provider_id": "91"}
    said = "sms.send: 7 (hint) to +25677****456, 200, id 91"
    made = logging.makeLogRecord({"msg": said, "name": "sms.delivery", "http_status": 200, "ms": 12, **facts})
    assert ConsoleFormatter().format(made).endswith(f"sms.delivery: {said} ms=12")


def test_gunicorn_and_the_sql_log_show_no_token(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
        "DEBUG": "true",
        "MOMO_AUTO_APPROVE": "true",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
        "DATABASE_URL": sqlite_database(tmp_path / "x.sqlite3"),
        "SECRET_KEY": "k" * 50,
        "WEB_CONCURRENCY": "1",
        "SMS_SERVICE_BASE_URL": "",
    }
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = Process(["-m", "gunicorn", "-b", f"127.0.0.1:{port}"], env=environment, stdout=out, stderr=out)
    try:
        site = f"http://127.0.0.1:{port}"
        wait_for(lambda: "Booting worker" in log.read_text(), 60)
        stakes = [
            requests.post(
                f"{site}/api/v1/game/stake", json={"phone_number": phone, "stake_amount": 1000}, timeout=60
            ).json()
            for phone in ("0772346718", "+256772346719")
        ]
        requests.post(f"{site}/api/v1/momo/dmarkpay/7.a-signature_of-ours/", json={}, timeout=60)
        requests.get(f"{site}/api/v1/game/queue/status?queue_token={stakes[0]['queue_token']}", timeout=60)
        assert requests.get(stakes[1]["game_link"].replace("http://127.0.0.1:8000", site), timeout=60).ok
    finally:
        server.terminate()
        server.wait(20)
    text = log.read_text()
    assert "GET /g/" in text
    assert "POST /api/v1/momo/dmarkpay/7.[hidden]/" in text
    assert "a-signature_of-ours" not in text
    assert "INSERT INTO" in text
    for secret in (
        "772346718",
        "772346719",
        *(stake[key] for stake in stakes for key in ("player_token", "queue_token")),
    ):
        assert secret not in text
