"""Switches for the sandbox's payments: faults of DMarkPay, and how phones answer payment prompts."""

from dataclasses import dataclass
from typing import ClassVar

from sms.sandbox import faults
from sms.sandbox.faults import ANSWERS, EFFECTS, EVERY, SMS_NUMBERS, TIMES, Special, switch
from sms.sandbox.switches import TEXTS, Panel, Switch

MONEY_NUMBERS = (
    Special("0770000001", "The payer declines", {"phones": "decline"}),
    Special("0770000002", "No answer: the payment stays pending", {"phones": "unreached"}),
    Special("0770000005", "The payer has no money", {"phones": "pay", "broke": True}),
    Special("0770000006", "The payer pays without a tap", {"phones": "pay"}),
    Special("0770000010", "Pays without a tap; payouts to it fail", {"phones": "pay", "payout_kind": "failed"}),
    Special(
        "0770000011", "Pays without a tap; payouts to it stay pending", {"phones": "pay", "payout_kind": "pending"}
    ),
)
_CALLBACKS = ("after late never twice pending_first before contradicts lies reverses reverses_unseen garbage").split()


@dataclass
class Faults(faults.Faults):
    NUMBERS: ClassVar[tuple[Special, ...]] = tuple(sorted((*SMS_NUMBERS, *MONEY_NUMBERS)))

    pay_token: str = switch("Money: token request", "ok", ANSWERS)
    pay_token_times: int = switch(TIMES, 0)
    pay_token_life: float = switch("Money token lifetime (s)", 36000.0)
    pay_token_uses: int = switch("… and number of requests it is valid for (0: any)", 0)
    pay_stale: str = switch("… and the response to an expired one", "403", "403 401 403_html".split())
    payin: str = switch("Payment request", "ok", EFFECTS)
    payin_times: int = switch(TIMES, 0)
    payin_every: int = switch(EVERY, 1)
    payin_kind: str = switch(
        "Response to a payment request", "pending", "pending successful failed refused no_id odd_word".split()
    )
    payin_again: str = switch("The same payment request again is taken", "twice", "twice refused same".split())
    pay_status: str = switch("Status request", "ok", ANSWERS)
    pay_status_times: int = switch(TIMES, 0)
    pay_unknown_for: float = switch("… 404 for the first (s)", 0.0)
    payout: str = switch("Payout", "ok", EFFECTS)
    payout_times: int = switch(TIMES, 0)
    payout_kind: str = switch(
        "Response to a payout", "successful", "successful failed pending refused no_id odd_word".split()
    )
    pay_words: str = switch("Money: case of the status words", "Title", "Title UPPER lower".split())
    pay_latency_ms: float = switch("Money: latency (ms)", 0.0)
    phones: str = switch("Phones with a payment prompt", "ask", "ask pay decline unreached".split())
    phones_after: float = switch("… answer automatically after (s)", 0.0)
    phones_seconds: float = switch("… give up after (s; 0: never)", 120.0)
    broke: bool = switch("Phones have no money", default=False)
    callback: str = switch("Notifications", "after", _CALLBACKS)
    callback_after: float = switch("Notify after (s)", 0.2)
    reversal: str = switch("Status of a reversed payment", "opposite", "opposite Reversed".split())
    callback_method: str = switch("Notifications are sent as", "json", "json put form".split())


_PHONES = (
    Switch("Pay automatically", {"phones": "pay"}),
    Switch("Decline automatically", {"phones": "decline"}),
    Switch("No money on the phones", {"broke": True}),
    Switch("Out of reach", {"phones": "unreached"}),
)
_GROUPS = {
    "Money: faults": (
        Switch("DMarkPay is down", {"pay_token": "503", "payin": "503", "pay_status": "503", "payout": "503"}),
        Switch("Money slow: 3 s per response", {"pay_latency_ms": 3000.0}),
        Switch("Payment request: no response", {"payin": "hang", "payin_times": 0}),
        Switch("Prompt appears, reply lost", {"payin": "taken_reset", "payin_times": 0}),
        Switch("Prompt appears, no response", {"payin": "taken_hang", "payin_times": 0}),
        Switch("Refuses the payment request", {"payin_kind": "refused"}),
        Switch("Payment fails at once", {"payin_kind": "failed"}),
        Switch("Money token expired (once)", {"payin": "403", "payin_times": 1}),
        Switch("Each token is valid once", {"pay_token_uses": 1}),
        Switch("Money: replies with a web page", {"payin": "html", "payin_times": 0}),
        Switch("Unknown for the first 10 s", {"pay_unknown_for": 10.0}),
        Switch("Status: not found", {"pay_status": "404", "pay_status_times": 0}),
    ),
    "Payouts": (
        Switch("Fails", {"payout_kind": "failed"}),
        Switch("Stays pending", {"payout_kind": "pending"}),
        Switch("Is refused", {"payout_kind": "refused"}),
        Switch("Pays, reply lost", {"payout": "taken_reset", "payout_times": 0}),
    ),
    "Notifications": (
        Switch("After the payment", {"callback": "after"}),
        Switch("30 s late", {"callback": "late"}),
        Switch("Two of them", {"callback": "twice"}),
        Switch("Two that contradict each other", {"callback": "contradicts"}),
        Switch("Says the opposite", {"callback": "lies"}),
        Switch("Reversed later", {"callback": "reverses"}),
        Switch("Reversed later, no notification", {"callback": "reverses_unseen"}),
        Switch("Before our response", {"callback": "before"}),
        Switch("Not JSON", {"callback": "garbage"}),
        Switch("No notifications", {"callback": "never"}),
    ),
}
PANEL = Panel({"The phones": _PHONES, **TEXTS.groups, **_GROUPS})
