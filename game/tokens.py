"""Tokens in players' links.

A game token identifies a match, a player token one of its two players, and a queue token one entry. Only game tokens
are stored. The others are signed with SECRET_KEY.
"""

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.utils.crypto import constant_time_compare

from game.models import Entry, Session
from payments.statements import Select

_QUEUE = "game.queue"
_PLAYER = "game.player"
# Length of a player token. 22 characters of base64 are 132 bits. The whole signature of 43 characters would make the
# SMS too long.
_PLAYER_TOKEN_LENGTH = 22
_ENTRY = Select(lambda pk: Entry.objects.select_related("player", "session", "payment").filter(pk=pk))


def queue_token(entry: Entry) -> str:
    return Signer(sep=".", salt=_QUEUE).sign(str(entry.pk))


def entry_id_of(token: str) -> int | None:
    """Return the entry's id from a queue token, or None if the token is not valid."""
    try:
        return int(Signer(sep=".", salt=_QUEUE).unsign(token))
    except (BadSignature, ValueError):
        return None


def entry_of(token: str) -> Entry | None:
    """Return the entry of a queue token, or None if the token is not valid."""
    pk = entry_id_of(token)
    return None if pk is None else _ENTRY.first(pk=pk)


def session_of(token: str) -> Session | None:
    """Return the match with this game token, or None.

    A token with an unprintable character is not looked up, because the database driver rejects NUL.
    """
    return Session.objects.filter(token=token).first() if token.isprintable() else None


def player_token(entry: Entry) -> str:
    return Signer(salt=_PLAYER).signature(_named(entry))[:_PLAYER_TOKEN_LENGTH]


def entry_in(session: Session, token: str) -> Entry | None:
    """Return the entry of this match whose player token is `token`, or None.

    The longer tokens of earlier releases are accepted too.
    """
    found = None
    for entry in session.entries.select_related("player").order_by("pk"):
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            signature = Signer(salt=_PLAYER).signature(_named(entry), key)
            if len(token) != len(signature):
                signature = signature[:_PLAYER_TOKEN_LENGTH]
            if constant_time_compare(signature, token):
                found = entry
    return found


def _named(entry: Entry) -> str:
    return f"{entry.pk}:{entry.player_id}"


def game_link(entry: Entry) -> str:
    """Return the player's own link to their match. Raise ValueError if the entry has not been matched."""
    if entry.session is None:
        raise ValueError("An entry without a session has no game link.")
    return f"{settings.FRONTEND_URL.rstrip('/')}/g/{entry.session.token}?pt={player_token(entry)}"


def stake_link(entry: Entry) -> str:
    """Return the player's link to their match, or to their stake if it has not been matched.

    A stake's link uses SITE_URL, because a separate frontend has no such page. Logs redact the parameter `pt`.
    """
    if entry.session is not None:
        return game_link(entry)
    return f"{settings.SITE_URL.rstrip('/')}/waiting?pt={queue_token(entry)}"


def play_address(entry: Entry) -> str:
    """Return the URL of the match in the game, or "" if GAME_URL is not set.

    Raise ValueError if the entry has not been matched.
    """
    if entry.session is None:
        raise ValueError("An entry without a session is not played.")
    address: str = settings.GAME_URL
    return address.replace("{token}", entry.session.token).replace("{pt}", player_token(entry))
