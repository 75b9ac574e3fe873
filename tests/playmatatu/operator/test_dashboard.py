"""The dashboard: each number leads to the list of its rows."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from game.models import Entry, Player, Session
from game.rules.ending import announce_refunds
from payments import journal
from payments.models import Callback, Payment
from sms.models import SmsMessage
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, age, paid_stake, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("grace", password="x"))
    return client


def dashboard(client: Client) -> dict[str, tuple[str, str]]:
    """Return the number and the link of each tile, by label."""
    answer = client.get("/admin/")
    assert answer.status_code == 200
    html = answer.content.decode()
    found = re.findall(r'<li class="\w*">(?:<a href="([^"]*)">)?<b>([^<]*)</b> <span>([^<]*)</span>', html)
    return {label: (number, url.replace("&amp;", "&")) for url, number, label in found}


def listed(client: Client, url: str) -> int:
    answer = client.get(url)
    assert answer.status_code == 200, url
    assert "e=1" not in url
    return int(answer.context["cl"].result_count)


def test_every_number_leads_to_what_it_counts(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    client = Client()
    paid_stake(client, ALICE, 5000)
    age()
    paid_stake(client, BOB, 2000)
    paid_stake(client, CAROL, 2000)
    paid_stake(client, ALICE, 3000)
    contested = paid_stake(client, BOB, 1000)
    Payment.objects.filter(pk=contested.payment_id).update(contested=True, contested_at=timezone.now())
    journal.adopt()
    announce_refunds()
    Callback.objects.create(body="{", refusal="It could not be read.", answered=400)
    SmsMessage.objects.filter(kind="match_found").update(status="failed", error="x")
    shown = dashboard(operator)
    numbers = {label: number for label, (number, _) in shown.items()}
    assert numbers["paid in at the provider"] == "13,000 UGX in 5 payments"
    assert numbers["refunded"] == "0 UGX in 0 payments"
    assert numbers["prizes paid"] == "0 UGX"
    assert numbers["at the provider"] == "13,000 UGX"
    assert numbers["in matches"] == "4,000 UGX"
    assert numbers["refund due"] == "5,000 UGX"
    assert numbers["waiting for an opponent"] == "3,000 UGX"
    assert numbers["disputed"] == "1,000 UGX"
    assert numbers["refunds due"] == "5,000 UGX in 1 payment"
    assert numbers["disputed payments"] == numbers["unreadable callbacks"] == "1"
    assert numbers["open stakes"] == "1"
    assert numbers["matches in the last day"] == "1"
    assert numbers["failed in the last hour"] == "1"
    assert "payments where we don't know if the player was asked" not in numbers
    for label, (number, url) in shown.items():
        if number.endswith(" UGX"):  # For a balance, the list shows the ledger entries behind it.
            assert (listed(operator, url) > 0) == (number != "0 UGX"), label
        elif url and not label.startswith("on the do-not-text"):
            count = number.partition(" UGX in ")[2] or number
            assert listed(operator, url) == int(count.split()[0].replace(",", "")), (label, url)


def test_who_sees_what(client: Client, sandbox: Sandbox) -> None:
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    client.force_login(viewer)
    assert dashboard(client) == {}
    assert "Find a player" not in client.get("/admin/").content.decode()
    viewer.user_permissions.add(Permission.objects.get(codename="view_entry"))
    assert set(dashboard(client)) == {"open stakes", "unpaid stakes", "matches in the last day"}
    assert "Find a player" in client.get("/admin/").content.decode()


def test_words_of_the_trade(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    entry = paid_stake(Client(), ALICE, 5000)
    paid_stake(Client(), BOB, 5000)
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    entry.refresh_from_db()
    page = operator.get(f"/admin/game/entry/{entry.pk}/change/").content.decode()
    assert f"Stake {entry.pk} of 5,000 UGX" in page
    assert "the match is over" in page
    assert "the match is over" in operator.get("/admin/game/entry/").content.decode()
    assert str(Player.objects.get(phone="+256" + ALICE[1:])) == "0772 ••• 001"
    assert str(Session.objects.get()) == f"Match {entry.session_id} for 5,000 UGX"
    first = operator.get("/admin/").content.decode()
    assert "Stakes" in first
    assert "Entries" not in first
    assert "playmatatu/admin.css" in first


def test_numbers_are_masked_for_who_may_not_see_them(client: Client, sandbox: Sandbox) -> None:
    stake(Client(), ALICE, create_private=True, invite_phone=BOB)
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    shown = ("view_entry", "view_player", "view_session", "view_payment")
    mine = Permission.objects.filter(codename__in=shown, content_type__app_label__in=("game", "payments"))
    viewer.user_permissions.add(*mine)
    client.force_login(viewer)
    rows: list[Any] = [Entry.objects.get(), Player.objects.get(), Payment.objects.get()]
    paths = [f"/admin/{row._meta.app_label}/{row._meta.model_name}/" for row in rows]
    paths += [f"{path}{row.pk}/change/" for path, row in zip(paths, rows, strict=True)]
    for path in paths:
        html = client.get(path).content.decode()
        assert "77200000" not in html, path
        assert "000 001" not in html, path
        assert "0772 ••• 001" in html, path
    viewer.user_permissions.add(Permission.objects.get(codename="view_full_phone"))
    for path in paths:
        assert re.search(r"0772 000 001|\+256772000001", client.get(path).content.decode()), path


def test_few_queries(operator: Client, sandbox: Sandbox, django_assert_max_num_queries: Any) -> None:
    operator.get("/admin/")
    with django_assert_max_num_queries(46):
        operator.get("/admin/")
