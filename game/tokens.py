"""Players' credentials: derived, never stored, compared in constant time, good over a key rotation.

The session's token names a match, the player token proves who asks; the queue token names an entry to its owner.
"""

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.utils.crypto import constant_time_compare

from game.models import Entry, Session

_QUEUE = "game.queue"
_PLAYER = "game.player"


def queue_token(entry: Entry) -> str:
    return Signer(sep=".", salt=_QUEUE).sign(str(entry.pk))


def entry_of(token: str) -> Entry | None:
    """The entry that a queue token names."""
    try:
        pk = int(Signer(sep=".", salt=_QUEUE).unsign(token))
    except (BadSignature, ValueError):
        return None
    return Entry.objects.select_related("player", "session", "payment").filter(pk=pk).first()


def session_of(token: str) -> Session | None:
    """The session that a game token names. PostgreSQL would not even be asked for a text with NUL."""
    return Session.objects.filter(token=token).first() if token.isprintable() else None


def player_token(entry: Entry) -> str:
    return Signer(salt=_PLAYER).signature(f"{entry.pk}:{entry.player_id}")


def entry_in(session: Session, token: str) -> Entry | None:
    """The entry of this session that the player token belongs to."""
    found = None
    for entry in session.entries.select_related("player").order_by("pk"):
        value = f"{entry.pk}:{entry.player_id}"
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            if constant_time_compare(Signer(salt=_PLAYER).signature(value, key), token):
                found = entry
    return found


def game_link(entry: Entry) -> str:
    """The player's own link to their match; only for an entry that has a session."""
    if entry.session is None:
        raise ValueError("An entry without a session has no game link.")
    return f"{settings.FRONTEND_URL.rstrip('/')}/g/{entry.session.token}?pt={player_token(entry)}"


def stake_link(entry: Entry) -> str:
    """The player's own way back to their stake: the match, once there is one. On this service's address: a frontend
    of another origin has no page for it. `pt`, so that it is hidden wherever players' links are."""
    if entry.session is not None:
        return game_link(entry)
    return f"{settings.SITE_URL.rstrip('/')}/waiting?pt={queue_token(entry)}"


def play_address(entry: Entry) -> str:
    """Where this player's match is played: GAME_URL with its tokens; "" where the game is not connected."""
    if entry.session is None:
        raise ValueError("An entry without a session is not played.")
    address: str = settings.GAME_URL
    return address.replace("{token}", entry.session.token).replace("{pt}", player_token(entry))
