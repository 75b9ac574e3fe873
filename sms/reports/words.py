"""What DMark's words for the end of a text mean."""

from sms.models import Status

# An older DMark host reports in numbers: 1 delivered, 2 and 16 failed, 4 and 8 on its way.
_ENDS = {
    "DELIVERED": Status.DELIVERED,
    "1": Status.DELIVERED,
    "FAILED": Status.UNDELIVERED,
    "2": Status.UNDELIVERED,
    "16": Status.UNDELIVERED,
}


def end_of(word: str) -> Status | None:
    """The end that DMark's word means; None: still on its way."""
    return _ENDS.get(word.strip().upper())
