"""Find players by a phone number or its last six digits, a name, a match code or link, or the id of a payment
or text.
"""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from django.db.models import Q
from django.db.models.functions import Right, Upper

from game.models import Entry, Player
from payments.models import Payment, Refund
from sms.errors import InvalidPhone
from sms.models import SmsMessage
from sms.text import to_e164

# If several players match, at most this many are offered.
MOST = 20
_LONGEST = 200
_LAST_DIGITS = re.compile(r"\d{6}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9]{6}")
_MATCH_LINK = re.compile(r"/g/([\w-]+)")
_CODE_LINK = re.compile(r"match_code=([A-Za-z0-9]+)")


def phones(term: str) -> list[str]:
    """Return the distinct phones (E.164) of the players that match `term`.

    Only whole values match, not parts of them, so that every query can use an index.
    """
    term = term.strip().replace("\0", "")[:_LONGEST]
    if not term:
        return []
    try:
        return [to_e164(term)]
    except InvalidPhone:
        return list(dict.fromkeys(_by_id(term)))[:MOST]


def of_player(given: str) -> list[str]:
    """Return the phone of the player with this id, in a list, or an empty list if there is no such player.

    Links use the id, so that no URL contains a phone number.
    """
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        return []
    return list(Player.objects.filter(pk=int(given)).values_list("phone", flat=True))


def _by_id(term: str) -> Iterator[str]:
    link = unquote(term)
    token = found.group(1) if (found := _MATCH_LINK.search(link)) else term
    code = found.group(1) if (found := _CODE_LINK.search(link)) else term
    if _LAST_DIGITS.fullmatch(term):
        yield from _some(
            Player.objects.annotate(end=Right("phone", 6)).filter(end=term).values_list("phone", flat=True)
        )
    if _CODE.fullmatch(code):
        yield from _of_matches(Q(match_code=code.upper()))
    yield from _of_matches(Q(session__token=token))
    yield from _some(Payment.objects.filter(Q(transaction_id=term)).values_list("phone", flat=True))
    yield from _some(Payment.objects.filter(provider_id=term).exclude(provider_id="").values_list("phone", flat=True))
    yield from _some(Refund.objects.filter(reference=term).values_list("payment__phone", flat=True))
    texts = SmsMessage.objects.filter(Q(provider_id=term) & ~Q(provider_id="") | Q(dedupe_key=term))
    yield from _some(texts.values_list("phone", flat=True))
    named = Entry.objects.annotate(name=Upper("display_name")).filter(name=term.upper()).exclude(display_name="")
    yield from _some(named.order_by("-pk").values_list("player__phone", flat=True))


def _of_matches(which: Q) -> Iterator[str]:
    """Yield the phones of the players of the entries that match `which`, and of their opponents."""
    for entry in Entry.objects.filter(which).select_related("player", "session").order_by("pk")[:MOST]:
        yield entry.phone
        if entry.session is not None:
            yield from (other.phone for other in entry.session.entries.select_related("player").order_by("pk"))


def _some(rows: Iterable[str]) -> Iterator[str]:
    yield from rows[:MOST]  # type: ignore[index]
