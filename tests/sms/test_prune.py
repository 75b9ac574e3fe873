"""Pruning: which rows are deleted, whose texts are erased, and which rows are kept."""

import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sms import outbox
from sms.models import SmsDay, SmsEvent, SmsMessage
from sms.text.redaction import blank_link
from sms.worker import maintenance
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def text(days: float, **values: Any) -> SmsMessage:
    at = timezone.now() - timedelta(days=days)
    fields = {"phone": "+256772123456", "text": "hello", "status": "delivered", "created_at": at, "segments": 1}
    message = SmsMessage.objects.create(**{**fields, "expires_at": at + timedelta(hours=1), **values})
    SmsEvent.objects.create(message=message, what="attempt", at=at)
    return message


def prune(*arguments: str) -> str:
    out = StringIO()
    call_command("prune_sms", *arguments, stdout=out)
    return out.getvalue()


def left() -> set[int]:
    return set(SmsMessage.objects.values_list("pk", flat=True))


def test_old_rows_are_deleted_and_counts_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(maintenance, "BATCH", 3)
    for _ in range(10):
        text(91)
    young = text(89)
    assert "Deleted 10 messages older than 90 days" in prune()
    assert left() == {young.pk}
    assert SmsEvent.objects.count() == 1
    assert SmsDay.objects.get(day=timezone.localdate() - timedelta(days=91)).messages == 10
    assert "Deleted 0 " in prune()


def test_unsent_messages_are_kept() -> None:
    stay = {text(200, status=status).pk for status in ("queued", "sending")}
    prune("--days", "0")
    assert left() == stay
    assert set(SmsMessage.objects.values_list("text", flat=True)) == {"hello"}


def test_texts_are_erased_before_rows_are_deleted(monkeypatch: Any, sandbox: Sandbox) -> None:
    monkeypatch.setattr(maintenance, "BATCH", 2)
    old = [text(31, status="failed", text="see http://x/g/t?pt=tok", holds_link=True) for _ in range(5)]
    young = text(29)
    assert "erased the content of 5 older than 30" in prune()
    assert set(SmsMessage.objects.filter(pk__in=[one.pk for one in old]).values_list("text", "holds_link")) == {
        ("", False)
    }
    young.refresh_from_db()
    assert young.text == "hello"
    # An erased message cannot be resent.
    assert outbox.resend(SmsMessage.objects.all(), "operator") == []
    assert "erased the content of 0 " in prune()


def test_dry_run_changes_nothing() -> None:
    text(91)
    text(40)
    text(1)
    assert prune("--dry-run") == "Would delete 1 messages older than 90 days and erase the content of 1 more.\n"
    assert SmsMessage.objects.filter(text="hello").count() == 3


@pytest.mark.parametrize("arguments", [["--days", "-1"], ["--days", "5", "--blank-days", "6"], ["--days", "99999"]])
def test_nonsense_is_refused(arguments: list[str]) -> None:
    text(100)
    with pytest.raises(CommandError, match="--days must be"):
        prune(*arguments)
    assert SmsMessage.objects.count() == 1


def test_progress(monkeypatch: Any) -> None:
    monkeypatch.setattr(maintenance, "BATCH", 1)
    monkeypatch.setattr("sms.management.commands.prune_sms._PROGRESS_SECONDS", 0)
    for _ in range(3):
        text(91)
    assert "deleted 2 so far\n" in prune()


# --- expired links


def test_a_link_past_its_time_is_blanked(monkeypatch: Any) -> None:
    monkeypatch.setattr(maintenance, "BATCH", 2)
    live = "Play here: http://x/g/t?pt=a-live-token"
    over = [text(0.5, status=status, text=live, holds_link=True) for status in ("sent", "failed", "undelivered")]
    soon = text(0, status="failed", text=live, holds_link=True)
    waiting = text(0.5, status="queued", text=live, holds_link=True)
    assert maintenance.blank_links() == 3
    for message in over:
        message.refresh_from_db()
        assert message.text == "Play here: http://x/g/t?pt=[redacted]"
        assert not message.holds_link
    for message in (soon, waiting):
        message.refresh_from_db()
        assert message.text == live
    assert maintenance.blank_links() == 0


@pytest.mark.parametrize(
    "written",
    [
        "http://x/g/t?pt=tok",
        "http://x/g/t?pt=tok&a=1 and pt=two",
        "pt=tok\nnext line pt=two\tthree",
        "apt=kept pt=gone",
        "(pt=a-b_c.d)",
        "pt=\u014b\u2019s pt= kept",
        "PT=kept ept=kept 7pt=kept _pt=kept",
        "pt=[redacted]",
        r"pt=\1\\ pt=$1",
    ],
    ids=ascii,
)
def test_the_database_blanks_as_we_do(written: str) -> None:
    message = text(0.5, status="sent", text=written, holds_link=True)
    assert maintenance.blank_links() == 1
    message.refresh_from_db()
    assert message.text == blank_link(written)
    assert "tok" not in message.text


def test_links_are_blanked_by_one_update_a_batch(monkeypatch: Any) -> None:
    monkeypatch.setattr(maintenance, "BATCH", 4)
    for _ in range(10):
        text(0.5, status="sent", text="pt=a-live-token", holds_link=True)
    with CaptureQueriesContext(connection) as queries:
        assert maintenance.blank_links() == 10
    said = [query["sql"].split()[0] for query in queries]
    assert said == ["WITH"] * 3


def test_a_project_without_links_of_its_own(settings: Any) -> None:
    settings.SMS_REDACT = {}
    message = text(0.5, status="sent", text="pt=no-credential-here", holds_link=True)
    assert maintenance.blank_links() == 1
    message.refresh_from_db()
    assert (message.text, message.holds_link) == ("pt=no-credential-here", False)


def test_a_locked_row_is_skipped_until_the_next_run() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("needs row locks")
    held, free = (text(0.5, status="sent", text="pt=a-live-token", holds_link=True) for _ in range(2))
    done: list[int] = []

    def blank() -> None:
        done.append(maintenance.blank_links())
        connection.close()

    with transaction.atomic():
        SmsMessage.objects.select_for_update().get(pk=held.pk)
        other = threading.Thread(target=blank)
        other.start()
        other.join(20)
    assert done == [1]
    free.refresh_from_db()
    held.refresh_from_db()
    assert (free.holds_link, held.holds_link) == (False, True)


def test_queue_sms_marks_links_and_counts_segments(sandbox: Sandbox) -> None:
    with_link = outbox.queue_sms("0772123456", "Play here: http://x/g/t?pt=tok")
    without = outbox.queue_sms("0772123457", "x" * 161)
    assert (with_link.holds_link, with_link.segments) == (True, 1)
    assert (without.holds_link, without.segments) == (False, 2)
