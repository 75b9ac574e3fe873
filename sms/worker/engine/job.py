"""A job: a message that the engine sends, with the state of its sending."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sms import clock
from sms.dmark.conversation import Conversation, OnExchange
from sms.dmark.exchange import Exchange
from sms.sending.claims import ClaimedMessage

# Names of a job's steps, as operators see them.
WAITING, ENDED = "waiting to begin", "ended, not recorded yet"
UNANSWERED = "send: no answer yet"


class LeaseExpired(Exception):
    """The send request was not written, because the message's claim or its eligibility check was too old."""


@dataclass(slots=True, eq=False)
class Job:
    """A message that the engine sends, and its conversation with DMark.

    `until`: latest time (monotonic) to begin; after that the job is returned unsent. `lease_lost`: another sender has
    the message, or a delivery report has arrived. `counted`: the message's row will count the next send request as
    ambiguous if this process is killed. `ending`: the return value of the conversation, or the exception that ended it.
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
        # A message's first send request is not counted in advance. After a crash, `free_leases_over_before` counts it.
        self.counted = not self.message.ambiguous_requests

    def mark(self, step: str) -> None:
        self.step, self.since = step, clock.monotonic()

    def lose_lease(self) -> None:
        """Note that another sender may have claimed the message. A failure of this job must not change the row.

        The empty claim ensures this, even if this worker itself has claimed the message again.
        """
        self.lease_lost, self.message.claim = True, ""

    @property
    def in_flight(self) -> bool:
        return self.begun and self.step != ENDED
