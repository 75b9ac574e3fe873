"""Redis contains JSON, and reading it cannot run code."""

import json
import pickle
from typing import Any

import pytest
import redis
from django.core.cache import cache
from django.test import Client

from sms.models import SmsMessage
from sms.outbox import queue_sms
from tests.conftest import RedisServer, Sandbox
from tests.game_helpers import ALICE, BOB, post, stake

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_value_in_redis_is_json(
    client: Client, sandbox: Sandbox, redis_cache: RedisServer, settings: Any
) -> None:
    settings.SMS_RATE_LIMIT_SECONDS = 30
    stake(client, ALICE)
    client.get(stake(client, BOB)["game_link"].removeprefix(settings.FRONTEND_URL), follow=True)
    post(client, phone_number=ALICE, stake_amount=1000, match_code="ABC234")
    client.get("/api/v1/health")
    there = redis.Redis.from_url(redis_cache.url, decode_responses=True)
    values = {str(key): str(there.get(key)) for key in there.scan_iter()}
    assert {key.split(":")[2].rstrip("0123456789") for key in values} >= {"sms_token", "sms_rate", "game_seen"}
    for value in values.values():
        json.loads(value)


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was read",))


def test_a_pickle_counts_as_missing(sandbox: Sandbox, redis_cache: RedisServer, settings: Any) -> None:
    settings.SMS_RATE_LIMIT_SECONDS = 30
    queue_sms("0772123456", "one")
    there = redis.Redis.from_url(redis_cache.url, decode_responses=True)
    for key in there.scan_iter():
        there.set(key, pickle.dumps(Bomb()))
    assert cache.get("sms_rate:+256772123456") is None
    queue_sms("0772999999", "two")
    assert [row.status for row in SmsMessage.objects.all()] == ["sent", "sent"]
    assert sandbox.token_requests == 2
