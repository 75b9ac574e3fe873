"""Read the command of an inbound SMS: STOP, START or HELP, in English, Luganda and Kiswahili."""

import re
import unicodedata

from sms.models import SmsInbound

Command = SmsInbound.Command

# A text of at most four words that begins with one of these words is a STOP.
_STOP_FIRST = frozenset("stop stopall unsubscribe optout sitisha lekera lekeraawo lekerawo komya".split())
# These phrases are commands only if they are the whole text, since ordinary texts may begin with them.
_WHOLE = {
    Command.STOP: frozenset(
        (
            "stop all", "opt out", "end", "quit", "cancel", "remove", "remove me", "no more", "please stop",
            "acha", "acheni", "acha kutuma", "tafadhali acha", "koma", "simama", "ondoa", "niondoe", "usinitumie",
            "sazaamu", "muleke",
        )
    ),
    Command.START: frozenset(
        (
            "start", "unstop", "subscribe", "resume", "opt in", "optin", "continue",
            "anza", "endelea",
            "tandika", "ddamu",
        )
    ),
    Command.HELP: frozenset(
        ("help", "info", "help me", "msaada", "saidia", "nisaidie", "obuyambi", "yamba", "nnyamba", "nyamba")
    ),
}  # fmt: skip
_MOST_WORDS = 4


def read_command(text: str) -> Command:
    """Return the command of a text, or NONE. Case, accents and punctuation do not matter."""
    plain = unicodedata.normalize("NFKD", text[:200]).casefold().replace("'", "").replace("\u2019", "")
    words = re.findall(r"\w+", "".join(char for char in plain if not unicodedata.combining(char)))
    if not words or len(words) > _MOST_WORDS:
        return Command.NONE
    if words[0] in _STOP_FIRST:
        return Command.STOP
    whole = " ".join(words)
    return next((command for command, phrases in _WHOLE.items() if whole in phrases), Command.NONE)
