"""Locks on PostgreSQL: one order everywhere, the stake level held briefly, and a commit that outlives a crash."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from game import maintenance
from game.models import Entry, StakeLevel
from game.rules.ending import expire_old, leave
from game.rules.locks import lock_level
from payments.models import Payment
from tests.conftest import Sandbox
from tests.game_helpers import callback, callback_body, paid, post, stake, status, together

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time"),
]


@pytest.fixture(autouse=True)
def _paid_later(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.SMS_DELIVERY = False, "worker"
    settings.UNPAID_STAKES_PER_PHONE_HOUR = 1000


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def _stake(phone: str, amount: int) -> Any:
    return post(Client(), phone_number=phone, stake_amount=amount).status_code


def _pay(phone: str) -> Any:
    payment = Payment.objects.filter(phone=f"+256{phone[1:]}").latest("pk")
    placed = {"transaction_id": payment.transaction_id, "stake_amount": payment.amount}
    return callback(Client(), callback_body(placed, phone)).status_code


def _leave(phone: str) -> Any:
    return leave(Entry.objects.select_related("player").filter(player__phone=f"+256{phone[1:]}").latest("pk"))


ACTIONS: dict[str, Callable[[str], Any]] = {
    "stake": partial(_stake, amount=1000),
    "pay": _pay,
    "leave": _leave,
    "expire": lambda phone: expire_old(),
}


@pytest.mark.parametrize("pair", list(combinations_with_replacement(ACTIONS, 2)), ids="+".join)
def test_no_pair_of_actions_deadlocks(collection: Sandbox, pair: tuple[str, str]) -> None:
    """Each action of the pair twice at once, for one phone and for two that may meet."""
    before = deadlocks()
    for number in range(6):
        phones = [f"0772{number:02}00{other}1" for other in range(2)]
        for phone in phones:
            _stake(phone, 1000)
        answers = together(*(partial(ACTIONS[name], phone) for name in pair * 2 for phone in phones))
        assert 503 not in answers
    assert deadlocks() == before


@contextmanager
def level_held(amount: int) -> Iterator[None]:
    """Hold the stake level's lock in another connection, and let this one wait for a lock 200 ms at most."""
    StakeLevel.objects.get_or_create(amount=amount)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            StakeLevel.objects.select_for_update().get(amount=amount)
            locked.set()
            done.wait(20)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    try:
        yield
    finally:
        done.set()
        holder.join()


@pytest.mark.parametrize("cure", ["repeated callback", "game_worker"])
def test_a_callback_whose_lock_timed_out_is_a_503_and_its_entry_is_activated_later(client: Client, cure: str) -> None:
    alice, bob = stake(client, "0772009101"), stake(client, "0772009102")
    with level_held(1000):
        # The lock timeout, then a refusal at once because of it.
        for placed, phone in ((alice, "0772009101"), (bob, "0772009102")):
            answer = callback(client, callback_body(placed, phone))
            assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    # The money is recorded although the entry is inactive.
    assert set(Payment.objects.values_list("status", "callbacks__answered", "callbacks__refusal")) == {
        ("SUCCESS", 503, "")
    }
    assert status(client, alice["queue_token"])["status"] == "awaiting_payment"
    time.sleep(1)  # the pause after a lock timeout
    if cure == "repeated callback":
        paid(client, alice, "0772009101")
        paid(client, bob, "0772009102")
    else:
        task = next(task for task in maintenance.TASKS if task.every <= 1 and task.name == "activated")
        assert task.run() == (2, 0)
    assert {status(client, placed["queue_token"])["status"] for placed in (alice, bob)} == {"matched"}


def test_only_the_levels_transaction_commits_without_the_disk() -> None:
    def setting() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            return str(cursor.fetchone()[0])

    with transaction.atomic():
        lock_level(1000)
        assert setting() == "off"
    assert setting() == "on"
