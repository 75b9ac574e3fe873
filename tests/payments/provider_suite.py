"""A test suite that every provider must pass.

Subclass ProviderSuite, and override the fixture `rig` to return the provider with a fake of its gateway. See
test_dmarkpay_conformance.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from payments.providers import Answer, Order, Provider, Said

PHONE = "+256772123456"


@dataclass
class Rig:
    """A provider, and the means to control the fake gateway behind it.

    `fault(place, name)`: the next responses at `place` (token, collect, status or payout) are wrong in that way.
    `requests(kind)`: how many requests of that kind (collect or payout) arrived, by reference.
    `pay` and `decline` answer the payment prompt. `reverse` takes the payment back under an undocumented word.
    `expire_token` makes the current token invalid. `offline` points the provider at a port where nothing listens.
    """

    provider: Provider
    fault: Callable[[str, str], None]
    requests: Callable[[str], dict[str, int]]
    pay: Callable[[str], None]
    decline: Callable[[str], None]
    reverse: Callable[[str], None]
    expire_token: Callable[[], None]
    offline: Callable[[], Provider]


def order(reference: str = "100000000000000001", **changes: Any) -> Order:
    usual = {"phone": PHONE, "network": "mtn", "amount": 1000, "description": "A stake"}
    return Order(reference=reference, **{**usual, **changes})


# The ways in which a request that moves money can fail, each with the only safe meaning.
FAULTS = [
    ("hang", Said.IN_DOUBT),
    ("slow", Said.IN_DOUBT),
    ("reset", Said.IN_DOUBT),
    ("truncated", Said.IN_DOUBT),
    ("html", Said.IN_DOUBT),
    ("huge", Said.IN_DOUBT),
    ("empty", Said.IN_DOUBT),
    ("redirect", Said.IN_DOUBT),
    ("500", Said.IN_DOUBT),
    ("504", Said.IN_DOUBT),
    ("taken_hang", Said.IN_DOUBT),
    ("taken_reset", Said.IN_DOUBT),
    ("taken_truncated", Said.IN_DOUBT),
    ("taken_500", Said.IN_DOUBT),
    ("taken_empty", Said.IN_DOUBT),
    ("400", Said.FAILED),
    ("429", Said.NOT_TAKEN),
]


class ProviderSuite:
    """Tests of the interface `payments.providers.Provider`, over real HTTP."""

    @pytest.fixture
    def rig(self) -> Rig:
        raise NotImplementedError

    def test_it_names_itself_and_its_networks(self, rig: Rig) -> None:
        assert rig.provider.name.isidentifier()
        assert rig.provider.networks
        assert rig.provider.longest > 0

    def test_a_payment_request_is_pending_until_the_payer_answers(self, rig: Rig) -> None:
        answer = rig.provider.collect(order())
        assert (answer.said, answer.ours) == (Said.PENDING, order().reference)
        assert answer.provider_id
        assert rig.provider.status(answer.provider_id).said is Said.PENDING

    @pytest.mark.parametrize(("act", "said"), [("pay", Said.SUCCESS), ("decline", Said.FAILED)])
    def test_the_status_follows_the_payer(self, rig: Rig, act: str, said: Said) -> None:
        provider_id = rig.provider.collect(order()).provider_id
        getattr(rig, act)(order().reference)
        answer = rig.provider.status(provider_id)
        assert (answer.said, answer.ours, answer.provider_id) == (said, order().reference, provider_id)

    def test_an_unknown_status_word_is_reported_with_the_word(self, rig: Rig) -> None:
        provider_id = rig.provider.collect(order()).provider_id
        rig.pay(order().reference)
        rig.reverse(order().reference)
        answer = rig.provider.status(provider_id)
        assert answer.said is Said.OTHER
        assert answer.word
        assert answer.word in answer.text

    def test_an_unknown_transaction(self, rig: Rig) -> None:
        assert rig.provider.status("no-such-id").said is Said.UNKNOWN

    def test_a_payout_has_an_immediate_result(self, rig: Rig) -> None:
        answer = rig.provider.payout(order())
        assert answer.said is Said.SUCCESS
        assert rig.provider.status(answer.provider_id).said is Said.SUCCESS

    @pytest.mark.parametrize("place", ["collect", "payout"])
    @pytest.mark.parametrize(("fault", "said"), FAULTS)
    def test_a_fault_is_read_safely_and_nothing_is_repeated(self, rig: Rig, place: str, fault: str, said: Said) -> None:
        rig.fault(place, fault)
        answer: Answer = getattr(rig.provider, place)(order())
        assert answer.said is said, answer
        assert answer.words
        assert rig.requests(place) == {order().reference: 1}

    @pytest.mark.parametrize("fault", ["500", "hang", "reset", "html", "truncated", "empty", "redirect", "400"])
    def test_a_status_poll_that_fails_says_nothing(self, rig: Rig, fault: str) -> None:
        provider_id = rig.provider.collect(order()).provider_id
        rig.pay(order().reference)
        rig.fault("status", fault)
        answer = rig.provider.status(provider_id)
        assert answer.said is Said.IN_DOUBT
        assert answer.words

    @pytest.mark.parametrize("place", ["collect", "payout"])
    @pytest.mark.parametrize("fault", ["400", "401", "500", "hang", "reset", "html", "truncated"])
    def test_without_a_token_no_money_is_requested(self, rig: Rig, place: str, fault: str) -> None:
        rig.fault("token", fault)
        answer: Answer = getattr(rig.provider, place)(order())
        assert (answer.said, rig.requests(place)) == (Said.NOT_TAKEN, {})
        assert answer.words

    def test_an_expired_token_is_renewed(self, rig: Rig) -> None:
        assert rig.provider.collect(order("100000000000000001")).said is Said.PENDING
        rig.expire_token()
        assert rig.provider.collect(order("100000000000000002")).said is Said.PENDING
        rig.expire_token()
        assert rig.provider.status(rig.provider.collect(order("100000000000000003")).provider_id).said is Said.PENDING

    def test_an_unreachable_host_took_nothing(self, rig: Rig) -> None:
        offline = rig.offline()
        assert offline.collect(order()).said is Said.NOT_TAKEN
        assert offline.payout(order()).said is Said.NOT_TAKEN
        assert offline.status("1").said is Said.IN_DOUBT
