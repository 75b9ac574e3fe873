"""The overview: its numbers, its warnings, and a limit on its queries."""

import re
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone

from sms import clock, conf
from sms.console import banners, chart, overview
from sms.dmark import access_token
from sms.formats import moment, span
from sms.models import SmsDay, SmsEvent, SmsMessage, SmsWorker
from sms.outbox import queue_sms
from sms.stats import status, volume
from tests.conftest import RedisServer, Sandbox, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/sms/"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


@pytest.fixture
def at_noon(monkeypatch: Any) -> Any:
    """Stop the clock at half past twelve."""
    now = timezone.localtime().replace(hour=12, minute=30)
    monkeypatch.setattr("django.utils.timezone.now", lambda: now)
    monkeypatch.setattr(clock, "now", lambda *, ask=True: now)
    return now


def text(age: timedelta = timedelta(0), count: int = 1, **values: Any) -> None:
    at = timezone.now() - age
    fields = {"phone": "+256772123456", "text": "x", "kind": "match_found", "status": "sent", "segments": 1}
    SmsMessage.objects.bulk_create(
        [
            SmsMessage(**{**fields, "created_at": at, "due_at": at, "expires_at": at + timedelta(hours=1), **values})
            for _ in range(count)
        ]
    )


def event(**values: Any) -> None:
    if not SmsMessage.objects.exists():
        text()
    fields: dict[str, Any] = {"message": SmsMessage.objects.first(), "what": "attempt", "step": "send"}
    SmsEvent.objects.create(**fields | values)


def worker(**values: Any) -> None:
    SmsWorker.objects.create(**{"claimer": "c", "name": "host:1", **values})


def warned() -> str:
    return " ".join(f"{banner.text} {banner.remedy}" for banner in banners.raised())


def facts() -> dict[str, str]:
    return dict(overview.gather().facts)


# --- numbers


def test_kinds_statuses_segments_and_cost(at_noon: Any, settings: Any) -> None:
    settings.SMS_SEGMENT_COST_UGX = 35
    text(status="delivered", count=6, segments=2)
    text(status="failed", count=2)
    text(status="queued", kind="private_invite")
    text(timedelta(hours=30), status="delivered")
    shown = overview.gather()
    rows = {row.kind: row for row in shown.kinds}
    assert [number for _, number in rows["match_found"].cells] == [6, 0, 0, 0, 2, 0]
    assert [number for _, number in rows["private_invite"].cells] == [0, 0, 1, 0, 0, 0]
    assert (shown.total.total, shown.total.segments) == (9, 12)
    assert dict(shown.facts)["Cost"] == "420 UGX"
    assert dict(shown.facts)["Delivery rate (delivered ÷ sent)"] == "75.0%"


def test_medians(at_noon: Any) -> None:
    for seconds in (1, 2, 90):
        sent = timezone.now() + timedelta(seconds=seconds)
        text(sent_at=sent, delivered_at=sent + timedelta(seconds=10 * seconds), status="delivered")
    assert facts()["Median time until DMark accepted"] == "2.0 s"
    assert facts()["Median time from accepted to delivered"] == "20 s"


def test_throttle_hits(at_noon: Any) -> None:
    event(step="throttle", error="Rate limit")
    event(step="throttle", error="Rate limit", at=timezone.now() - timedelta(hours=25))
    assert facts()["Kept back by the rate limit"] == "1 times"


def test_the_token_is_spoken_of_but_not_shown(sandbox: Sandbox, operator: Client) -> None:
    assert facts()["Access token"].startswith("No access token yet")
    ends = timezone.now() + timedelta(hours=2)
    token = jwt.encode({"exp": int(ends.timestamp())}, "k" * 32)
    cache.set(access_token.cache_key(conf.current()), token)
    assert facts()["Access token"] == f"cached; valid until {moment(ends)}"
    assert token not in operator.get(PAGE).content.decode()
    cache.set(access_token.cache_key(conf.current()), "opaque")
    assert "is not known" in facts()["Access token"]


def test_old_days_are_counted_once_and_outlive_their_texts(at_noon: Any) -> None:
    text(timedelta(days=5), status="delivered", count=3, segments=2)
    text(timedelta(days=1), status="delivered", count=2)
    text(status="failed")
    first = volume.current()
    assert [(day.messages, day.segments) for day in first.days] == [(3, 6)]
    assert sum(cell.messages for cell in first.hours) == 3
    SmsMessage.objects.all().delete()
    second = volume.current()
    assert [day.messages for day in second.days] == [3]
    assert second.hours == []
    assert SmsDay.objects.filter(messages__gt=0).count() == 1


def test_one_look_counts_but_some_days_and_the_next_ones_the_rest(at_noon: Any, operator: Client) -> None:
    for days in range(40):
        text(timedelta(days=days), status="delivered")
    looks = 0
    while not (counted := volume.current()).complete:
        looks += 1
        assert "still being counted" in operator.get(PAGE).content.decode() or volume.current().complete
        assert looks < 10
    assert looks >= 2
    assert len(counted.days) == volume.DAYS - 2
    assert {day.messages for day in counted.days} == {1}
    assert "still being counted" not in operator.get(PAGE).content.decode()


def test_days_without_a_text_are_no_obstacle(at_noon: Any) -> None:
    text(timedelta(days=25), status="delivered")
    looks = [volume.current() for _ in range(15)]
    counted = looks[-1]
    assert counted.complete
    assert [day.messages for day in counted.days] == [1]


def test_a_day_moves_from_the_texts_to_the_kept_counts_without_a_gap(at_noon: Any, monkeypatch: Any) -> None:
    text(status="delivered", count=4)

    def total() -> int:
        counted = volume.current()
        return sum(cell.messages for cell in counted.hours) + sum(day.messages for day in counted.days)

    for days in range(5):
        monkeypatch.setattr("django.utils.timezone.now", lambda days=days: at_noon + timedelta(days=days))
        assert total() == 4, days
    assert SmsDay.objects.get(messages__gt=0).day == at_noon.date()


def test_what_is_older_than_the_month_is_counted_when_all_is_asked_for(at_noon: Any) -> None:
    text(timedelta(days=100), status="delivered")
    volume.keep_days(everything=True)
    assert SmsDay.objects.get(messages__gt=0).messages == 1


# --- warnings


def test_nothing_to_warn_of(operator: Client, sandbox: Sandbox) -> None:
    assert warned() == ""
    assert "Texts are being sent normally." in operator.get("/admin/").content.decode()


def test_sms_off() -> None:
    assert "SMS is switched off" in warned()


def test_no_worker(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    text(status="queued", count=3)
    assert "No SMS worker is running; 3 texts waiting." in warned()
    worker(seen_at=timezone.now() - timedelta(minutes=1))
    assert "No SMS worker is running" in warned()
    SmsWorker.objects.update(seen_at=timezone.now())
    assert "No SMS worker" not in warned()


def test_a_growing_queue(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    worker()
    text(timedelta(seconds=30), status="queued")
    assert warned() == ""
    text(timedelta(minutes=3), status="queued")
    assert "The queue is growing: 2 texts waiting, the oldest for 3 min." in warned()


def test_what_waits_for_a_later_try_is_no_growing_queue(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    worker()
    text(timedelta(minutes=3), status="queued", due_at=timezone.now() + timedelta(minutes=1), retries=4)
    assert warned() == ""


def test_credentials_refused(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    worker(trouble="credentials", paused="DMark refuses the credentials (401); check SMS_SERVICE_USERNAME")
    assert "DMark refuses the credentials" in warned()


def test_credentials_refused_inline(sandbox: Sandbox) -> None:
    event(step="token", http_status=403, trouble="credentials", error="DMark refuses the credentials (403)")
    assert "DMark refuses the credentials" in warned()
    event(http_status=200)
    assert warned() == ""


def test_a_token_refused_on_sending_is_no_trouble_of_dmarks(sandbox: Sandbox) -> None:
    sandbox.faults(send="401")
    queue_sms("0772123456", "x")
    assert "Correct SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME" in warned()
    assert "continues when DMark is back" not in warned()


def test_the_account_refused(sandbox: Sandbox) -> None:
    event(http_status=400, trouble="account", error="DMark refuses the account: Insufficient credit.")
    assert "Insufficient credit." in warned()
    assert "Top up, or call DMark." in warned()


def test_the_tokens_other_path(sandbox: Sandbox, settings: Any) -> None:
    cache.set(f"{access_token.cache_key(conf.current())}:path", "/v3/api/get_token/")
    assert "Set SMS_TOKEN_PATH=/v3/api/get_token/." in warned()
    settings.SMS_TOKEN_PATH = "/v3/api/get_token/"
    assert warned() == ""


def test_provider_down(sandbox: Sandbox) -> None:
    for _ in range(5):
        event(http_status=503, trouble="provider", error="DMark is in trouble (503).")
    assert "DMark is in trouble: DMark is in trouble (503)." in warned()
    event(http_status=200)
    assert warned() == ""
    event(http_status=400, error="DMark refuses the message (400).")
    assert warned() == ""


def test_provider_down_an_hour_ago_is_no_news(sandbox: Sandbox) -> None:
    for _ in range(5):
        event(
            http_status=503,
            trouble="provider",
            error="DMark is in trouble (503).",
            at=timezone.now() - timedelta(hours=2),
        )
    assert warned() == ""


def test_left_behind_inline(sandbox: Sandbox) -> None:
    text(timedelta(minutes=10), status="queued")
    assert "sms_worker --once" in warned()


def test_the_cache_down(sandbox: Sandbox, redis_cache: RedisServer) -> None:
    redis_cache.stop()
    assert "The cache does not answer" in warned()


# --- page


def test_a_transaction_that_is_held_open_is_named(operator: Client, sandbox: Sandbox, monkeypatch: Any) -> None:
    if connection.vendor != "postgresql":
        assert status.held_open() is None
        return
    monkeypatch.setattr(status, "HELD_OPEN_SECONDS", 0.3)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SET application_name TO 'a forgotten shell'")
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT count(*), pg_backend_pid() FROM sms_smsmessage")
            pid = cursor.fetchone()[1]
            assert status.held_open() is None
            wait_for(status.held_open)
            page = operator.get(PAGE).content.decode()
            assert f"process {pid} of" in page
            assert "a forgotten shell, idle in transaction" in page
            cursor.execute("ROLLBACK")
            assert status.held_open() is None
    finally:
        other.close()


def test_the_page(operator: Client, sandbox: Sandbox, django_assert_max_num_queries: Any) -> None:
    text(count=1030)
    text(timedelta(days=3), status="delivered", count=30)
    operator.get(PAGE)
    with django_assert_max_num_queries(18):
        html = operator.get(PAGE).content.decode()
    assert html.count('class="sms-chart"') == 2
    assert ">1,030</td>" in html
    assert "style=" not in html[html.index("sms-overview") : html.rindex("</svg>")]
    assert re.search(r"<title>[^<]*30 delivered</title>", html)
    assert f"{PAGE}?kind=match_found" in html
    for kind in ("match_found", "nothing", "<script>", ""):
        page = operator.get(PAGE, {"kind": kind})
        assert page.status_code == 200
        assert "<script>:" not in page.content.decode()


def test_who_may_not_see_texts_sees_no_figures(client: Client, sandbox: Sandbox) -> None:
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_player"))
    client.force_login(viewer)
    assert "sms-banner" not in client.get("/admin/").content.decode()
    assert client.get(PAGE).status_code in (403, 404)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.4, "9.4 s"), (42, "42 s"), (300, "5 min"), (11400, "3 h 10 min"), (200000, "2 days")],
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_one_failure_among_thousands_is_seen() -> None:
    svg = chart.bars("t", [chart.Column("12", "noon", {"delivered": 100_000, "failed": 1})], overview.SERIES)
    height = re.search(r'class="failed"[^>]*height="([\d.]+)"', svg)
    assert height
    assert float(height[1]) >= 1
    assert "100000 delivered, 1 not delivered" in svg
    assert "<svg" in chart.bars("t", [], overview.SERIES)
