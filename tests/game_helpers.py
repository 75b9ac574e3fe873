"""Helpers to stake and to pay over the API."""

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.test import Client
from django.utils import timezone

from game.models import Entry
from sms.models import SmsMessage

ALICE, BOB, CAROL, DAVE = "0772000001", "0772000002", "0772000003", "0772000004"
CALLBACK = "/api/v1/momo/callback"


def post(client: Client, path: str = "/api/v1/game/stake", **body: Any) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json")


def stake(client: Client, phone: str, amount: Any = 1000, **more: Any) -> dict[str, Any]:
    answer = post(client, phone_number=phone, stake_amount=amount, **more)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def status(client: Client, token: str) -> dict[str, Any]:
    return dict(client.get("/api/v1/game/queue/status", {"queue_token": token}).json())


def callback(client: Client, body: Any, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    if not headers:
        headers = {"X-Callback-Secret": settings.MOMO_CALLBACK_SECRET}
    return client.post(CALLBACK, raw, content_type="application/json", headers=headers)


def callback_body(stake: dict[str, Any], phone: str, **changes: Any) -> dict[str, Any]:
    """Return the body of the provider's callback about a stake. The value `...` leaves a field out."""
    said = {
        "transaction_id": stake["transaction_id"],
        "phone_number": phone,
        "amount": stake.get("total_amount", stake["stake_amount"]),
        "status": "SUCCESS",
        "timestamp": "2026-01-01T00:00:00Z",
    }
    return {key: value for key, value in {**said, **changes}.items() if value is not ...}


def paid(client: Client, stake: dict[str, Any], phone: str, status: str = "SUCCESS") -> Any:
    """Send the provider's callback about a stake that awaits its payment."""
    answer = callback(client, callback_body(stake, phone, status=status))
    assert answer.status_code == 200, answer.content
    return answer


def signature(raw: bytes) -> str:
    return "sha256=" + hmac.new(settings.MOMO_CALLBACK_SECRET.encode(), raw, hashlib.sha256).hexdigest()


def age(**which: Any) -> None:
    """Make queued entries expire."""
    Entry.objects.filter(**{"status": "queued"} | which).update(expires_at=timezone.now() - timedelta(seconds=1))


def kinds(phone: str = ALICE) -> list[str]:
    return list(SmsMessage.objects.filter(phone=f"+256{phone[1:]}").order_by("pk").values_list("kind", flat=True))


def paid_stake(client: Client, phone: str = ALICE, amount: int = 1000, **more: Any) -> Entry:
    placed = stake(client, phone, amount, **more)
    paid(client, placed, phone)
    return Entry.objects.select_related("player", "payment", "session").get(pk=placed["queue_id"])
