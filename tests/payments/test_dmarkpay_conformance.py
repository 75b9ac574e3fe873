"""DMarkPay passes the provider suite with each response that an expired token can get."""

from typing import Any

import pytest

from payments.providers.dmarkpay.client import DMarkPay
from tests.conftest import free_port
from tests.payments.provider_suite import ProviderSuite, Rig
from tests.sandbox import Sandbox

PLACES = {"token": "pay_token", "collect": "payin", "status": "pay_status", "payout": "payout"}


class TestDMarkPay(ProviderSuite):
    @pytest.fixture(params=["403"])
    def rig(self, collection: Sandbox, settings: Any, request: pytest.FixtureRequest) -> Rig:
        settings.DMARK_PAY_TIMEOUT = 1.0
        collection.faults(hang_seconds=2.5, callback="never", pay_stale=request.param)
        state = collection.server.state

        def requests(kind: str) -> dict[str, int]:
            return dict(collection.counts()["money"]["asked"][PLACES[kind]])

        def reverse(reference: str) -> None:
            collection.faults(reversal="Reversed", callback="reverses_unseen")
            collection.server.dmarkpay.notifier.reverse(state.money.named(reference, "payin")[0])

        def expire_token() -> None:
            collection.server.dmarkpay._tokens.clear()

        def offline() -> DMarkPay:
            provider = DMarkPay()
            provider.status("1")  # This call caches a token.
            settings.DMARK_PAY_BASE_URL = f"http://127.0.0.1:{free_port()}"
            moved = DMarkPay()
            moved._token = provider._token  # type: ignore[method-assign]
            return moved

        return Rig(
            provider=DMarkPay(),
            fault=lambda place, name: collection.faults(**{PLACES[place]: name}),
            requests=requests,
            pay=lambda reference: _tap(collection, reference, "pay"),
            decline=lambda reference: _tap(collection, reference, "decline"),
            reverse=reverse,
            expire_token=expire_token,
            offline=offline,
        )

    @pytest.mark.parametrize("rig", ["401", "403_html"], indirect=True)
    def test_an_expired_token_is_renewed_whatever_the_refusal(self, rig: Rig) -> None:
        self.test_an_expired_token_is_renewed(rig)


def _tap(collection: Sandbox, reference: str, answer: str) -> None:
    assert collection.tap(reference, answer) == 200
