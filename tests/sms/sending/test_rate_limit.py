"""The rate limit: which message holds the key of a phone and kind, which waits, and when the key is freed."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from sms.errors import ProviderRejected, RateLimited
from sms.models import SmsMessage
from sms.outbox import queue_sms, send_sms
from sms.sending import inline, rate_limit
from sms.sending.attempt import send_conversation
from sms.worker.engine.loop import Job
from sms.worker.worker import Options, Worker
from tests.conftest import RedisServer, Sandbox
from tests.sms.sending.keys import acquire

pytestmark = pytest.mark.django_db(transaction=True)

PHONE = "+256772123456"
OTHER = "+256772000009"


@pytest.fixture(params=["local memory", "redis"])
def either_cache(request: Any) -> None:
    if request.param == "redis":
        request.getfixturevalue("redis_cache")


def text(number: int, phone: str = PHONE, kind: str = "", life: float = 60) -> SmsMessage:
    return SmsMessage(pk=number, phone=phone, text="x", kind=kind, expires_at=timezone.now() + timedelta(seconds=life))


def test_throttle(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_RATE_LIMIT_SECONDS = 30
    first = send_sms(PHONE, "one")
    assert str(first.pk) in str(cache.get(f"sms_rate:{PHONE}"))
    with pytest.raises(RateLimited) as caught:
        send_sms(PHONE, "two")
    assert 0 < caught.value.retry_after <= 30
    assert SmsMessage.objects.latest().status == "rate_limited"
    # Each kind has its own key, so one kind does not delay another.
    assert send_sms(PHONE, "three", kind="match_found").status == "sent"
    assert send_sms(PHONE, "four", kind="payment_success").status == "sent"
    assert send_sms("0772000009", "five").status == "sent"
    # A message is not delayed by its own key.
    assert acquire(PHONE, "", first.pk) == 0.0


def test_throttle_is_released_when_the_send_failed(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_RATE_LIMIT_SECONDS = 30
    sandbox.faults(send="400")
    with pytest.raises(ProviderRejected):
        send_sms(PHONE, "one")
    assert cache.get(f"sms_rate:{PHONE}") is None
    sandbox.faults(send="ok")
    assert send_sms(PHONE, "two").status == "sent"


@pytest.mark.usefixtures("either_cache")
def test_many_at_once() -> None:
    texts = [text(1), text(2), text(3, kind="match_found"), text(4, OTHER)]
    for _ in range(2):  # the second time, each message holds its own key
        waits = rate_limit.acquire_many(texts, 30)
        assert 28 < waits[1] <= 30
        assert [waits[0], *waits[2:]] == [0.0, 0.0, 0.0]
    # Calls with one message use the same keys.
    assert acquire(PHONE, "", 1, 30) == 0.0
    assert 28 < acquire(PHONE, "match_found", 9, 30) <= 30
    assert rate_limit.acquire_many([], 30) == []
    assert rate_limit.acquire_many(texts, 0) == [0.0] * 4


def test_many_at_once_without_the_cache(redis_cache: RedisServer, caplog: Any) -> None:
    redis_cache.stop()
    assert rate_limit.acquire_many([text(1), text(2)], 30) == [0.0, 0.0]
    assert rate_limit.acquire_many([text(1), text(2)], 30) == [0.0, 0.0]
    assert caplog.text.count("sms.cache_down") == 1


@pytest.mark.usefixtures("either_cache")
def test_what_is_handed_back_gives_its_key_back(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_RATE_LIMIT_SECONDS, settings.SMS_DELIVERY = 30, "worker"
    message = queue_sms(PHONE, "x")
    worker = Worker(Options())
    assert rate_limit.acquire_many([message], 30) == [0.0]
    worker.recorder.conclude(Job(message, lambda note: send_conversation(message, worker.config, note)))
    worker.recorder.write()
    assert acquire(PHONE, "", message.pk + 1) == 0.0


@pytest.mark.usefixtures("either_cache")
def test_what_expired_meanwhile_gives_its_key_back(settings: Any) -> None:
    settings.SMS_RATE_LIMIT_SECONDS = 30
    old = text(1, life=-1)
    assert rate_limit.acquire_many([old], 30) == [0.0]
    assert inline.attempt(old).status == "expired"
    assert acquire(PHONE, "", 2) == 0.0


def row(phone: str, kind: str = "", **values: Any) -> SmsMessage:
    hour = timezone.now() + timedelta(hours=1)
    return SmsMessage.objects.create(phone=phone, text="x", kind=kind, expires_at=hour, **values)


def test_without_the_cache_the_table_holds_back(redis_cache: RedisServer) -> None:
    """Before the fix, hundreds of messages went to one phone at once while Redis was down for some seconds."""
    row(PHONE, status="sent", sent_at=timezone.now() - timedelta(seconds=10))
    row(PHONE, "old", status="sent", sent_at=timezone.now() - timedelta(seconds=40))
    row(OTHER, "a", status="sending")
    redis_cache.stop()
    due = [row(PHONE), row(PHONE, "old"), row(PHONE, "old"), row(OTHER, "a"), row(OTHER, "b")]
    waits = rate_limit.acquire_many(due, 30, by_table=True)
    assert 19 <= waits[0] <= 21
    assert waits[1] == 0
    assert 29 <= waits[2] <= 30  # the second message of the same batch waits for the first
    assert 29 <= waits[3] <= 30  # another message to the same phone is being sent
    assert waits[4] == 0
