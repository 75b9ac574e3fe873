"""Alerts: one notice when a problem begins, and one when it ends."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import django
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from sms import alerts
from sms.models import SmsAlert, SmsMessage, SmsPause, SmsWorker
from sms.testing import serving
from sms.worker import maintenance
from tests.conftest import Sandbox, free_port

pytestmark = pytest.mark.django_db(transaction=True)


class Hook:
    """A webhook receiver. It keeps each body, and responds with `status`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(body["event"], body["name"]) for body in self.bodies]


@pytest.fixture
def hook(settings: Any) -> Iterator[Hook]:
    hook = Hook()
    settings.ALERT_WEBHOOK_URL = hook.url
    with serving(hook.server):
        yield hook


@pytest.fixture
def someone(settings: Any) -> None:
    # ADMINS holds (name, address) pairs before Django 6, and addresses since Django 6.
    settings.ADMINS = type(settings.ADMINS)(_admins("night@example.com"))
    settings.SITE_URL = "https://play.example.com"


def _admins(address: str) -> list[Any]:
    import django

    return [address] if django.VERSION >= (6, 0) else [(address, address)]


@pytest.fixture
def paused(sandbox: Sandbox) -> SmsPause:
    return SmsPause.objects.create(reason="Wrong amounts, call 0772123456", actor="grace")


def later(minutes: float) -> datetime:
    return timezone.now() + timedelta(minutes=minutes)


def test_once_when_it_begins_and_once_when_it_ends(
    paused: SmsPause, hook: Hook, someone: None, mailoutbox: list[Any]
) -> None:
    for minute in range(3):
        alerts.check(later(minute))
    assert hook.told == [("begins", "sms:paused:*")]
    assert "paused by grace: Wrong amounts, call 077****456" in hook.bodies[0]["text"]
    assert hook.bodies[0]["site"] == "https://play.example.com"
    (letter,) = mailoutbox
    assert letter.to == ["night@example.com"]
    assert letter.subject.startswith("[PlayMatatu] begins: Sending of all texts is paused by grace")
    assert "https://play.example.com/admin/" in letter.body
    paused.delete()
    for minute in range(3, 8):
        alerts.check(later(minute))
    assert hook.told == [("begins", "sms:paused:*"), ("ends", "sms:paused:*")]
    assert hook.bodies[1]["ended_at"] > hook.bodies[1]["since"]
    assert [letter.subject.split(":")[0] for letter in mailoutbox] == ["[PlayMatatu] begins", "[PlayMatatu] over"]
    assert not SmsAlert.objects.exists()


def test_what_is_back_within_two_minutes_wakes_nobody_again(paused: SmsPause, hook: Hook) -> None:
    alerts.check(later(0))
    SmsPause.objects.all().delete()
    alerts.check(later(1))
    SmsPause.objects.create(reason="again")
    alerts.check(later(1.5))
    assert hook.told == [("begins", "sms:paused:*")]


@pytest.mark.parametrize("status", [500, 302])
def test_what_could_not_be_told_is_told_a_minute_later(
    paused: SmsPause, hook: Hook, someone: None, mailoutbox: list[Any], status: int
) -> None:
    hook.status = status
    alerts.check(later(0))
    assert len(hook.bodies) == len(mailoutbox) == 1
    hook.status = 200
    for minute in (1, 2, 3):
        alerts.check(later(minute))
    assert len(hook.bodies) == 2
    assert len(mailoutbox) == 1


def test_a_mail_server_that_is_away_keeps_no_post(paused: SmsPause, hook: Hook, someone: None, settings: Any) -> None:
    backend, nobody = "django.core.mail.backends.smtp.EmailBackend", free_port()
    if django.VERSION >= (6, 1):
        options = {"host": "127.0.0.1", "port": nobody, "timeout": 1}
        settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": options}}
    else:
        settings.EMAIL_BACKEND = backend
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", nobody, 1
    alerts.check(later(0))
    alerts.check(later(1))
    assert len(hook.bodies) == 1
    assert not SmsAlert.objects.get().mailed


def test_two_workers_send_one(paused: SmsPause, hook: Hook) -> None:
    def work() -> None:
        try:
            alerts.check()
        finally:
            connection.close()

    for _ in range(3):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert hook.told == [("begins", "sms:paused:*")]


def test_one_that_died_while_telling_loses_its_turn(paused: SmsPause, hook: Hook) -> None:
    alerts.check(later(0))
    SmsAlert.objects.update(posted=False, busy_until=later(2))
    alerts.check(later(1))
    assert len(hook.bodies) == 1
    alerts.check(later(3))
    assert len(hook.bodies) == 2


def test_the_end_is_told_although_the_sender_of_the_beginning_was_killed(paused: SmsPause, hook: Hook) -> None:
    """The notice of the beginning may have been sent, so the notice of the end must be sent."""
    alerts.check(later(0))
    # killed after the request and before its result was stored
    SmsAlert.objects.update(posted=False, busy_until=later(2))
    paused.delete()
    for minute in range(1, 5):
        alerts.check(later(minute))
    assert hook.told == [("begins", "sms:paused:*"), ("ends", "sms:paused:*")]


def test_others_add_what_they_know(sandbox: Sandbox, hook: Hook, monkeypatch: Any) -> None:
    wrong: list[alerts.Condition] = [alerts.Condition("payments:contested", "2 payments are contested.")]
    monkeypatch.setattr("sms.alerts._sources", [])
    alerts.register(lambda now: wrong)
    alerts.check(later(0))
    assert hook.told == [("begins", "payments:contested")]
    wrong.clear()
    alerts.check(later(3))
    assert hook.told[1:] == [("ends", "payments:contested")]


def test_a_source_that_fails_hides_nothing_and_ends_nothing(paused: SmsPause, hook: Hook, monkeypatch: Any) -> None:
    alerts.check(later(0))
    paused.delete()
    monkeypatch.setattr("sms.alerts._sources", [lambda now: 1 / 0])
    alerts.check(later(5))
    assert hook.told == [("begins", "sms:paused:*")]


def test_sms_that_is_off_is_no_news(hook: Hook) -> None:
    alerts.check()
    assert hook.bodies == []


def test_a_worker_that_restarts_sends_no_alert_and_one_that_stays_away_does(
    sandbox: Sandbox, hook: Hook, settings: Any
) -> None:
    settings.SMS_DELIVERY = "worker"
    alerts.check(later(0))
    worker = SmsWorker.objects.create(claimer="one", name="host:1", seen_at=later(9))
    for minute in (1, 2, 3):
        alerts.check(later(minute))
    assert hook.told == []
    assert not SmsAlert.objects.exists()
    worker.delete()
    for minute in (4, 5):
        alerts.check(later(minute))
    assert hook.told == [("begins", "sms:no_worker")]


def test_two_short_restarts_are_not_one_long_absence(sandbox: Sandbox, hook: Hook, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    for minute in range(0, 6, 2):
        alerts.check(later(minute / 2))
        worker = SmsWorker.objects.create(claimer="one", name="host:1", seen_at=later(9))
        alerts.check(later((minute + 1) / 2))
        worker.delete()
    assert hook.told == []


@pytest.fixture
def dead_worker(sandbox: Sandbox, hook: Hook, settings: Any) -> None:
    """A worker was killed five minutes ago. A check one minute ago has noticed it, and waits for a restart."""
    settings.SMS_DELIVERY = "worker"
    SmsWorker.objects.create(claimer="one", name="host:1", seen_at=later(-5))
    text = {"phone": "+256772123456", "text": "x", "created_at": later(-5), "due_at": later(-5)}
    for number in range(10):
        SmsMessage.objects.create(**text, dedupe_key=f"waiting:{number}", expires_at=later(60))
    alerts.check(later(-1))
    assert hook.told == []


def test_check_sending_tells_that_no_sms_worker_runs(
    dead_worker: None, hook: Hook, someone: None, mailoutbox: list[Any]
) -> None:
    with pytest.raises(CommandError, match="No SMS worker is running; 10 texts waiting"):
        call_command("check_sending")
    assert ("begins", "sms:no_worker") in hook.told
    assert "No SMS worker is running" in mailoutbox[0].body


def test_the_worker_tells(paused: SmsPause, hook: Hook) -> None:
    maintenance.run()
    assert hook.told == [("begins", "sms:paused:*")]


# --- check_sending


def test_check_sending(sandbox: Sandbox, settings: Any, capsys: Any) -> None:
    call_command("check_sending")
    assert "Texts are being sent; none are waiting." in capsys.readouterr().out
    settings.SMS_DELIVERY = "worker"
    with pytest.raises(CommandError, match="No SMS worker is running"):
        call_command("check_sending")
    SmsWorker.objects.create(claimer="one", name="host:1")
    call_command("check_sending")
    at = timezone.now() - timedelta(minutes=5)
    SmsMessage.objects.create(phone="+256772123456", text="x", created_at=at, due_at=at, expires_at=later(60))
    with pytest.raises(CommandError, match="The queue is growing"):
        call_command("check_sending")
    SmsPause.objects.create(reason="wrong", actor="grace")
    with pytest.raises(CommandError, match="paused by grace"):
        call_command("check_sending")
    SmsPause.objects.all().delete()
    SmsMessage.objects.all().delete()
    SmsWorker.objects.all().delete()
    settings.SMS_SERVICE_BASE_URL = ""
    with pytest.raises(CommandError, match="SMS is switched off"):
        call_command("check_sending")
