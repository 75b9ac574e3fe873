"""Read the status words of mobile money providers."""

from payments.models import Payment

_WORDS = {
    Payment.Status.SUCCESS: ("SUCCESS", "SUCCESSFUL", "COMPLETED"),
    Payment.Status.FAILED: ("FAILED", "FAILURE", "REJECTED", "DECLINED", "CANCELLED", "EXPIRED"),
    Payment.Status.PENDING: ("PENDING", "PROCESSING"),
}
_MEANINGS = {word: status for status, words in _WORDS.items() for word in words}


def read(word: object) -> Payment.Status | None:
    """Return the status that a provider's word means, in upper or lower case. Return None for any other value."""
    return _MEANINGS.get(word.strip(" ").upper()) if isinstance(word, str) else None


def printable(text: str, longest: int) -> str:
    """Replace control characters and lone surrogates with U+FFFD, and truncate the text to `longest` characters.

    PostgreSQL or a terminal would refuse these characters.
    """
    shown = "".join(char if char.isprintable() and not "\ud800" <= char <= "\udfff" else "\ufffd" for char in text)
    return shown[:longest]
