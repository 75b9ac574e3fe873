"""The faults in plain words: buttons that set what is behind them, and every switch by its name."""

from dataclasses import asdict
from typing import Any, NamedTuple

from sms.sandbox.faults import CHOICES, NAMES, USUAL, Faults

LABELS = {
    "token": "Token request",
    "token_times": "… for so many requests (0: always)",
    "token_kind": "Kind of token",
    "token_life": "A token lives (s)",
    "token_path": "Paths where a token is had",
    "send": "Sending",
    "send_times": "… for so many requests (0: always)",
    "send_every": "… each so many-th request",
    "send_kind": "Shape of the acceptance",
    "dlr": "Report request",
    "lose": "Lose texts after accepting them",
    "refuse_tokens": "Refuse every token",
    "refusal": "Words of a refused account",
    "latency_ms": "Latency (ms)",
    "report": "Delivery reports",
    "report_after": "Report after (s)",
    "report_method": "Reports are sent as",
    "pay_token": "Money: token request",
    "pay_token_times": "… for so many requests (0: always)",
    "pay_token_life": "A money token lives (s)",
    "pay_token_uses": "… and is valid for this many requests (0: any)",
    "pay_stale": "… and is then answered with",
    "payin": "Asking for money",
    "payin_times": "… for so many requests (0: always)",
    "payin_every": "… each so many-th request",
    "payin_kind": "Answer to asking",
    "payin_again": "The same order again is taken",
    "pay_status": "What became of it",
    "pay_status_times": "… for so many requests (0: always)",
    "pay_unknown_for": "… not known for the first (s)",
    "payout": "Paying back",
    "payout_times": "… for so many requests (0: always)",
    "payout_kind": "Answer to paying back",
    "pay_words": "Money: words are written in",
    "pay_latency_ms": "Money: latency (ms)",
    "phones": "Phones that are asked for money",
    "phones_after": "… answer by themselves after (s)",
    "phones_seconds": "… give up after (s; 0: never)",
    "broke": "Phones have no money",
    "callback": "Callbacks",
    "callback_after": "Call back after (s)",
    "reversal": "Status of a payment that is taken back",
    "callback_method": "Callbacks are sent as",
    "retry_after": "Retry-After of a 429 (s)",
    "answer_after": "A late answer comes after (s)",
    "hang_seconds": "Hang for (s)",
    "late_seconds": "Late reports and callbacks come after (s)",
}


class Switch(NamedTuple):
    """A fault in plain words: what it sets while it is on."""

    label: str
    on: dict[str, Any]


GROUPS: dict[str, tuple[Switch, ...]] = {
    "The phones": (
        Switch("Pay by themselves", {"phones": "pay"}),
        Switch("Decline by themselves", {"phones": "decline"}),
        Switch("No money on them", {"broke": True}),
        Switch("Out of reach", {"phones": "unreached"}),
    ),
    "Texts: what goes wrong": (
        Switch("DMark is down", {"token": "503", "token_times": 0, "send": "503", "send_times": 0, "dlr": "503"}),
        Switch("Slow: 3 s an answer", {"latency_ms": 3000.0}),
        Switch("Hangs, never answers", {"send": "hang", "send_times": 0}),
        Switch("Hangs up (reset)", {"send": "reset", "send_times": 0}),
        Switch("Takes it, loses the answer", {"send": "taken_reset", "send_times": 0}),
        Switch("Gateway time-out (504)", {"send": "504", "send_times": 0}),
        Switch("Refuses the password", {"token": "401", "token_times": 0, "refuse_tokens": True}),
        Switch("No token on the usual path", {"token_path": "v3"}),
        Switch("Token expired (once)", {"send": "401", "send_times": 1}),
        Switch("Refuses the text", {"send": "400", "send_times": 0}),
        Switch("No credit left", {"send_kind": "no_credit"}),
        Switch("No credit, under 200", {"send_kind": "no_credit_failed"}),
        Switch("Too many requests", {"send": "429", "send_times": 0}),
        Switch("Takes it, says Failed", {"send_kind": "failed"}),
        Switch("Answers with a web page", {"send": "html", "send_times": 0}),
        Switch("Accepts, then loses it", {"lose": True}),
    ),
    "Delivery reports": (
        Switch("Delivered", {"report": "delivered"}),
        Switch("Not delivered", {"report": "failed"}),
        Switch("Expired", {"report": "expired"}),
        Switch("Late: after 30 s", {"report": "late"}),
        Switch("Before the answer", {"report": "before"}),
        Switch("Twice", {"report": "twice"}),
        Switch("The same five times", {"report": "repeated"}),
        Switch("Out of order", {"report": "backwards"}),
        Switch("In numbers", {"report": "numeric"}),
        Switch("Never", {"report": "never"}),
    ),
    "Money: what goes wrong": (
        Switch("DMarkPay is down", {"pay_token": "503", "payin": "503", "pay_status": "503", "payout": "503"}),
        Switch("Slow: 3 s each answer", {"pay_latency_ms": 3000.0}),
        Switch("Never answers", {"payin": "hang", "payin_times": 0}),
        Switch("Asks, then loses the answer", {"payin": "taken_reset", "payin_times": 0}),
        Switch("Asks, then never answers", {"payin": "taken_hang", "payin_times": 0}),
        Switch("Refuses to ask", {"payin_kind": "refused"}),
        Switch("Fails at once", {"payin_kind": "failed"}),
        Switch("Stale token (once)", {"payin": "403", "payin_times": 1}),
        Switch("Each token serves once", {"pay_token_uses": 1}),
        Switch("A web page for an answer", {"payin": "html", "payin_times": 0}),
        Switch("Does not know it for 10 s", {"pay_unknown_for": 10.0}),
        Switch("Asked again: not found", {"pay_status": "404", "pay_status_times": 0}),
    ),
    "Paying back": (
        Switch("Fails", {"payout_kind": "failed"}),
        Switch("Stays pending", {"payout_kind": "pending"}),
        Switch("Is refused", {"payout_kind": "refused"}),
        Switch("Pays, then loses the answer", {"payout": "taken_reset", "payout_times": 0}),
    ),
    "Callbacks": (
        Switch("When it ended", {"callback": "after"}),
        Switch("30 s late", {"callback": "late"}),
        Switch("Two of them", {"callback": "twice"}),
        Switch("Contradicting", {"callback": "contradicts"}),
        Switch("Lying", {"callback": "lies"}),
        Switch("Reversed later", {"callback": "reverses"}),
        Switch("Reversed later, no notification", {"callback": "reverses_unseen"}),
        Switch("Before our answer", {"callback": "before"}),
        Switch("Garbage", {"callback": "garbage"}),
        Switch("None", {"callback": "never"}),
    ),
}


class Button(NamedTuple):
    """`sets`: what a press gives the switches, by name; off again where it is on."""

    label: str
    pressed: bool
    sets: dict[str, str]


class Control(NamedTuple):
    """A switch by its name; `choices` is empty where any value will do."""

    name: str
    label: str
    value: str
    choices: list[str]


def buttons(faults: Faults) -> list[tuple[str, list[Button]]]:
    return [(title, [_button(switch, faults) for switch in switches]) for title, switches in GROUPS.items()]


def _button(switch: Switch, faults: Faults) -> Button:
    pressed = all(getattr(faults, name) == value for name, value in switch.on.items())
    return Button(
        switch.label,
        pressed,
        {name: word(getattr(USUAL, name) if pressed else value) for name, value in switch.on.items()},
    )


def changed(faults: Faults) -> list[str]:
    """What is not as usual, in words."""
    now, usual = asdict(faults), asdict(USUAL)
    return [f"{LABELS[name].removeprefix('… ')}: {word(now[name])}" for name in NAMES if now[name] != usual[name]]


def controls(faults: Faults) -> list[Control]:
    return [
        Control(
            name, LABELS[name], word(value), ["false", "true"] if isinstance(value, bool) else CHOICES.get(name, [])
        )
        for name, value in asdict(faults).items()
    ]


def word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
