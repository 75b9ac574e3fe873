"""Numbers with a fixed outcome, like the test cards of a payment provider: no switch is needed for them."""

from typing import Any, NamedTuple


class Special(NamedTuple):
    """`on`: the values that the switches have for this number."""

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
    """`256772…` and `+256772…` as `0772…`, so that each notation means the same phone."""
    digits = number.removeprefix("+")
    return "0" + digits[3:] if len(digits) == 12 and digits.isdigit() and digits.startswith("256") else number
