"""What DMark's words for the end of a text mean."""

from sms.models import Status

# An older DMark host reports in numbers: 1 delivered, 2 and 16 failed, 4 and 8 on its way. The other words are those of
# SMPP, which gateways hand on as they come.
_ENDS = dict.fromkeys(("DELIVERED", "DELIVRD", "1"), Status.DELIVERED) | dict.fromkeys(
    (
        "FAILED", "EXPIRED", "REJECTED", "REJECTD", "UNDELIV", "UNDELIVERED", "UNDELIVERABLE", "BLACKLISTED", "DELETED",
        "2", "16",
    ),
    Status.UNDELIVERED,
)  # fmt: skip


def end_of(word: str) -> Status | None:
    """The end that DMark's word means; None: still on its way."""
    return _ENDS.get(word.strip().upper())
