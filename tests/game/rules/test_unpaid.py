"""Limits on unpaid stakes, because anybody can enter any phone number."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from game.models import Entry
from tests.game_helpers import ALICE, BOB, CAROL, paid, paid_stake, post, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _paid_later(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False


def once_more(client: Client, phone: str = ALICE, **headers: str) -> Any:
    return post(Client(headers=headers), phone_number=phone, stake_amount=1000)


def test_six_an_hour_for_one_phone(client: Client) -> None:
    for _ in range(6):
        placed = stake(client, ALICE)
    over = once_more(client)
    assert over.status_code == 429
    assert 3500 < int(over["Retry-After"]) <= 3601
    assert "too many unpaid stakes. Try again in 60 minutes" in over.json()["error"]
    assert list(over.json()["fields"]) == ["phone_number"]
    # Nothing was written, so the earlier stake can still be paid.
    assert Entry.objects.filter(status="awaiting_payment").count() == 1
    assert Entry.objects.count() == 6
    assert once_more(client, BOB).status_code == 200
    # The older the first unpaid stake is, the sooner the next stake is allowed.
    Entry.objects.filter(pk=Entry.objects.earliest("pk").pk).update(created_at=timezone.now() - timedelta(minutes=59))
    assert int(once_more(client)["Retry-After"]) <= 61
    Entry.objects.filter(pk=Entry.objects.earliest("pk").pk).update(created_at=timezone.now() - timedelta(minutes=61))
    assert once_more(client).status_code == 200
    assert placed["status"] == "awaiting_payment"


def test_what_was_paid_does_not_count(client: Client, settings: Any) -> None:
    settings.UNPAID_STAKES_PER_PHONE_HOUR = 2
    for _ in range(4):
        paid(client, stake(client, ALICE), ALICE)
        paid(client, stake(client, BOB), BOB)
    # Failed stakes count, because each caused a message or a payment prompt.
    for _ in range(2):
        paid(client, stake(client, ALICE), ALICE, "FAILED")
    assert once_more(client).status_code == 429


def test_three_hundred_an_hour_from_one_address(client: Client, settings: Any) -> None:
    settings.UNPAID_STAKES_PER_ADDRESS_HOUR, settings.TRUSTED_PROXY_COUNT = 3, 1
    here = {"X-Forwarded-For": "192.0.2.1"}
    answers = [once_more(client, f"07720001{number:02}", **here) for number in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "your network" in answers[3].json()["error"]
    assert answers[3].json()["fields"] == {}
    assert once_more(client, CAROL, **{"X-Forwarded-For": "192.0.2.2"}).status_code == 200


def test_the_networks_of_an_address(client: Client, settings: Any) -> None:
    settings.UNPAID_STAKES_PER_ADDRESS_HOUR, settings.TRUSTED_PROXY_COUNT = 1, 1

    phones = iter(range(100))

    def from_(address: str) -> int:
        return int(once_more(client, f"07720002{next(phones):02}", **{"X-Forwarded-For": address}).status_code)

    assert [from_("2001:db8:1:1::1"), from_("2001:db8:1:1::2")] == [200, 429]
    assert [from_(f"2001:db8:1:{number:x}::1") for number in range(2, 12)] == [200] * 9 + [429]
    # Without a header the client's address is that of the test client.
    assert [from_("unknown"), from_("")] == [200, 200]
    assert from_("'") == 429


def test_refusals_tell_nothing_about_other_numbers(client: Client, settings: Any) -> None:
    """The refusal does not reveal if a number has an active stake."""
    settings.UNPAID_STAKES_PER_ADDRESS_HOUR = 5
    active, code = paid_stake(client, ALICE, 2000), paid_stake(client, BOB, create_private=True).match_code
    wrong = [post(client, phone_number=phone, stake_amount=1500, match_code=code) for phone in (ALICE, BOB, CAROL)]
    assert {(answer.status_code, answer.content) for answer in wrong} == {(409, wrong[0].content)}
    assert list(wrong[0].json()["fields"]) == ["stake_amount"]
    asked = [once_more(client, ALICE).status_code for _ in range(7)]
    assert asked == [409] * 5 + [429] * 2
    # Numbers with and without a stake get the same refusal.
    assert once_more(client, CAROL).content == once_more(client, ALICE).content
    assert Entry.objects.filter(pk=active.pk, status="queued").exists()


def test_the_guesser_of_a_creators_number_is_counted(client: Client, settings: Any) -> None:
    settings.UNPAID_STAKES_PER_ADDRESS_HOUR = 2
    code = paid_stake(client, BOB, create_private=True).match_code
    asked = [post(client, phone_number=BOB, stake_amount=1000, match_code=code).status_code for _ in range(3)]
    assert asked == [409, 409, 429]
