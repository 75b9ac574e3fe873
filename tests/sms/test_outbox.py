"""`queue_sms` and `send_sms`: the stored row, the transaction, and the final status."""

import logging
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sms import clock, conf, outbox
from sms.errors import (
    AuthenticationFailed,
    InDoubt,
    InvalidPhone,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    SmsDisabled,
)
from sms.models import SmsEvent, SmsMessage
from sms.outbox import queue_sms, send_sms
from sms.sending import claims
from sms.signals import sms_failed, sms_sent
from tests.conftest import Postgres, RedisServer, Sandbox, wait_for
from tests.preloaded import Process
from tests.system import System, postgres_database

pytestmark = pytest.mark.django_db(transaction=True)

PHONE = "+256772123456"


def test_committed_is_sent_and_rolled_back_is_not(sandbox: Sandbox) -> None:
    with transaction.atomic():
        message = queue_sms("0772 123456", "first")
        assert sandbox.inbox() == []
    with transaction.atomic():
        queue_sms(PHONE, "never")
        transaction.set_rollback(True)
    message.refresh_from_db()
    assert (message.status, message.attempts, message.phone) == ("sent", 1, PHONE)
    assert message.provider_id
    assert message.sent_at
    assert [item["text"] for item in sandbox.inbox()] == ["first"]
    assert sandbox.inbox()[0]["to"] == "0772123456"
    [event] = SmsEvent.objects.all()
    assert (event.step, event.http_status, event.provider_id) == ("send", 200, message.provider_id)


def test_a_message_without_expires_at_gets_the_default_lifetime(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_LIFE_SECONDS = 90
    message = queue_sms(PHONE, "short-lived")
    assert message.expires_at == message.created_at + timedelta(seconds=90)


def test_dedupe_key(sandbox: Sandbox) -> None:
    first = queue_sms(PHONE, "one", dedupe_key="k")
    with transaction.atomic():
        second = queue_sms(PHONE, "two", dedupe_key="k")
        assert SmsMessage.objects.count() == 1  # the caller's transaction still works
    assert first.pk == second.pk
    assert len(sandbox.inbox()) == 1


def test_an_empty_dedupe_key_is_none(sandbox: Sandbox) -> None:
    first, second = queue_sms(PHONE, "one", dedupe_key=""), queue_sms(PHONE, "two", dedupe_key="")
    assert first.pk != second.pk
    assert SmsMessage.objects.filter(dedupe_key=None).count() == 2


@pytest.mark.parametrize(
    ("phone", "text", "warned"),
    [
        (PHONE, "see http://x/g/t?pt=secret", False),
        ("0772 123 456", "see http://x/g/t?pt=secret", False),
        (PHONE, "see http://x/g/t?pt=another", False),
        (PHONE, "see elsewhere", True),
        ("+256772999999", "see http://x/g/t?pt=secret", True),
    ],
)
def test_a_dedupe_key_of_a_different_message_is_logged(
    sandbox: Sandbox, caplog: Any, phone: str, text: str, warned: bool
) -> None:
    first = queue_sms(PHONE, "see http://x/g/t?pt=secret", kind="hint", dedupe_key="of 0772123456")
    SmsMessage.objects.filter(pk=first.pk).update(text="see http://x/g/t?pt=[redacted]")
    assert queue_sms(phone, text, kind="hint", dedupe_key="of 0772123456").pk == first.pk
    told = [record.getMessage() for record in caplog.records if "dedupe_key_reused" in record.getMessage()]
    assert bool(told) is warned
    if warned:
        assert told[0].startswith(
            f"sms.dedupe_key_reused: message {first.pk} (hint) to +25677****456"
            " already has the reference 'of 077****456'"
        )
    SmsMessage.objects.filter(pk=first.pk).update(text="")
    caplog.clear()
    queue_sms(PHONE, text, kind="hint", dedupe_key="of 0772123456")
    assert not caplog.records


def test_send_sms_in_a_transaction_that_may_be_rolled_back(sandbox: Sandbox, settings: Any) -> None:
    for password in ("sandbox-password-7341", ""):
        settings.SMS_SERVICE_PASSWORD = password
        with transaction.atomic(), pytest.raises(RuntimeError, match="use queue_sms"):
            send_sms(PHONE, "x")
    assert SmsMessage.objects.count() == len(sandbox.inbox()) == 0


class TestInATestCase(TestCase):
    """Django's TestCase wraps each test in transactions. They do not count as transactions of the caller."""

    def test_send_sms(self) -> None:
        with pytest.raises(SmsDisabled):
            send_sms(PHONE, "x")
        assert SmsMessage.objects.get().status == "disabled"


def test_dedupe_key_in_a_race(sandbox: Sandbox) -> None:
    def run() -> None:
        queue_sms(PHONE, "x", dedupe_key="race")
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SmsMessage.objects.count() == 1
    assert len(sandbox.inbox()) == 1


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "a\ud800", None, 5])
def test_bad_texts_leave_no_row(sandbox: Sandbox, text: Any) -> None:
    for call in (queue_sms, send_sms):
        with pytest.raises(ValueError, match=r"The text of an SMS"):
            call(PHONE, text)
    with pytest.raises(InvalidPhone):
        queue_sms("123", "x")
    assert SmsMessage.objects.count() == 0


def test_disabled_leaves_a_row_and_sends_nothing(settings: Any) -> None:
    settings.SMS_SERVICE_BASE_URL = ""
    assert queue_sms(PHONE, "x").status == "disabled"
    with pytest.raises(SmsDisabled, match="SMS_SERVICE_BASE_URL"):
        send_sms(PHONE, "x")
    messages = SmsMessage.objects.values_list("status", "error")
    assert list(messages) == [("disabled", conf.current().disabled_because)] * 2


def test_send_sms_raises_the_reason_and_keeps_it(sandbox: Sandbox) -> None:
    for fault, error in (("400", ProviderRejected), ("503", ProviderUnavailable), ("401", AuthenticationFailed)):
        sandbox.faults(send=fault)
        with pytest.raises(error) as caught:
            send_sms(PHONE, "x")
        message = SmsMessage.objects.latest()
        assert message.status == "failed"
        assert message.error == str(caught.value)
    sandbox.faults(send="ok")
    assert send_sms(PHONE, "x").status == "sent"


def test_inline_failure_does_not_disturb_the_caller(sandbox: Sandbox) -> None:
    sandbox.faults(send="503")
    message = queue_sms(PHONE, "x")
    message.refresh_from_db()
    assert (message.status, message.attempts) == ("failed", 3)
    assert SmsEvent.objects.filter(message=message).count() == 3


@pytest.mark.parametrize("swallow", [False, True])
def test_a_cache_that_is_down_prevents_no_message(
    sandbox: Sandbox, redis_cache: RedisServer, settings: Any, caplog: Any, swallow: bool
) -> None:
    settings.SMS_RATE_LIMIT_SECONDS = 30
    settings.CACHES["default"]["OPTIONS"]["IGNORE_EXCEPTIONS"] = swallow
    settings.CACHES = dict(settings.CACHES)
    redis_cache.stop()
    for _ in range(2):
        assert send_sms(PHONE, "x").status == "sent"
    assert len(sandbox.inbox()) == 2
    assert caplog.text.count("sms.cache_down") == 1


def test_a_cache_that_hangs_prevents_no_message(sandbox: Sandbox, redis_cache: RedisServer, settings: Any) -> None:
    settings.SMS_RATE_LIMIT_SECONDS = 30
    assert redis_cache.process
    os.kill(redis_cache.process.pid, signal.SIGSTOP)
    try:
        assert send_sms(PHONE, "x").status == "sent"
    finally:
        os.kill(redis_cache.process.pid, signal.SIGCONT)


def test_an_expired_text_is_never_sent(sandbox: Sandbox) -> None:
    message = queue_sms(PHONE, "see http://x/g/t?pt=secret", expires_at=timezone.now() - timedelta(seconds=1))
    message.refresh_from_db()
    assert message.status == "expired"
    assert "expired" in message.error
    assert "secret" not in message.text
    assert sandbox.inbox() == []


def test_two_deliveries_of_one_row_send_once(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    message = queue_sms(PHONE, "x")
    assert message.status == "queued"
    assert sandbox.inbox() == []

    def run() -> None:
        outbox.deliver(message.pk)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sandbox.inbox()) == 1


def test_the_message_that_expires_first_is_claimed_first(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    now = timezone.now()
    for minutes in (30, 10, 20):
        queue_sms(PHONE, str(minutes), expires_at=now + timedelta(minutes=minutes))
    claimed = claims.claim("me", 2, 60)
    assert [message.text for message in claimed] == ["10", "20"]
    assert claims.free_leases_over_before(clock.read()) == 0
    SmsMessage.objects.update(lease_until=now - timedelta(seconds=1))
    assert claims.free_leases_over_before(clock.read()) == 2


def test_signals_come_after_the_status(sandbox: Sandbox) -> None:
    seen: list[tuple[str, str]] = []

    def note(name: str) -> Any:
        def receive(message: SmsMessage, **kwargs: Any) -> None:
            seen.append((name, SmsMessage.objects.get(pk=message.pk).status))

        return receive

    sent, failed = note("sent"), note("failed")
    sms_sent.connect(sent, weak=False)
    sms_failed.connect(failed, weak=False)
    try:
        queue_sms(PHONE, "one")
        sandbox.faults(send="400")
        queue_sms(PHONE, "two")
    finally:
        sms_sent.disconnect(sent)
        sms_failed.disconnect(failed)
    assert seen == [("sent", "sent"), ("failed", "failed")]


def test_resend(sandbox: Sandbox) -> None:
    sandbox.faults(send="400")
    message = queue_sms(PHONE, "x")
    sandbox.faults(send="ok")
    assert outbox.resend(SmsMessage.objects.filter(pk=message.pk), "alice") == [message.pk]
    assert outbox.resend(SmsMessage.objects.filter(pk=message.pk), "alice") == []
    message.refresh_from_db()
    assert message.status == "sent"
    assert len(sandbox.inbox()) == 1
    assert SmsEvent.objects.get(what="resend").actor == "alice"


def test_log_lines_are_structured_and_masked(sandbox: Sandbox, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    message = queue_sms(PHONE, "hello", kind="match_found")
    [record] = [record for record in caplog.records if record.name == "sms.delivery"]
    fields = vars(record)
    assert record.levelname == "INFO"
    assert fields["event"] == "sms.send"
    assert fields["message_id"] == message.pk
    assert fields["phone"] == "+25677****456"
    assert (fields["attempt"], fields["http_status"], fields["kind"]) == (1, 200, "match_found")
    assert fields["provider_id"]
    assert fields["ms"] >= 0
    assert "772123456" not in fields["answer"]
    # The log line contains the same facts, for log formats that do not show `extra`.
    said = f"sms.send: {message.pk} (match_found) to +25677****456, 200, id {fields['provider_id']}"
    assert record.getMessage() == said
    sandbox.faults(send="400")
    failed = queue_sms(PHONE, "hello")
    assert caplog.records[-1].levelname == "ERROR"
    start = f"sms.send: {failed.pk} (plain) to +25677****456 failed, 400: "
    assert caplog.records[-1].getMessage().startswith(start)
    assert "772123456" not in caplog.text


def test_send_test_sms(sandbox: Sandbox, settings: Any, capsys: Any) -> None:
    call_command("send_test_sms", "0772123456", "--message", "hi")
    out = capsys.readouterr().out
    assert out.startswith("sent")
    assert sandbox.inbox()[0]["text"] == "hi"
    for fault, words in (("400", "provider"), ("503", "provider"), ("401", "credentials")):
        sandbox.faults(send=fault)
        with pytest.raises(CommandError, match=words):
            call_command("send_test_sms", "0772123456")
    with pytest.raises(CommandError, match="bad number"):
        call_command("send_test_sms", "123")
    sandbox.faults(send="ok")
    settings.SMS_RATE_LIMIT_SECONDS = 30
    call_command("send_test_sms", "0772123456")
    with pytest.raises(CommandError, match="rate limit"):
        call_command("send_test_sms", "0772123456")
    settings.SMS_SERVICE_PASSWORD = ""
    with pytest.raises(CommandError, match="disabled"):
        call_command("send_test_sms", "0772123456")


def test_a_callback_that_fails_after_commit_does_not_stop_the_others(
    sandbox: Sandbox, monkeypatch: Any, caplog: Any
) -> None:
    """Django logs a failing callback by its `__qualname__`.

    Before the fix the callback was a partial, which has none. Logging failed, and the remaining callbacks did not run.
    """
    deliver, calls = outbox.deliver, []

    def fail_first(message_id: int) -> None:
        calls.append(message_id)
        if len(calls) == 1:
            raise OSError("no file")
        deliver(message_id)

    monkeypatch.setattr(outbox, "deliver", fail_first)
    with transaction.atomic():
        for number in range(3):
            queue_sms(PHONE, f"text {number}")
    assert len(calls) == 3
    assert SmsMessage.objects.filter(status="sent").count() == 2
    assert "Error calling _send_after_commit.<locals>.send_committed in on_commit()" in caplog.text


def test_a_notify_that_fails_does_not_disturb_the_caller(sandbox: Sandbox, settings: Any, monkeypatch: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has NOTIFY")

    def fail() -> None:
        raise OSError("no socket")

    settings.SMS_DELIVERY = "worker"
    monkeypatch.setattr(outbox, "_notify", fail)
    assert queue_sms(PHONE, "x", dedupe_key="a").pk == queue_sms(PHONE, "x", dedupe_key="a").pk


def test_a_clock_that_steps_back_does_not_leave_a_message_queued(sandbox: Sandbox, monkeypatch: Any) -> None:
    with transaction.atomic():
        message = queue_sms(PHONE, "x")
        # The state after a resend: the message was sent before.
        ahead = timezone.now() + timedelta(seconds=30)
        SmsMessage.objects.filter(pk=message.pk).update(due_at=ahead, attempts=1)
    message.refresh_from_db()
    assert message.status == "sent"


def test_due_at_is_the_databases_time(sandbox: Sandbox, settings: Any, monkeypatch: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    ahead = timezone.now() + timedelta(seconds=20)
    monkeypatch.setattr(clock, "now", lambda **options: ahead)
    message = queue_sms(PHONE, "x")
    # The object has this machine's time. The row has the database's time.
    assert message.due_at == message.created_at == ahead
    message.refresh_from_db()
    assert message.due_at < ahead - timedelta(seconds=10)
    assert [claimed.pk for claimed in claims.claim("me", 1, 10)] == [message.pk]


def test_a_resend_forgets_the_former_request(sandbox: Sandbox, settings: Any) -> None:
    """A poll with the old request's id would apply the old request's report to the resent message."""
    message = queue_sms(PHONE, "x")
    first = SmsMessage.objects.get(pk=message.pk).provider_id
    settings.SMS_DELIVERY = "worker"
    SmsMessage.objects.filter(pk=message.pk).update(status="undelivered", polled_at=timezone.now())
    assert outbox.resend(SmsMessage.objects.filter(pk=message.pk), "alice") == [message.pk]
    message.refresh_from_db()
    assert (message.provider_id, message.sent_at, message.polled_at) == ("", None, None)
    outbox.deliver(message.pk)
    message.refresh_from_db()
    assert message.provider_id not in ("", first)
    assert message.sent_at


@pytest.mark.parametrize(
    ("fault", "error", "status_code"),
    [("html", ProviderRejected, 200), ("504", InDoubt, 504), ("reset", InDoubt, None)],
)
def test_send_sms_raises_the_original_error_of_an_ambiguous_request(
    sandbox: Sandbox, fault: str, error: type[ProviderError], status_code: int | None
) -> None:
    sandbox.faults(send=fault)
    with pytest.raises(error) as caught:
        send_sms(PHONE, "x")
    assert (caught.value.status_code, caught.value.ambiguous, caught.value.transient) == (status_code, True, False)
    assert isinstance(caught.value, InDoubt) is (error is InDoubt)
    assert SmsMessage.objects.get().status == "unknown"
    with pytest.raises(CommandError, match=r"^Perhaps sent \(provider\): "):
        call_command("send_test_sms", "0772123456")


def test_a_connection_cut_during_the_send_loses_no_result(postgres: Postgres, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(send="late", hang_seconds=2)
    system = System(postgres_database(postgres), sandbox, SMS_DELIVERY="inline", SMS_READ_TIMEOUT="10")
    with (tmp_path / "out").open("wb") as file:
        sender = Process(["manage.py", "send_test_sms", "0772123456"], env=system.environment, stdout=file)
    wait_for(lambda: sandbox.sends == 1, 20)
    system.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = ?",
               system.database.rsplit("/", 1)[1].partition("?")[0])  # fmt: skip
    assert (sender.wait(30), (tmp_path / "out").read_text().partition(":")[0]) == (0, "sent")
    assert system.counts() == {"sent": 1}
    system.manage("sms_worker", "--once")
    assert len(sandbox.inbox()) == 1
    system.close()


def test_a_setting_that_cannot_be_read_is_one_sentence(settings: Any) -> None:
    settings.SMS_RATE_LIMIT_SECONDS = "soon"
    with pytest.raises(CommandError, match=r"^Not sent \(setting\): SMS_RATE_LIMIT_SECONDS must be a number"):
        call_command("send_test_sms", "0772123456")


@pytest.mark.parametrize(("delivery", "status", "most"), [("worker", "queued", 1), ("inline", "sent", None)])
def test_many_messages_in_one_statement(
    sandbox: Sandbox, settings: Any, delivery: str, status: str, most: int | None
) -> None:
    settings.SMS_DELIVERY = delivery
    queue_sms(PHONE, "first", dedupe_key="a")
    rows = [
        outbox.NewMessage("0772123456", "other", "kind", "a"),
        outbox.NewMessage(PHONE, "second", "kind", "b"),
        outbox.NewMessage(PHONE, "third"),
    ]
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        outbox.queue_many(rows)
    if most:
        assert len([query for query in queries.captured_queries if "INSERT" in query["sql"]]) == most
    assert list(SmsMessage.objects.order_by("pk").values_list("text", "dedupe_key", "status")) == [
        ("first", "a", status),
        ("second", "b", status),
        ("third", None, status),
    ]
    with pytest.raises(InvalidPhone):
        outbox.queue_many([outbox.NewMessage(PHONE, "fourth"), outbox.NewMessage("123", "x")])
    assert SmsMessage.objects.count() == 3
    if delivery == "worker":
        assert len(claims.claim("me", 10, 10)) == 3
