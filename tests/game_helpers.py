"""Short ways to stake and to pay, over the API."""

import hashlib
import hmac
import json
from typing import Any

from django.conf import settings
from django.test import Client

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


def paid(client: Client, stake: dict[str, Any], phone: str, status: str = "SUCCESS") -> Any:
    """The provider's word on a stake that awaits its payment."""
    answer = callback(
        client,
        {
            "transaction_id": stake["transaction_id"],
            "phone_number": phone,
            "amount": stake.get("total_amount", stake["stake_amount"]),
            "status": status,
            "timestamp": "2026-01-01T00:00:00Z",
        },
    )
    assert answer.status_code == 200, answer.content
    return answer


def signature(raw: bytes) -> str:
    return "sha256=" + hmac.new(settings.MOMO_CALLBACK_SECRET.encode(), raw, hashlib.sha256).hexdigest()
