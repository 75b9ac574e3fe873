"""The API as a whole: its OpenAPI description, no status 500, limits, and the requests of an existing web page."""

import json
import os
import re
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TransactionTestCase

from tests import preloaded
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CALLBACK, post, stake

pytestmark = pytest.mark.django_db(transaction=True)

STAKE = "/api/v1/game/stake"


def test_unknown_deep_fields_are_ignored(client: Client) -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"a": [deep]}
    assert stake(client, ALICE, extra=deep)["status"] == "queued"


def test_health(client: Client, sandbox: Sandbox) -> None:
    answer = client.get("/api/v1/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["parts"]["database"] == "ok"


def test_health_with_sms_disabled(client: Client) -> None:
    assert client.get("/api/v1/health").json()["status"] == "degraded"


def test_invites_are_limited(client: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.INVITES_PER_INVITER_DAY = 2
    for turn in range(3):
        created = stake(client, ALICE, create_private=True, invite_phone=BOB)
        assert (created["sms_invite"] is None) == (turn == 2)
        stake(client, "0772000009", match_code=created["match_code"])
    assert "limit of invites" in created["message"]
    settings.INVITES_PER_RECIPIENT_DAY = 2
    created = stake(client, "0772000005", create_private=True, invite_phone=BOB)
    assert created["sms_invite"] is None
    settings.INVITES_PER_RECIPIENT_DAY, settings.INVITES_PER_ADDRESS_HOUR = 5, 2
    created = stake(client, "0772000006", create_private=True, invite_phone="0772000007")
    assert created["sms_invite"] is None
    assert "your network" in created["message"]


def test_guessing_codes_is_limited(client: Client, settings: Any) -> None:
    settings.WRONG_CODES_PER_ADDRESS, settings.TRUSTED_PROXY_COUNT = 3, 1
    headers = {"X-Forwarded-For": "9.9.9.9, 1.2.3.4"}

    def guess(code: str = "ABC234") -> Any:
        body = {"phone_number": ALICE, "stake_amount": 1000, "match_code": code}
        return client.post(STAKE, json.dumps(body), content_type="application/json", headers=headers)

    assert [guess().status_code for _ in range(5)] == [404, 404, 404, 429, 429]
    refused = guess()
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    # The limit applies to one address. Entries that a client adds before its proxy's entry have no effect.
    headers["X-Forwarded-For"] = "1.2.3.4, 5.6.7.8"
    assert guess().status_code == 404


_FIELDS = st.sampled_from(
    "phone_number stake_amount display_name create_private invite_phone match_code transaction_id amount status".split()
)
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from([ALICE, "1000", 1000, "ABC234"])
)


class AnyBody(TransactionTestCase):
    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(body=st.dictionaries(_FIELDS, _VALUES), path=st.sampled_from([STAKE, CALLBACK]))
    def test_never_a_500(self, body: dict[str, Any], path: str) -> None:
        headers = {"X-Callback-Secret": "callback-secret-for-tests"}
        raw = json.dumps(body)
        answer = self.client.post(path, raw, content_type="application/json", headers=headers)
        assert answer.status_code in (200, 400, 404, 409)
        if answer.status_code != 200:
            assert answer.json()["error"]


def test_the_api_keeps_its_own_description() -> None:
    """Run the tests of `api_schema.py` in one process, because each process that collects them spends 2 s of CPU."""
    plugins = ["-p", "schemathesis.pytest.plugin", "-p", "no:cacheprovider"]
    run = preloaded.run(["-m", "pytest", "-q", *plugins, "tests/playmatatu/api_schema.py"], env=os.environ, timeout=300)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    passed = re.search(r"^(\d+) passed", run.stdout, re.MULTILINE)
    assert passed
    assert int(passed[1]) >= 8, run.stdout


def test_an_existing_frontend(client: Client, sandbox: Sandbox) -> None:
    """The requests of an existing web page, with their order and fields."""
    placed = post(
        client,
        phone_number="256772000001",
        stake_amount=1000,
        display_name="Alice",
        create_private=False,
        match_code="",
        invite_phone="",
    ).json()
    assert placed["status"] == "queued"
    shown = post(client, phone_number="256772000001", stake_amount=1000).json()
    assert "error" in shown
    polled = client.get(f"/api/v1/game/queue/status?queue_token={placed['queue_token']}").json()
    assert polled["status"] == "queued"
