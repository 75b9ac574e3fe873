"""Return each message of the game in each language with the longest possible values, for a check of their length."""

from collections.abc import Iterator

from django.conf import settings

from game.models import Entry, Session
from game.notifications import render
from game.rules.matching import TOKEN_LENGTH
from game.rules.validation import payable, prize
from game.tokens import game_link, stake_link
from sms.owners import Sample

# The longest id in a sample: no site is expected to have more than nine digits.
_LARGEST_ID = 999_999_999


def samples() -> Iterator[Sample]:
    entry = Entry(pk=_LARGEST_ID, player_id=_LARGEST_ID)
    own_link = stake_link(entry)
    entry.session = Session(token="x" * TOKEN_LENGTH)
    link, code = game_link(entry), "W" * 6
    amount = str(payable(settings.MAX_STAKE_AMOUNT))
    invite = {
        "code": code,
        "stake": str(settings.MAX_STAKE_AMOUNT),
        "ttl": f"{settings.QUEUE_EXPIRY_MINUTES:.0f}",
        "frontend_url": settings.FRONTEND_URL.rstrip("/"),
    }
    values: list[tuple[str, dict[str, str]]] = [
        ("private_invite", invite),
        ("match_found", {"link": link}),
        ("own_link", {"link": own_link}),
        ("payment_success", {"amount": amount}),
        ("payment_success", {"amount": amount, "code": code}),
        ("payment_success", {"amount": amount, "link": link}),
        ("payment_failed", {"amount": amount}),
        ("payment_held", {"amount": amount}),
        ("refund_due", {"amount": amount}),
        ("refund_due", {"amount": amount, "played": "yes"}),
        ("refunded", {"amount": amount}),
        ("prize_paid", {"amount": str(prize(settings.MAX_STAKE_AMOUNT))}),
    ]
    for language, _ in settings.LANGUAGES:
        for kind, given in values:
            yield Sample(kind, language, render(kind, language, **given))
