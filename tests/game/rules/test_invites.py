"""Limits on invites, checked when an invite is sent. Invites to matches that are over are not sent."""

from functools import partial
from typing import Any

import pytest
from django.test import Client

from game.models import Entry
from game.rules.ending import cancel
from sms import outbox, owners
from sms.models import SmsMessage
from tests.conftest import Sandbox
from tests.crowd import together
from tests.game_helpers import ALICE, BOB, CAROL, age, kinds, paid, paid_stake, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _paid_for(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False


def test_thirty_unpaid_matches_make_five_invites(client: Client) -> None:
    """Stakes placed first and paid later: the limit is checked when the invite is sent."""
    phones = [f"07720011{number:02}" for number in range(8)]
    placed = [stake(client, phone, create_private=True, invite_phone=BOB) for phone in phones]
    assert [one["message"] for one in placed if "limit of invites" in one["message"]] == []
    for one, phone in zip(placed, phones, strict=True):
        paid(client, one, phone)
    assert kinds(BOB) == ["private_invite"] * 5
    refused = Entry.objects.exclude(invite_refused="")
    assert {(entry.invite_refused, entry.invite_phone, entry.status) for entry in refused} == {
        ("recipient", "", "queued")
    }
    assert refused.count() == 3


def test_invites_that_leave_together(client: Client) -> None:
    phones = [f"07720012{number:02}" for number in range(8)]
    # Each match has its own stake level, so that only the lock on the recipient is shared.
    placed = [stake(client, phone, 1000 + i, create_private=True, invite_phone=BOB) for i, phone in enumerate(phones)]
    together(*(partial(paid, Client(), one, phone) for one, phone in zip(placed, phones, strict=True)))
    assert kinds(BOB) == ["private_invite"] * 5


@pytest.fixture
def waiting_invite(client: Client, sandbox: Sandbox, settings: Any) -> Entry:
    """A private match whose invite is queued but not sent."""
    settings.SMS_DELIVERY = "worker"
    return paid_stake(client, create_private=True, invite_phone=BOB)


@pytest.mark.parametrize("what", ["left", "expired", "met"])
def test_a_dead_invite_is_not_worth_sending(client: Client, waiting_invite: Entry, what: str) -> None:
    invite = SmsMessage.objects.get(kind="private_invite")
    other = outbox.queue_sms(CAROL, "A message about something else.")
    assert owners.worth_sending([invite, other]) == {invite.pk, other.pk}
    if what == "left":
        cancel(waiting_invite)
    elif what == "expired":
        age()
    else:
        paid_stake(client, CAROL, match_code=waiting_invite.match_code)
    assert owners.worth_sending([invite, other]) == {other.pk}
    SmsMessage.objects.filter(pk=invite.pk).update(status="failed")
    assert outbox.resend(SmsMessage.objects.filter(pk=invite.pk), "operator") == []


def test_one_question_for_a_whole_claim(client: Client, django_assert_num_queries: Any, settings: Any) -> None:
    for number in range(6):
        paid_stake(client, f"07720013{number:02}", create_private=True, invite_phone=f"07720014{number:02}")
    paid_stake(client, ALICE, 5000), paid_stake(client, BOB, 5000)
    messages = list(SmsMessage.objects.filter(kind__in=("private_invite", "match_found")))
    assert len(messages) == 7
    with django_assert_num_queries(2):
        assert len(owners.worth_sending(messages)) == 7
