"""The parts of `/api/v1/health`, and the workers' heartbeats."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Entry, GameWorker, Player
from payments.models import Payment, Refund
from sms.errors import Trouble
from sms.models import SmsEvent, SmsMessage, SmsPause, SmsWorker
from sms.outbox import queue_sms
from sms.stats import status as sending_status
from sms.worker import maintenance, recorder
from tests.conftest import RedisServer, Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def health(client: Client) -> tuple[str, dict[str, Any]]:
    answer = client.get("/api/v1/health")
    assert answer.status_code == 200
    body = answer.json()
    return body["status"], body["parts"]


def waiting(minutes: float) -> None:
    at = timezone.now() - timedelta(minutes=minutes)
    SmsMessage.objects.create(phone="+256772123456", text="x", due_at=at, expires_at=at + timedelta(hours=2))


def test_all_well(client: Client, sandbox: Sandbox) -> None:
    queue_sms("0772123456", "x")
    status, parts = health(client)
    assert status == "ok"
    assert parts["outbox"] == {"status": "ok", "oldest_due_seconds": 0}
    assert parts["worker"] == {"status": "inline", "alive": 0}
    assert parts["provider"]["status"] == "ok"
    assert parts["provider"]["last_http_status"] == 200


def test_nothing_sent_yet_is_well(client: Client, sandbox: Sandbox) -> None:
    status, parts = health(client)
    assert (status, parts["provider"]["status"]) == ("ok", "unheard")


def test_a_worker_is_needed_and_counted(client: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    status, parts = health(client)
    assert (status, parts["worker"]["status"]) == ("degraded", "none")
    recorder.beat("a", timezone.now())
    status, parts = health(client)
    assert (status, parts["worker"]) == ("ok", {"status": "ok", "alive": 1})
    recorder.beat("a", timezone.now(), trouble=Trouble.CREDENTIALS, paused="DMark refuses the credentials")
    status, parts = health(client)
    assert (status, parts["worker"]["status"], parts["provider"]["status"]) == ("degraded", "paused", "refuses")
    SmsWorker.objects.update(seen_at=timezone.now() - timedelta(seconds=40))
    assert health(client)[1]["worker"]["status"] == "none"


@pytest.mark.parametrize("delivery", ["inline", "worker"])
def test_paused_by_an_operator(client: Client, sandbox: Sandbox, settings: Any, delivery: str) -> None:
    settings.SMS_DELIVERY = delivery
    recorder.beat("a", timezone.now())
    waiting(3)
    SmsPause.objects.create(kind="match_found", reason="x", actor="somebody")
    assert health(client)[1]["worker"]["status"] != "paused"
    SmsPause.objects.create(kind=SmsPause.ALL, reason="x", actor="somebody")
    status, parts = health(client)
    assert (status, parts["worker"]["status"], parts["outbox"]["status"]) == ("degraded", "paused", "ok")


def test_a_late_outbox(client: Client, sandbox: Sandbox) -> None:
    waiting(3)
    status, parts = health(client)
    assert status == "degraded"
    assert parts["outbox"]["status"] == "late"
    assert 175 <= parts["outbox"]["oldest_due_seconds"] <= 190


def test_a_provider_in_trouble(client: Client, sandbox: Sandbox) -> None:
    sandbox.faults(send="503")
    queue_sms("0772123456", "x")
    status, parts = health(client)
    assert (status, parts["provider"]["status"]) == ("degraded", "trouble")
    assert parts["provider"]["last_http_status"] == 503


def test_the_cache_down(client: Client, sandbox: Sandbox, redis_cache: RedisServer) -> None:
    redis_cache.stop()
    started = time.monotonic()
    status, parts = health(client)
    assert (status, parts["cache"]) == ("degraded", "down")
    assert time.monotonic() - started < 10


def test_health_shows_no_secret_and_no_number(client: Client, sandbox: Sandbox) -> None:
    queue_sms("0772123456", "x")
    text = client.get("/api/v1/health").content.decode()
    for secret in ("sandbox-password-7341", "772123456"):
        assert secret not in text


def test_heartbeats() -> None:
    started = timezone.now()
    recorder.beat("a", started, sent=1)
    recorder.beat("a", started, sent=7)
    (worker,) = sending_status.workers(timezone.now())
    assert (worker.sent, worker.paused, ":" in worker.name) == (7, "", True)
    recorder.beat("b", started)
    SmsWorker.objects.filter(claimer="b").update(seen_at=timezone.now() - timedelta(days=2))
    maintenance.forget_silent_workers()
    assert [one.claimer for one in SmsWorker.objects.all()] == ["a"]
    SmsWorker.objects.filter(claimer="a").delete()
    assert not SmsWorker.objects.exists()


def test_a_late_probe_of_the_token_is_no_refusal() -> None:
    now = timezone.now()
    message = SmsMessage.objects.create(phone="+256772123456", text="x", expires_at=now)
    event = SmsEvent(message=message, what="attempt", step="token", trouble="provider", error="rate", at=now)
    assert sending_status.trouble([], [event], now) == ("", "")
    event.trouble = "credentials"
    assert sending_status.trouble([], [event], now)[0] == "credentials"
    event.at = now - timedelta(hours=2)
    assert sending_status.trouble([], [event], now) == ("", "")


def test_a_game_worker_is_needed_if_it_collects(client: Client, collection: Sandbox, settings: Any) -> None:
    assert health(client)[1]["game_worker"] == {"status": "inline", "alive": 0}
    settings.SMS_DELIVERY = "worker"
    assert health(client)[1]["game_worker"] == {"status": "none", "alive": 0}
    dead = timezone.now() - timedelta(seconds=30)
    GameWorker.objects.create(key="a", name="dead", seen_at=dead)
    assert health(client)[1]["game_worker"]["status"] == "none"
    GameWorker.objects.create(key="b", name="alive")
    assert health(client)[1]["game_worker"] == {"status": "ok", "alive": 1}


def late_entry(**changes: Any) -> Entry:
    """Create an entry that should have ended 61 seconds ago."""
    at = timezone.now() - timedelta(seconds=61)
    number = Entry.objects.count()
    player = Player.objects.create(phone=f"+25677200000{number}")
    payment = Payment.objects.create(phone=player.phone, amount=1000, **changes.pop("payment", {}))
    values = {"status": Entry.Status.OPEN, "opened_at": at, "expires_at": at, **changes}
    return Entry.objects.create(player=player, payment=payment, stake_amount=1000, **values)


def test_overdue_work_is_reported_although_the_worker_beats(client: Client, sandbox: Sandbox, settings: Any) -> None:
    """camunda-community-hub/pyzeebe#80, opendcs/opendcs#1807: a thread ended, but the process looked healthy."""
    settings.METRICS_TOKEN = "token"
    GameWorker.objects.create(key="a", name="alive")
    nothing = {"stakes_to_end": 0, "stakes_to_activate": 0, "refunds_to_announce": 0}
    nothing |= {"payment_requests": 0, "status_polls": 0, "payments_to_announce": 0, "payouts_to_announce": 0}
    assert health(client) == ("ok", {**health(client)[1], "overdue": {"status": "ok", **nothing}})
    late, now = timezone.now() - timedelta(seconds=61), timezone.now()
    late_entry()
    late_entry(expires_at=now)
    awaiting = {"status": Entry.Status.AWAITING_PAYMENT, "opened_at": None, "expires_at": None}
    late_entry(**awaiting, payment={"status": "SUCCESS", "settled_at": late})
    late_entry(**awaiting, payment={"status": "SUCCESS", "settled_at": now})
    late_entry(**awaiting, payment={"collection": "due", "start_at": late})
    late_entry(**awaiting, payment={"signal_due_since": late})
    late_entry(**awaiting, payment={"collection": "asked", "next_ask_at": late})
    paid = {"status": "SUCCESS", "settled_at": late, "collected_at": late, "place": "in_use"}
    late_entry(status=Entry.Status.EXPIRED, payment=paid)
    late_entry(status=Entry.Status.EXPIRED, payment=paid, refund_told=True)
    refund: dict[str, Any] = {"amount": 1000, "how": "by_hand", "state": "succeeded", "signal_due": True}
    for payment, ended in zip(Payment.objects.order_by("-pk")[:2], (late, now), strict=True):
        Refund.objects.create(payment=payment, ended_at=ended, **refund)
    # No message is due about a payout that the provider has returned.
    Refund.objects.create(payment=payment, ended_at=late, **refund | {"state": "returned"})
    status, parts = health(client)
    assert status == "degraded"
    assert parts["overdue"] == {"status": "late", **dict.fromkeys(nothing, 1)}
    text = client.get("/metrics", headers={"Authorization": "Bearer token"}).content.decode()
    for work in nothing:
        assert f'playmatatu_overdue{{work="{work}"}} 1.0' in text
