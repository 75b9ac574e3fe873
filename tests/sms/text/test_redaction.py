"""Run every function of the site once, then search logs, pages and stored rows for secrets."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from playmatatu.logs import ConsoleFormatter, JsonFormatter
from sms import outbox
from sms.dmark.dlr_url import dlr_url
from sms.models import SmsEvent, SmsMessage
from sms.worker import maintenance
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, callback, paid, stake

pytestmark = pytest.mark.django_db(transaction=True)

FULL_NUMBER = re.compile(r"(?:256|\b0)77[0-9]{7}\b")


@contextmanager
def listening(lines: io.StringIO, formatter: logging.Formatter) -> Iterator[None]:
    """Capture all log output at the lowest level, formatted as in production, with the SQL of Django."""
    handler = logging.StreamHandler(lines)
    handler.setFormatter(formatter)
    root, sql = logging.getLogger(), logging.getLogger("django.db.backends")
    was = root.level, sql.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    sql.setLevel(logging.DEBUG)
    connection.force_debug_cursor = True
    try:
        yield
    finally:
        connection.force_debug_cursor = False
        root.removeHandler(handler)
        root.setLevel(was[0])
        sql.setLevel(was[1])


def drive(client: Client, sandbox: Sandbox, settings: Any) -> list[str]:
    """Stake, invite, match, pay, report, fail, and run every command. Returns the valid player tokens."""
    settings.SITE_URL = "http://testserver"
    tokens = []
    stake(client, ALICE, display_name="Alice")
    matched = stake(client, BOB)
    tokens.append(matched["player_token"])
    client.get(f"/g/{matched['game_token']}?pt={matched['player_token']}")
    client.get(f"/g/{matched['game_token']}?pt=wrong")
    client.get(f"/api/v1/game/{matched['game_token']}?pt={matched['player_token']}")
    client.get(f"/api/v1/game/queue/status?queue_token={matched['queue_token']}")
    private = stake(client, CAROL, 2000, create_private=True, invite_phone=DAVE)
    settings.MOMO_AUTO_APPROVE = False
    joined = stake(client, DAVE, 2000, match_code=private["match_code"])
    tokens += [private["player_token"], joined["player_token"]]
    callback(client, {"transaction_id": joined["transaction_id"]}, **{"X-Callback-Secret": "wrong"})
    paid(client, joined, DAVE)
    paid(client, joined, DAVE)
    lost = stake(client, ALICE, 3000)
    paid(client, lost, ALICE, "FAILED")
    settings.MOMO_AUTO_APPROVE = True
    for switches in ({"send": "503"}, {"send": "400"}, {"token": "401"}):
        cache.clear()
        sandbox.faults(**switches)
        outbox.queue_sms(ALICE, f"Play: http://x/g/t?pt={tokens[0]}", kind="test")
        with pytest.raises(CommandError):
            call_command("send_test_sms", ALICE, stdout=io.StringIO())
    sandbox.faults(token="ok", send="ok")
    call_command("send_test_sms", BOB, stdout=io.StringIO())
    with pytest.raises(CommandError):
        call_command("send_test_sms", "0312123456", stdout=io.StringIO())
    outbox.resend(SmsMessage.objects.filter(status="failed"), "operator")
    for message in SmsMessage.objects.filter(status="sent"):
        url = dlr_url(message.pk).removeprefix("http://testserver")
        client.post(url, {"status": "DELIVERED" if message.pk % 2 else "FAILED"})
        client.get(url[:-2] + "xx/")
    SmsMessage.objects.filter(status="sent").update(sent_at=timezone.now() - timedelta(minutes=5))
    call_command("poll_dlr", stdout=io.StringIO())
    call_command("sms_worker", "--once", stdout=io.StringIO())
    call_command("prune_sms", "--dry-run", stdout=io.StringIO())
    call_command("expire_queue", stdout=io.StringIO())
    client.get("/api/v1/health")
    return tokens


def secrets(sandbox: Sandbox, tokens: list[str]) -> list[str]:
    return [
        "sandbox-password-7341",
        str(django_settings.MOMO_CALLBACK_SECRET),
        str(django_settings.SECRET_KEY),
        *sandbox.server.state.tokens,
        *tokens,
    ]


@pytest.mark.parametrize("formatter", [ConsoleFormatter, JsonFormatter])
def test_no_log_line_holds_a_secret_or_a_number(
    client: Client, sandbox: Sandbox, settings: Any, formatter: type[logging.Formatter]
) -> None:
    log = io.StringIO()
    with listening(log, formatter()):
        tokens = drive(client, sandbox, settings)
    lines = log.getvalue()
    assert "sms.send" in lines
    assert "INSERT INTO" in lines
    for secret in secrets(sandbox, tokens):
        found = next((line for line in lines.splitlines() if secret in line), None)
        assert found is None, found
    found = next((line for line in lines.splitlines() if FULL_NUMBER.search(line)), None)
    assert found is None, found


def test_json_is_one_object_a_line(client: Client, sandbox: Sandbox, settings: Any) -> None:
    lines = io.StringIO()
    with listening(lines, JsonFormatter()):
        drive(client, sandbox, settings)
    assert len(lines.getvalue().splitlines()) > 100
    for line in lines.getvalue().splitlines():
        assert set(json.loads(line)) >= {"time", "level", "logger", "message"}


def test_nothing_stored_or_shown_holds_a_secret(client: Client, sandbox: Sandbox, settings: Any) -> None:
    tokens = drive(client, sandbox, settings)
    client.force_login(User.objects.create_superuser("operator", password="x"))
    paths = ["/admin/", "/admin/sms/", "/admin/sms/smsmessage/", "/admin/sms/smsmessage/?q=0772000001"]
    paths += [f"/admin/sms/smsmessage/{pk}/change/" for pk in SmsMessage.objects.values_list("pk", flat=True)]
    for model in ("game/entry", "game/session", "game/player", "payments/payment", "payments/callback"):
        paths.append(f"/admin/{model}/")
    shown = "".join(client.get(path).content.decode() for path in paths)
    export: Any = client.get("/admin/sms/smsmessage/export/")
    shown += b"".join(export.streaming_content).decode()
    assert "DMark could not deliver it" in shown
    for secret in secrets(sandbox, tokens):
        assert secret not in shown
    # The link is kept until the message is delivered or has expired, so that a resend is possible.
    SmsMessage.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    maintenance.blank_links()
    stored = json.dumps(
        [list(SmsMessage.objects.values("text", "error")), list(SmsEvent.objects.values("answer", "error", "actor"))]
    )
    for secret in secrets(sandbox, tokens):
        assert secret not in stored
    assert "pt=[redacted]" in stored


def test_a_delivered_text_keeps_no_link(client: Client, sandbox: Sandbox, settings: Any) -> None:
    tokens = drive(client, sandbox, settings)
    delivered = SmsMessage.objects.filter(status="delivered", kind="match_found")
    assert delivered.exists()
    for message in delivered:
        assert not any(token in message.text for token in tokens)
        assert not message.holds_link
