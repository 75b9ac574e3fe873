"""Delivery reports: the signed URL, every encoding, and which status replaces which."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sms.dlr.statuses import _add, record_report
from sms.dmark.dlr_url import dlr_url, signer
from sms.errors import SmsError
from sms.models import SmsEvent, SmsMessage, Status
from sms.outbox import queue_sms
from sms.sending.attempt import Result
from sms.sending.results import record
from tests.conftest import Sandbox, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

PHONE = "+256772123456"


@pytest.fixture
def message(sandbox: Sandbox, settings: Any) -> SmsMessage:
    settings.SITE_URL = "http://testserver"
    return SmsMessage.objects.get(pk=queue_sms(PHONE, "see http://x/g/t?pt=secret-token").pk)


def path(message: SmsMessage) -> str:
    return dlr_url(message.pk).removeprefix("http://testserver")


def state(message: SmsMessage) -> str:
    return SmsMessage.objects.get(pk=message.pk).status


def test_a_project_where_everybody_must_log_in(client: Client, message: SmsMessage, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert client.get("/").status_code == 302
    assert client.get(path(message), {"status": "DELIVERED"}).status_code == 200
    assert state(message) == "delivered"


@pytest.mark.parametrize("word", ["DELIVERED", "delivered", " Delivered ", "1", 1])
@pytest.mark.parametrize("how", ["json", "form", "get", "json without a type"])
def test_delivered(client: Client, message: SmsMessage, word: Any, how: str) -> None:
    values = {"msg_id": "another", "status": word, "submitted_at": "2026-01-01"}
    if how == "get":
        answer = client.get(path(message), values)
    elif how == "form":
        answer = client.post(path(message), values)
    else:
        kind = "application/json" if how == "json" else "text/plain"
        answer = client.post(path(message), json.dumps(values), content_type=kind)
    assert answer.status_code == 200
    message.refresh_from_db()
    assert message.status == "delivered"
    assert message.delivered_at
    assert "secret-token" not in message.text


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (["PENDING"], "sent"),
        (["8", "4"], "sent"),
        (["banana"], "sent"),
        ([""], "sent"),
        (["FAILED"], "undelivered"),
        (["2"], "undelivered"),
        (["16"], "undelivered"),
        (["FAILED", "DELIVERED"], "delivered"),
        (["DELIVERED", "FAILED"], "delivered"),
        (["DELIVERED", "PENDING", "DELIVERED"], "delivered"),
    ],
)
def test_a_status_never_moves_backwards(message: SmsMessage, words: list[str], end: str) -> None:
    for word in words:
        assert record_report(message.pk, word, "push")
    assert state(message) == end


@pytest.mark.parametrize("status", ["failed", "expired", "rate_limited", "disabled", "cancelled", "queued"])
def test_a_late_delivered_overrides_any_final_status(message: SmsMessage, status: str) -> None:
    SmsMessage.objects.filter(pk=message.pk).update(status=status, attempts=0)
    record_report(message.pk, "FAILED", "push")  # DMark cannot have this message, so the report changes nothing.
    assert state(message) == status
    record_report(message.pk, "DELIVERED", "push")
    assert state(message) == "delivered"


@pytest.mark.parametrize(
    ("status", "doubts", "word", "end"),
    [
        ("unknown", 4, "PENDING", "sent"),
        ("unknown", 4, "banana", "sent"),
        ("unknown", 4, "FAILED", "undelivered"),
        ("sending", 0, "PENDING", "sent"),
        ("sending", 0, "EXPIRED", "undelivered"),
        ("failed", 0, "PENDING", "sent"),
        ("expired", 0, "UNDELIV", "undelivered"),
        ("queued", 2, "8", "sent"),
        ("queued", 0, "8", "queued"),  # an operator has queued it again
        ("unknown", 4, "", "unknown"),
        ("disabled", 0, "PENDING", "disabled"),
        ("undelivered", 0, "PENDING", "undelivered"),
    ],
)
def test_a_report_of_any_word_proves_that_dmark_has_it(
    message: SmsMessage, status: str, doubts: int, word: str, end: str
) -> None:
    SmsMessage.objects.filter(pk=message.pk).update(status=status, ambiguous_requests=doubts, sent_at=None)
    record_report(message.pk, word, "push")
    assert state(message) == end


WORDS = "FAILED EXPIRED REJECTED UNDELIV UNDELIVERABLE BLACKLISTED DELETED undeliv 2 16".split()


@pytest.mark.parametrize("word", WORDS)
def test_every_word_that_ends_it(message: SmsMessage, word: str) -> None:
    """Incident elsewhere: jookies/jasmin#447 knew only one status word, and lost reports with other words."""
    record_report(message.pk, word, "push")
    assert state(message) == "undelivered"
    assert record_report(message.pk, "DELIVRD", "push")
    assert state(message) == "delivered"


def test_an_equal_report_adds_no_row(message: SmsMessage) -> None:
    for word in ("PENDING", "pending", "DELIVERED", "DELIVERED", "PENDING"):
        record_report(message.pk, word, "push")
    assert list(message.events.filter(what="report").values_list("answer", flat=True)) == [
        "PENDING",
        "DELIVERED",
        "PENDING",
    ]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
@pytest.mark.parametrize(("word", "end"), [("DELIVERED", "delivered"), ("FAILED", "undelivered"), ("PENDING", "sent")])
def test_two_equal_reports_at_once_add_one_row(message: SmsMessage, word: str, end: str) -> None:
    SmsMessage.objects.filter(pk=message.pk).update(status="sent", attempts=1)
    both_have_read = threading.Barrier(2)

    def report() -> bool:
        read: list[str] = []

        def wait_after_reading(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
            found = execute(sql, parameters, many, context)
            if "last_report" in sql and not read:
                read.append(sql)
                both_have_read.wait(10)
            return found

        try:
            with connection.execute_wrapper(wait_after_reading):
                return record_report(message.pk, word, "push")
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert [one.result(20) for one in [pool.submit(report), pool.submit(report)]] == [True, True]
    assert list(message.events.filter(what="report").values_list("answer", flat=True)) == [word]
    assert state(message) == end


def test_a_report_that_waited_for_another_one_counts_as_the_last(message: SmsMessage) -> None:
    record_report(message.pk, "DELIVERED", "push")
    read_before = timezone.now()
    record_report(message.pk, "BUFFERED", "push")
    _add(SmsEvent(message=message, at=read_before, what="report", step="push", answer="FAILED"))
    record_report(message.pk, "FAILED", "push")
    assert list(message.events.filter(what="report").order_by("at").values_list("answer", flat=True)) == [
        "DELIVERED",
        "BUFFERED",
        "FAILED",
    ]


@pytest.mark.parametrize("accepted", [True, False])
def test_a_failed_report_before_the_result_of_its_request_keeps_its_reason(message: SmsMessage, accepted: bool) -> None:
    SmsMessage.objects.filter(pk=message.pk).update(status="sending", claim="me", attempts=1, sent_at=None)
    claimed = SmsMessage.objects.get(pk=message.pk)
    record_report(message.pk, "FAILED", "push")
    status = Status.SENT if accepted else Status.FAILED
    record([Result(claimed, status, timezone.now(), None if accepted else SmsError("no answer"))])
    message.refresh_from_db()
    assert (message.status, message.error) == ("undelivered", "DMark could not deliver it (FAILED).")


def _run_by(path: str, client: Client) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.post(path, {"status": "DELIVERED"}).status_code == 200
    return [query["sql"] for query in captured.captured_queries if not query["sql"].startswith(("BEGIN", "COMMIT"))]


def test_a_report_takes_two_statements(client: Client, message: SmsMessage) -> None:
    """One statement reads the message with its last report. Another one stores the event and the new status.

    SQLite needs two statements to store them.
    """
    first = _run_by(path(message), client)
    assert len(first) == (2 if connection.vendor == "postgresql" else 3), first
    assert len(_run_by(path(message), client)) == 1  # an equal report stores nothing
    message.refresh_from_db()
    event = message.events.get(what="report")
    assert (message.status, message.delivered_at, event.answer, event.step) == (
        "delivered",
        message.delivered_at,
        "DELIVERED",
        "push",
    )
    assert message.delivered_at


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite writes each commit to the disk")
@pytest.mark.parametrize(
    ("status", "provider_id", "waits"), [("sent", "7", False), ("sent", "", True), ("unknown", "7", True)]
)
def test_only_a_report_that_can_be_polled_does_not_wait_for_the_disk(
    client: Client, message: SmsMessage, status: str, provider_id: str, waits: bool
) -> None:
    SmsMessage.objects.filter(pk=message.pk).update(status=status, provider_id=provider_id)
    statements = _run_by(path(message), client)
    assert ("synchronous_commit" not in statements[1]) == waits
    assert state(message) == "delivered"
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)


@pytest.mark.parametrize(("word", "end"), [("PENDING", "sent"), ("FAILED", "undelivered"), ("DELIVERED", "delivered")])
def test_a_status_that_changes_meanwhile_is_read_again(message: SmsMessage, word: str, end: str) -> None:
    """A sender stores a failure between the two statements of a report."""
    SmsMessage.objects.filter(pk=message.pk).update(status="sending", claim="me", attempts=1, sent_at=None)
    changed: list[int] = []

    def change_after_reading(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        found = execute(sql, parameters, many, context)
        if "last_report" in sql and not changed:
            changed.append(SmsMessage.objects.filter(pk=message.pk).update(status="failed", error="no answer"))
        return found

    with connection.execute_wrapper(change_after_reading):
        assert record_report(message.pk, word, "push")
    message.refresh_from_db()
    assert changed == [1]
    assert message.status == end
    assert message.error != "no answer"
    assert list(message.events.filter(what="report").values_list("answer", flat=True)) == [word]


@pytest.mark.parametrize(
    ("word", "end"), [(1.0, "delivered"), ("x" * 10_000, "sent"), ({"a": 1}, "sent"), (True, "sent")]
)
def test_any_word_of_any_type(client: Client, message: SmsMessage, word: Any, end: str) -> None:
    """Incident elsewhere: in alphagov/notifications-api#1613, an unknown status caused a 500."""
    body = json.dumps({"status": word})
    assert client.post(path(message), body, content_type="application/json").status_code == 200
    assert state(message) == end


def test_forged_urls(client: Client, message: SmsMessage) -> None:
    good = path(message)
    other = good.replace(f"/{message.pk}.", f"/{message.pk + 1}.")
    for bad in (good[:-3] + "xx/", other, "/sms/dlr/1/", "/sms/dlr/.x/", "/sms/dlr/x.y/"):
        assert client.post(bad, {"status": "DELIVERED"}).status_code == 403
    assert client.put(good).status_code == 405
    assert client.post(good).status_code == 200
    assert client.post(good, b"\xff\xfe{", content_type="application/json").status_code == 200
    assert client.post(good, "[" * 10000, content_type="application/json").status_code == 200
    assert state(message) == "sent"
    message.delete()
    assert client.post(good, {"status": "DELIVERED"}).status_code == 404


def test_a_url_signed_before_a_key_rotation(client: Client, message: SmsMessage, settings: Any) -> None:
    old, signed_with = path(message), settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another" * 10, [signed_with]
    assert path(message) != old
    assert client.post(old, {"status": "DELIVERED"}).status_code == 200
    assert client.post(path(message), {"status": "DELIVERED"}).status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert client.post(old, {"status": "DELIVERED"}).status_code == 403


def test_no_report_url_if_reports_are_off(message: SmsMessage, settings: Any) -> None:
    settings.SMS_DLR_ENABLED = False
    assert dlr_url(1) == ""
    settings.SMS_DLR_ENABLED = True
    settings.SITE_URL = ""
    assert dlr_url(1) == ""
    settings.SITE_URL = "http://testserver"
    settings.ROOT_URLCONF = "tests.urls_empty"
    assert dlr_url(1) == ""


@pytest.mark.parametrize("secret", ["k" * 50, b"bytes, as Django allows", "another"])
def test_the_url_is_signed_as_django_signs(settings: Any, secret: "str | bytes") -> None:
    settings.SITE_URL, settings.SECRET_KEY = "http://testserver", secret
    for message_id in (1, 2**63 - 1):
        signed = dlr_url(message_id).rstrip("/").rsplit("/", 1)[1]
        assert signed == signer().sign(str(message_id))


@pytest.mark.parametrize("method", ["json", "form", "get"])
def test_the_sandbox_reports(sandbox: Sandbox, settings: Any, live_server: Any, method: str) -> None:
    settings.SITE_URL = live_server.url
    sandbox.faults(report="backwards", report_after=0.05, report_method=method)
    message = queue_sms(PHONE, "x")
    wait_for(lambda: SmsMessage.objects.get(pk=message.pk).events.filter(what="report").count() == 3)
    assert state(message) == "delivered"


def test_a_report_before_our_own_post_has_returned(sandbox: Sandbox, settings: Any, live_server: Any) -> None:
    settings.SITE_URL = live_server.url
    settings.SMS_DELIVERY = "worker"
    message = queue_sms(PHONE, "x")
    SmsMessage.objects.filter(pk=message.pk).update(status="sending", claim="me")
    assert record_report(message.pk, "DELIVERED", "push")
    message.refresh_from_db()
    record([Result(message, Status.SENT, message.created_at, provider_id="77")])
    message.refresh_from_db()
    assert (message.status, message.provider_id) == ("delivered", "77")
