"""`prune_personal_data` erases personal data and keeps the rows."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.utils import timezone

from game.models import Entry, LinkRequest, Player
from payments.models import Callback, Payment
from playmatatu import retention
from playmatatu.models import FailedLogin

pytestmark = pytest.mark.django_db


def prune(**options: Any) -> str:
    out = StringIO()
    call_command("prune_personal_data", stdout=out, **options)
    return out.getvalue().strip()


def entry(days: float, address: str | None = "2001:db8::", site: str | None = "2001:db8::") -> Entry:
    number, at = Entry.objects.count(), timezone.now() - timedelta(days=days)
    player = Player.objects.create(phone=f"+25677200000{number}")
    payment = Payment.objects.create(phone=player.phone, amount=1000)
    return Entry.objects.create(
        player=player, payment=payment, stake_amount=1000, created_at=at, client_address=address, client_site=site
    )


def test_old_addresses_bodies_and_sessions_go_and_young_ones_stay(monkeypatch: Any) -> None:
    monkeypatch.setattr(retention, "_BATCH", 2)
    now = timezone.now()
    for days in (400, 40, 31, 29, 0):
        entry(days)
        Callback.objects.create(body=f"body of {days}", received_at=now - timedelta(days=days))
    for model in (LinkRequest, FailedLogin):
        for days in (2, 0):
            row = model.objects.create(**({"address": "192.0.2.1"} if model is FailedLogin else {}))
            model.objects.filter(pk=row.pk).update(at=now - timedelta(days=days))
    for key, hours in (("old", -1), ("young", 1)):
        Session.objects.create(session_key=key, session_data="x", expire_date=now + timedelta(hours=hours))
    assert prune() == "Erased 5 addresses and 1 callback bodies, deleted 1 sessions."
    assert [bool(one.client_address) for one in Entry.objects.order_by("pk")] == [False] * 3 + [True] * 2
    assert [bool(one.client_site) for one in Entry.objects.order_by("pk")] == [False] * 3 + [True] * 2
    assert [one.body for one in Callback.objects.order_by("pk")][:2] == ["", "body of 40"]
    assert (LinkRequest.objects.count(), FailedLogin.objects.count(), Session.objects.count()) == (1, 1, 1)
    assert prune() == "Erased 0 addresses and 0 callback bodies, deleted 0 sessions."
    assert prune(body_days=30) == "Erased 0 addresses and 2 callback bodies, deleted 0 sessions."


def test_a_limit_still_counts_what_is_younger_than_a_day() -> None:
    with pytest.raises(CommandError, match="must be at least 1"):
        prune(address_days=0)
