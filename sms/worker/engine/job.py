"""A job: a message that the engine sends."""

from collections.abc import Callable

from sms import clock
from sms.dmark.conversation import Conversation, OnExchange
from sms.dmark.exchange import Exchange
from sms.sending.claims import ClaimedMessage

# Steps of a job, as shown to operators.
WAITING, ENDED = "waiting to begin", "ended, not recorded yet"
UNANSWERED = "send: no answer yet"


class LeaseExpired(Exception):
    """The lease or the eligibility check expired before the send request was written, so the request was not sent."""


class Job:
    """A message and its conversation with DMark.

    A job that has not begun by `until` (monotonic) is returned unsent. `lease_lost`: another sender has the message, or
    a delivery report has arrived. `counted`: if this process dies, the row of the message counts the next send request
    as ambiguous. `ending`: the conversation's return value, or the exception that ended it.
    """

    __slots__ = (
        "begun",
        "begun_at",
        "conversation",
        "counted",
        "ending",
        "exchanges",
        "lease_lost",
        "message",
        "since",
        "start",
        "step",
        "until",
    )

    def __init__(
        self, message: ClaimedMessage, start: Callable[[OnExchange], Conversation[str]], until: float = 0.0
    ) -> None:
        self.message, self.start, self.until = message, start, until
        self.conversation: Conversation[str] | None = None
        self.lease_lost = False
        # A message's first ambiguous request is counted when the message's lease expires, so no write in advance is
        # needed.
        self.counted = not message.ambiguous_requests
        self.exchanges: list[Exchange] = []
        self.begun, self.begun_at = False, 0.0
        self.ending: str | Exception = ""
        self.mark(WAITING)

    def mark(self, step: str) -> None:
        self.step, self.since = step, clock.monotonic()

    def lose_lease(self) -> None:
        """Note that another sender may have the message. If this job fails, the row then stays unchanged.

        This also holds if the same worker claims the message again, which gives the row the same claim as before.
        """
        self.lease_lost, self.message.claim = True, ""

    @property
    def in_flight(self) -> bool:
        return self.begun and self.step != ENDED
