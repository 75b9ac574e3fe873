"""The groups Support and Cashier, and accounts that are deactivated instead of deleted."""

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from game.models import Player
from payments.models import Payment
from playmatatu.models import PlayerNote
from sms.models import SmsMessage, SmsPause
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, age, paid_stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def roles() -> dict[str, Group]:
    import_module("playmatatu.migrations.0003_roles").create_roles(apps, None)
    import_module("playmatatu.migrations.0004_roles_see_the_ledger").extend_roles(apps, None)
    return {group.name: group for group in Group.objects.all()}


def member(client: Client, group: Group) -> User:
    user = User.objects.create_user(group.name.lower(), password="x", is_staff=True)
    user.groups.add(group)
    client.force_login(user)
    return user


def test_the_migration_makes_both_groups(roles: dict[str, Group]) -> None:
    assert set(roles) == {"Support", "Cashier"}
    assert not {"refund_payment", "settle_payment"} & _codenames(roles["Support"])
    assert {"refund_payment", "settle_payment", "view_full_phone"} <= _codenames(roles["Cashier"])
    for group in roles.values():
        assert {"view_matchresult", "view_paymentevent", "view_ledgerentry"} <= _codenames(group)
        assert not [name for name in _codenames(group) if name.startswith(("change_", "delete_"))]


def _codenames(group: Group) -> set[str]:
    return set(group.permissions.values_list("codename", flat=True))


def test_support_sees_resends_and_notes_but_moves_no_money(
    client: Client, roles: dict[str, Group], sandbox: Sandbox, settings: Any
) -> None:
    settings.MOMO_AUTO_APPROVE = False
    entry = paid_stake(client, ALICE, 5000)
    age()
    later = timezone.now() + timedelta(hours=1)
    SmsMessage.objects.create(phone="+256772000001", text="x", kind="refund_due", status="failed", expires_at=later)
    member(client, roles["Support"])
    page = client.get("/admin/find/", {"q": ALICE}).content.decode()
    assert "Player 0772 000 001" in page
    assert "Resend…" in page
    assert "Record a manual refund…" not in page
    client.post(
        "/admin/payments/payment/",
        {"action": "mark_refunded", "_selected_action": [entry.payment_id], "post": "yes", "note": "x"},
    )
    assert not Payment.objects.exclude(refunded_at=None).exists()
    client.post("/admin/sms/smspause/add/", {"kind": "*", "reason": "x"})
    assert not SmsPause.objects.exists()
    player = Player.objects.get()
    answer = client.post("/admin/find/note/", {"player": player.pk, "note": " Called back\0, will retry "}, follow=True)
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "Note by support" in page
    assert "Called back, will retry" in page
    assert PlayerNote.objects.get().player == player


def test_a_cashier_refunds(client: Client, roles: dict[str, Group], sandbox: Sandbox, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    paid_stake(client, ALICE, 5000)
    age()
    member(client, roles["Cashier"])
    page = client.get("/admin/find/", {"q": ALICE}).content.decode()
    assert "Record a manual refund…" in page
    assert "Resend…" not in page
    for model in ("matchresult", "paymentevent", "ledgerentry"):
        assert client.get(f"/admin/payments/{model}/").status_code == 200
    assert 'value="pay_prize"' in client.get("/admin/payments/matchresult/").content.decode()


def test_notes_need_a_permission_a_text_and_a_player(client: Client, roles: dict[str, Group]) -> None:
    player = Player.objects.create(phone="+256772000001")
    client.force_login(User.objects.create_user("guest", password="x", is_staff=True))
    assert client.post("/admin/find/note/", {"player": player.pk, "note": "x"}).status_code == 403
    client.force_login(User.objects.create_superuser("grace"))
    for fields in ({"player": player.pk, "note": " "}, {"player": "x", "note": "x"}, {"note": "x"}):
        assert client.post("/admin/find/note/", fields).status_code == 302
    assert client.get("/admin/find/note/").status_code == 405
    assert not PlayerNote.objects.exists()


def test_accounts_are_deactivated_and_keep_their_log(client: Client) -> None:
    other = User.objects.create_superuser("former")
    SmsPause.objects.create(reason="x")
    client.force_login(other)
    client.post(f"/admin/sms/smspause/{SmsPause.objects.get().pk}/delete/", {"post": "yes"})
    assert LogEntry.objects.filter(user=other).count() == 1
    grace = User.objects.create_superuser("grace")
    client.force_login(grace)
    assert client.post(f"/admin/auth/user/{other.pk}/delete/", {"post": "yes"}).status_code == 403
    users = "/admin/auth/user/"
    client.post(users, {"action": "delete_selected", "_selected_action": [other.pk], "post": "yes"})
    assert User.objects.filter(pk=other.pk).exists()
    client.post(users, {"action": "deactivate", "_selected_action": [other.pk, grace.pk]})
    other.refresh_from_db()
    grace.refresh_from_db()
    assert (other.is_active, grace.is_active) == (False, True)
    assert LogEntry.objects.filter(user=other).count() == 1
    assert LogEntry.objects.filter(user=grace, object_id=str(other.pk)).count() == 1
