"""Old unpaid stakes are deleted. Rows with money are kept."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Entry, GameWorker, Player, StakeLevel, WrongCode
from game.rules import pruning
from game.rules.ending import cancel
from game.rules.pruning import prune
from payments.models import Callback, Payment
from tests.crowd import together
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, paid, post, stake

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(days=31)


@pytest.fixture(autouse=True)
def _paid_later(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False


def given_up(client: Client, phone: str = ALICE, amount: int = 1000, **payment: Any) -> int:
    """Create an old unpaid stake. Return the payment's id."""
    placed = stake(client, phone, amount)
    entry = Entry.objects.select_related("player").get(pk=placed["queue_id"])
    cancel(entry)
    Payment.objects.filter(pk=entry.payment_id).update(**{"created_at": timezone.now() - LONG_AGO} | payment)
    return entry.payment_id


def test_an_unpaid_stake_is_forgotten_with_all_that_was_for_it(client: Client) -> None:
    given_up(client)
    kept = stake(client, BOB, 2000)
    StakeLevel.objects.create(amount=2000)  # The level of the stake that is kept.
    assert prune() == 1
    assert Payment.objects.get().transaction_id == kept["transaction_id"]
    assert Entry.objects.get().pk == kept["queue_id"]
    assert StakeLevel.objects.get().amount == 2000
    assert Player.objects.get().phone == "+256772000002"
    assert prune() == 0


def test_money_and_doubt_are_kept(client: Client) -> None:
    young = given_up(client, ALICE, created_at=timezone.now() - timedelta(days=29))
    heard = given_up(client, BOB)
    Callback.objects.create(payment_id=heard, status="PENDING", body="{}")
    doubt = [
        given_up(client, f"07720051{number:02}", collection=collection)
        for number, collection in enumerate(("due", "asking", "asked", "in_doubt", "unresolved"))
    ]
    late = given_up(client, CAROL, status="FAILED", collected_at=timezone.now(), refund_due=True, contested=True)
    declined = given_up(client, DAVE, status="FAILED", collection="over")
    paid_one = stake(client, "0772000050")
    paid(client, paid_one, "0772000050")
    Payment.objects.filter(transaction_id=paid_one["transaction_id"]).update(created_at=timezone.now() - LONG_AGO)
    assert prune() == 1
    left = set(Payment.objects.values_list("pk", flat=True))
    assert declined not in left
    assert left >= {young, heard, late, *doubt}
    assert len(left) == len(doubt) + 4
    assert Callback.objects.count() == 2


def test_what_still_waits_for_its_payment_is_kept(client: Client) -> None:
    stake(client, ALICE)
    Payment.objects.update(created_at=timezone.now() - LONG_AGO)
    assert prune() == 0


def test_no_more_than_a_handful_at_once(client: Client) -> None:
    for number in range(5):
        given_up(client, f"07720052{number:02}")
    assert [prune(2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_periodic_run_continues_after_the_last_one(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_WINDOW", 2)
    kept = stake(client, ALICE)
    for number in range(4):
        given_up(client, f"07720053{number:02}")
    positions: dict[str, int] = {}
    # The first of the five rows is kept. The third run reaches the last row, and the fourth starts again.
    assert [prune(positions=positions) for _ in range(4)] == [1, 2, 1, 0]
    assert Payment.objects.get().transaction_id == kept["transaction_id"]
    assert Player.objects.count() == 1


def test_a_periodic_run_deletes_levels_only_if_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_LEVELS", 2)
    for amount in (1000, 2000):
        StakeLevel.objects.create(amount=amount)
    prune(positions={})
    assert StakeLevel.objects.count() == 2
    StakeLevel.objects.create(amount=3000)
    prune(positions={})
    assert StakeLevel.objects.count() == 0


def test_wrong_codes_and_dead_workers(client: Client) -> None:
    now = timezone.now()
    WrongCode.objects.create(at=now - timedelta(minutes=61))
    WrongCode.objects.create(at=now - timedelta(minutes=59))
    GameWorker.objects.create(key="a", name="old", seen_at=now - timedelta(days=2))
    GameWorker.objects.create(key="b", name="new", seen_at=now - timedelta(hours=2))
    prune()
    assert WrongCode.objects.count() == 1
    assert GameWorker.objects.get().name == "new"


@pytest.mark.parametrize("round_", range(3))
def test_stakes_while_their_levels_and_players_are_pruned(client: Client, settings: Any, round_: int) -> None:
    """Two equal stakes are always matched, even if their stake level is deleted at the same time."""
    settings.MOMO_AUTO_APPROVE = True
    for amount in range(1000, 1004):
        calls = [
            partial(post, Client(), phone_number=phone, stake_amount=amount) for phone in (ALICE, BOB, CAROL, DAVE)
        ]
        answers = together(*calls, prune, prune, prune)[:4]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert Entry.objects.filter(stake_amount=amount, status="matched").count() == 4
        prune()
