"""What the database decides when players arrive together: real threads, on SQLite and on PostgreSQL."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from game.models import Entry, Session
from sms.models import SmsMessage
from tests.game_helpers import ALICE, BOB, CAROL, paid, post, stake

pytestmark = pytest.mark.django_db(transaction=True)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in a thread each, let go at one moment; their results in order."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        try:
            barrier.wait()
            results[index] = calls[index]()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def staking(phone: str, amount: int = 1000, **more: Any) -> Callable[[], Any]:
    return lambda: post(Client(), phone_number=phone, stake_amount=amount, **more)


@pytest.mark.parametrize("round_", range(2))
def test_twenty_players_make_ten_sessions(round_: int) -> None:
    answers = together(*(staking(f"07720010{number:02}") for number in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert Session.objects.count() == 10
    assert Entry.objects.filter(status="queued").count() == 0
    assert SmsMessage.objects.filter(kind="match_found").count() == 20
    assert Counter(Entry.objects.values_list("session", flat=True)).most_common(1)[0][1] == 2


def test_two_equal_stakes_never_both_wait() -> None:
    for number in range(8):
        amount = 1000 + number
        together(staking(ALICE, amount), staking(BOB, amount))
        assert Entry.objects.filter(stake_amount=amount, status="queued").count() == 0


def test_one_joiner_wins_the_code() -> None:
    for number in range(4):
        amount = 1000 + number
        code = stake(Client(), ALICE, amount, create_private=True)["match_code"]
        answers = together(staking(BOB, amount, match_code=code), staking(CAROL, amount, match_code=code))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        loser = BOB if answers[0].status_code == 409 else CAROL
        assert not Entry.objects.filter(player__phone=f"+256{loser[1:]}", stake_amount=amount).exists()


def test_two_stakes_of_one_phone_open_one() -> None:
    answers = together(*(staking(ALICE, 1000 + number) for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert Entry.objects.count() == 1


def test_thirty_identical_callbacks_make_one_text(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    placed = stake(Client(), ALICE)
    together(*(lambda: paid(Client(), placed, ALICE) for _ in range(30)))
    assert SmsMessage.objects.count() == 1


def test_payments_that_arrive_together_are_all_matched(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    phones = [f"07720020{number:02}" for number in range(10)]
    placed = [stake(Client(), phone) for phone in phones]
    together(
        *(
            lambda answer=answer, phone=phone: paid(Client(), answer, phone)
            for answer, phone in zip(placed, phones, strict=True)
        )
    )
    assert Session.objects.count() == 5
    assert SmsMessage.objects.filter(text__contains="Play here").count() == 10
