"""The status words of providers and their meanings."""

from payments.models import Payment

_WORDS = {
    Payment.Status.SUCCESS: ("SUCCESS", "SUCCESSFUL", "COMPLETED"),
    Payment.Status.FAILED: ("FAILED", "FAILURE", "REJECTED", "DECLINED", "CANCELLED", "EXPIRED"),
    Payment.Status.PENDING: ("PENDING", "PROCESSING"),
}
_MEANINGS = {word: status for status, words in _WORDS.items() for word in words}


def read(word: object) -> Payment.Status | None:
    """The status that a word means, in any case; None for any other value."""
    return _MEANINGS.get(word.strip(" ").upper()) if isinstance(word, str) else None


def printable(text: str, longest: int) -> str:
    """Without what PostgreSQL or a terminal refuses: control characters and lone surrogates."""
    shown = "".join(char if char.isprintable() and not "\ud800" <= char <= "\udfff" else "\ufffd" for char in text)
    return shown[:longest]
