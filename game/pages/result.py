"""Sentences about the result of a match and what happens to a player's money."""

from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext

from game.models import Entry
from game.wording import money_of
from payments.models import MatchResult
from sms.wording import spaced, ugx


@dataclass(frozen=True, slots=True)
class Shown:
    """The result of a match as its page shows it.

    `tone`: CSS class of the box. `final`: True if nothing will change any more, so that the page stops polling.
    """

    heading: str
    sentences: list[str]
    tone: str
    final: bool


def decided(payments: Collection[int]) -> set[int]:
    """Return the ids of those `payments` whose match has a result."""
    if not payments:
        return set()
    results = MatchResult.objects.filter(Q(first__in=payments) | Q(second__in=payments))
    return {pk for pair in results.values_list("first", "second") for pk in pair}


def _prize_sentence(prize: str, phone: str) -> str:
    """Return the sentence about a prize. `prize` is a value of `payments.match_rules.Prize`."""
    if prize == "paid":
        return gettext("We sent it to %(phone)s.") % {"phone": phone}
    if prize == "held":
        return gettext("We are checking the payments of this match before we send it.")
    return gettext("We will send it to %(phone)s.") % {"phone": phone}


def shown(entry: Entry, opponent: Entry | None) -> Shown | None:
    """Return the result of a match for one of its players, or None while the match goes on."""
    session = entry.session
    if session is None:
        raise ValueError("An entry without a session has no result.")
    result = MatchResult.objects.filter(Q(first=entry.payment_id) | Q(second=entry.payment_id)).first()
    money = [sentence.translated() for sentence in money_of(entry)]
    if result is None:
        if session.status == "active":
            return None
        unknown = [gettext("We don't know the result of this match yet.")] if settings.GAME_SERVER_SECRET else []
        return Shown(gettext("This match has ended"), money or unknown, "wait", final=not (money or unknown))
    prize = ugx(session.prize_amount)
    if result.outcome == MatchResult.Outcome.WIN:
        if result.winner_id != entry.payment_id:
            name = (opponent.display_name if opponent else "") or gettext("Your opponent")
            lost = gettext("%(name)s won %(prize)s.") % {"name": name, "prize": prize}
            return Shown(gettext("You lost this match"), [lost, *money], "wait", final=True)
        if not result.prize:  # In a demo a match can have no money, and therefore no prize.
            return Shown(gettext("You won"), [], "good", final=True)
        sentence = _prize_sentence(result.prize, spaced(entry.phone))
        return Shown(gettext("You won %(prize)s") % {"prize": prize}, [sentence], "good", final=result.prize == "paid")
    draw = result.outcome == MatchResult.Outcome.DRAW
    heading = gettext("This match was a draw") if draw else gettext("This match was cancelled")
    return Shown(heading, money, "wait", final=entry.payment.refunded_at is not None)
