"""Phone numbers with a fixed outcome for SMS, like the test cards of a payment provider.

A message to one of these numbers has its fixed outcome without any switch. The numbers with a fixed outcome for payment
prompts are in `playmatatu.sandbox.money.faults`.
"""

from typing import Any, NamedTuple


class Special(NamedTuple):
    """A number with a fixed outcome. `on`: the values of the switches that apply to this number."""

    number: str
    outcome: str
    on: dict[str, Any]


SMS_NUMBERS = (
    Special("0770000003", "SMS accepted, then reported as not delivered", {"report": "failed"}),
    Special("0770000004", "DMark refuses the SMS (400)", {"send": "400"}),
    Special("0770000007", "SMS accepted, then lost", {"lose": True}),
    Special("0770000008", "SMS delivered, but no report", {"report": "never"}),
    Special("0770000009", "SMS accepted, but the reply is lost", {"send": "taken_reset"}),
)


def national(number: str) -> str:
    """Return `256772…` and `+256772…` as `0772…`, so that one phone has one notation. Return other texts unchanged."""
    digits = number.removeprefix("+")
    return "0" + digits[3:] if len(digits) == 12 and digits.isdigit() and digits.startswith("256") else number
