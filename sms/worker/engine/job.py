"""A job: a message that the engine sends."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sms import clock
from sms.dmark.conversation import Conversation, OnExchange
from sms.dmark.exchange import Exchange
from sms.sending.claims import ClaimedMessage

# Steps of a job, as shown to operators.
WAITING, ENDED = "waiting to begin", "ended, not recorded yet"
UNANSWERED = "send: no answer yet"


class LeaseExpired(Exception):
    """The lease or the eligibility check expired before the send request was written, so the request was not sent."""


@dataclass(slots=True, eq=False)
class Job:
    """A message and its conversation with DMark.

    A job that has not begun by `until` (monotonic) is returned unsent. `lease_lost`: another sender has the message, or
    a delivery report has arrived. `counted`: if this process dies, the row of the message counts the next send request
    as ambiguous. `ending`: the conversation's return value, or the exception that ended it.
    """

    message: ClaimedMessage
    start: Callable[[OnExchange], Conversation[str]]
    until: float = 0.0
    conversation: Conversation[str] | None = None
    lease_lost: bool = False
    counted: bool = field(init=False)
    exchanges: list[Exchange] = field(default_factory=list)
    begun: bool = False
    begun_at: float = 0.0
    ending: str | Exception = ""
    step: str = WAITING
    since: float = field(default_factory=clock.monotonic)

    def __post_init__(self) -> None:
        # `free_leases_over_before` counts the first ambiguous request, so it need not be counted in advance.
        self.counted = not self.message.ambiguous_requests

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
