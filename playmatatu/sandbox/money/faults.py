"""Switches for the sandbox's payments: faults of DMarkPay, and how phones answer payment prompts.

MONEY_NUMBERS lists phone numbers whose payment prompts have a fixed outcome.
"""

from dataclasses import dataclass
from typing import ClassVar

from sms.sandbox import faults
from sms.sandbox.faults import ANSWERS, EFFECTS, SMS_NUMBERS, Special
from sms.sandbox.switches import TEXTS, Panel, Switch

MONEY_NUMBERS = (
    Special("0770000001", "The payer declines", {"phones": "decline"}),
    Special("0770000002", "No answer: the payment stays pending", {"phones": "unreached"}),
    Special("0770000005", "The payer has no money", {"phones": "pay", "broke": True}),
    Special("0770000006", "The payer pays without a tap", {"phones": "pay"}),
    Special(
        "0770000010",
        "Pays without a tap; payouts to it fail",
        {"phones": "pay", "payout_kind": "failed"},
    ),
    Special(
        "0770000011", "Pays without a tap; payouts to it stay pending", {"phones": "pay", "payout_kind": "pending"}
    ),
)


@dataclass
class Faults(faults.Faults):
    CHOICES: ClassVar[dict[str, list[str]]] = {
        **faults.Faults.CHOICES,
        "pay_token": ANSWERS,
        "payin": EFFECTS,
        "payin_kind": "pending successful failed refused no_id odd_word".split(),
        "payin_again": "twice refused same".split(),
        "pay_status": ANSWERS,
        "payout": EFFECTS,
        "payout_kind": "successful failed pending refused no_id odd_word".split(),
        "pay_words": "Title UPPER lower".split(),
        "phones": "ask pay decline unreached".split(),
        "callback": (
            "after late never twice pending_first before contradicts lies reverses reverses_unseen garbage"
        ).split(),
        "reversal": "opposite Reversed".split(),
        "pay_stale": "403 401 403_html".split(),
        "callback_method": "json put form".split(),
    }

    NUMBERS: ClassVar[tuple[Special, ...]] = tuple(sorted((*SMS_NUMBERS, *MONEY_NUMBERS)))

    pay_token: str = "ok"  # noqa: S105
    pay_token_times: int = 0
    pay_token_life: float = 36000.0
    pay_token_uses: int = 0
    pay_stale: str = "403"
    payin: str = "ok"
    payin_times: int = 0
    payin_every: int = 1
    payin_kind: str = "pending"
    payin_again: str = "twice"
    pay_status: str = "ok"
    pay_status_times: int = 0
    pay_unknown_for: float = 0.0
    payout: str = "ok"
    payout_times: int = 0
    payout_kind: str = "successful"
    pay_words: str = "Title"
    pay_latency_ms: float = 0.0
    phones: str = "ask"
    phones_after: float = 0.0
    phones_seconds: float = 120.0
    broke: bool = False
    callback: str = "after"
    callback_after: float = 0.2
    reversal: str = "opposite"
    callback_method: str = "json"


_LABELS = {
    "pay_token": "Money: token request",
    "pay_token_times": "… for this many requests (0: always)",
    "pay_token_life": "Money token lifetime (s)",
    "pay_token_uses": "… and number of requests it is valid for (0: any)",
    "pay_stale": "… and the response to an expired one",
    "payin": "Payment request",
    "payin_times": "… for this many requests (0: always)",
    "payin_every": "… on every n-th request",
    "payin_kind": "Response to a payment request",
    "payin_again": "The same payment request again is taken",
    "pay_status": "Status request",
    "pay_status_times": "… for this many requests (0: always)",
    "pay_unknown_for": "… 404 for the first (s)",
    "payout": "Payout",
    "payout_times": "… for this many requests (0: always)",
    "payout_kind": "Response to a payout",
    "pay_words": "Money: case of the status words",
    "pay_latency_ms": "Money: latency (ms)",
    "phones": "Phones with a payment prompt",
    "phones_after": "… answer automatically after (s)",
    "phones_seconds": "… give up after (s; 0: never)",
    "broke": "Phones have no money",
    "callback": "Notifications",
    "callback_after": "Notify after (s)",
    "reversal": "Status of a reversed payment",
    "callback_method": "Notifications are sent as",
}
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
PANEL = Panel({**TEXTS.labels, **_LABELS}, {"The phones": _PHONES, **TEXTS.groups, **_GROUPS})
